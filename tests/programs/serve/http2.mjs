// A server of HTTP/2 without TLS that prints who asks for what: PORT and what it answers.
import http2 from "node:http2";

const [port, word] = process.argv.slice(2);
const server = http2.createServer((request, response) => {
  let size = 0;
  request.on("data", (data) => { size += data.length; });
  request.on("end", () => {
    console.log(`${process.pid} ${request.socket.remoteAddress} ${request.method} ${request.url} ${size}`);
    response.end(`${word}\n`);
  });
});
server.listen(Number(port), () => console.log("ready"));
