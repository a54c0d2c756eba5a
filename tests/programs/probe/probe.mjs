// Connects once: HOST PORT TIMEOUT_SECONDS. Prints ok, refused, timeout or another error's name.
import net from "node:net";

const [host, port, seconds] = process.argv.slice(2);
const names = { ECONNREFUSED: "refused", ETIMEDOUT: "timeout" };

function finish(outcome) {
  console.log(outcome);
  process.exit(0);
}

const socket = net.connect({ host, port: Number(port), family: 4 });
socket.on("connect", () => finish("ok"));
socket.on("error", (error) => finish(names[error.code] ?? error.code));
setTimeout(() => finish("timeout"), Number(seconds) * 1000);
