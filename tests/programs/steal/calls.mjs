// Calls as gRPC makes them, by HTTP/2 with trailers: "serve PORT WORD" echoes each message of a stream, and ends
// with a status; "ask URL USER…" has a call for each user on one connection, which sends the next message when the
// one before was answered.
import http2 from "node:http2";

const frame = (text) => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(Buffer.byteLength(text), 1);
  return Buffer.concat([head, Buffer.from(text)]);
};

function serve(port, word) {
  const server = http2.createServer();
  server.on("stream", (stream, headers) => {
    if (headers[":path"] === "/none") {
      stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "12", "x-word": word }, { endStream: true });
      return;
    }
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "grpc-message": word }));
    stream.on("data", (data) => stream.write(frame(`${word} ${data.subarray(5)}`)));
    stream.on("end", () => stream.end());
  });
  server.listen(Number(port), () => console.log("ready"));
}

function call(session, user) {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":path": "/echo", ":method": "POST", "content-type": "application/grpc", te: "trailers", "x-user": user,
    });
    const lines = [];
    stream.on("data", (data) => {
      lines.push(`${data.subarray(5)}`);
      if (lines.length < 3) stream.write(frame(`${user}${lines.length}`));
      else stream.end();
    });
    stream.on("trailers", (trailers) => lines.push(`${trailers["grpc-status"]} ${trailers["grpc-message"]}`));
    stream.on("end", () => resolve(lines.join(", ")));
    stream.on("error", reject);
    stream.write(frame(`${user}0`));
  });
}

function none(session, user) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":path": "/none", ":method": "POST", "x-user": user });
    stream.on("response", (headers, flags) => {
      const ended = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      resolve(`${headers["grpc-status"]} ${headers["x-word"]} ${ended}`);
    });
    stream.on("error", reject);
    stream.end();
  });
}

async function ask(url, users) {
  const session = http2.connect(url);
  for (const line of await Promise.all(users.map((user) => call(session, user)))) console.log(line);
  for (const line of await Promise.all(users.map((user) => none(session, user)))) console.log(line);
  session.close();
}

const [verb, where, ...rest] = process.argv.slice(2);
if (verb === "serve") serve(where, rest[0]);
else await ask(where, rest);
