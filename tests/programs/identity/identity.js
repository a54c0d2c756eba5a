// Prints what the machine looks like that it runs on: `name=value` a line, `-` for what is not there.
// The full name is resolved by c-ares, the short one by the C library.
'use strict';
const dns = require('dns').promises;
const fs = require('fs');
const http = require('http');
const os = require('os');

const NAME = 'echo.default.svc.cluster.local';

function config() {
  try {
    return fs.readFileSync('/app/config.yaml', 'utf8').split('\n')[0];
  } catch {
    return '-';
  }
}

async function addresses(found) {
  try {
    return (await found).map((each) => each.address ?? each).sort().join(' ');
  } catch {
    return '-';
  }
}

function answer() {
  return new Promise((resolve) => {
    const request = http.get(`http://${NAME}/`, (response) => {
      let body = '';
      response.on('data', (part) => { body += part; });
      response.on('end', () => {
        const seen = JSON.parse(body);
        resolve(`${seen.service} saw ${seen.peer.host}`);
      });
    });
    request.on('error', () => resolve('-'));
  });
}

async function main() {
  console.log(`greeting=${process.env.GREETING ?? '-'}`);
  console.log(`hostname=${os.hostname()}`);
  console.log(`config=${config()}`);
  console.log(`echo=${await addresses(dns.resolve4(NAME))}`);
  console.log(`short=${await addresses(dns.lookup('echo', { family: 4, all: true }))}`);
  console.log(`answer=${await answer()}`);
}

main();
