// A server that streams: PORT and a word of its own. /events sends one more event for each POST /next, three in all;
// /source?SIZE sends a body, and any other path sums one up, with the word in a trailer.
import { createHash } from "node:crypto";
import http from "node:http";
import { Readable } from "node:stream";

const [port, word] = process.argv.slice(2);
const waiting = [];
const next = () => new Promise((resolve) => { waiting.push(resolve); });

async function* events() {
  for (let number = 1; number <= 3; number += 1) {
    yield `data: ${word} ${number}\n\n`;
    if (number < 3) await next();
  }
}

function* zeros(size) {
  for (let left = size; left > 0; left -= 65536) yield Buffer.alloc(Math.min(left, 65536));
}

const server = http.createServer((request, response) => {
  const { pathname, search } = new URL(request.url, "http://server");
  if (pathname === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    Readable.from(events()).pipe(response);
  } else if (pathname === "/next") {
    waiting.shift()?.();
    response.end();
  } else if (pathname === "/source") {
    response.writeHead(200, { "content-length": search.slice(1) });
    Readable.from(zeros(Number(search.slice(1)))).pipe(response);
  } else {
    const sum = createHash("sha256");
    request.on("data", (data) => sum.update(data));
    request.on("end", () => {
      response.writeHead(200, { trailer: "x-word" });
      response.write(`${word} ${sum.digest("hex")}\n`);
      response.addTrailers({ "x-word": word });
      response.end();
    });
  }
});
server.listen(Number(port), () => console.log("ready"));
