// Starts COUNT connections to HOST PORT together and prints how many succeeded.
import net from "node:net";

const [host, port, count] = process.argv.slice(2);

function one() {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port: Number(port), family: 4 });
    socket.on("connect", () => resolve(socket));
    socket.on("error", (error) => {
      console.error(error.message);
      resolve(null);
    });
  });
}

const sockets = await Promise.all(Array.from({ length: Number(count) }, one));
console.log(sockets.filter((socket) => socket !== null).length);
process.exit(0);
