// A server that prints who asks for what.
import http from "node:http";

const [host] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  let size = 0;
  request.on("data", (data) => { size += data.length; });
  request.on("end", () => {
    console.log(`${process.pid} ${request.socket.remoteAddress} ${request.method} ${request.url} ${size}`);
    response.end("local\n");
  });
});
server.listen(8080, host);
