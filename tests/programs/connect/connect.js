// Opens COUNT connections at once from one event loop and prints how many ended in which way.
// Arguments: HOST PORT TIMEOUT-IN-MS COUNT.
'use strict';
const net = require('net');

const [host, port, timeout, count] = process.argv.slice(2);

function outcome() {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port: Number(port), family: 4 });
    const timer = setTimeout(() => { resolve('timeout'); socket.destroy(); }, Number(timeout));
    const end = (text) => { clearTimeout(timer); resolve(text); };
    socket.on('connect', () => end('ok'));
    socket.on('error', (error) => end(
      error.code === 'ECONNREFUSED' ? 'refused ECONNREFUSED' : `error ${error.code}`));
  });
}

async function main() {
  const outcomes = {};
  for (const text of await Promise.all(Array.from({ length: Number(count) }, outcome))) {
    outcomes[text] = (outcomes[text] ?? 0) + 1;
  }
  for (const text of Object.keys(outcomes).sort()) {
    console.log(`${text}: ${outcomes[text]}`);
  }
  process.exit(0);
}

main();
