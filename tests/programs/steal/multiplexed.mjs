// A client of HTTP/2 that sends one request for each user named, all at once on one connection.
import http2 from "node:http2";

const [url, ...users] = process.argv.slice(2);
const session = http2.connect(url);
const ask = (user) => new Promise((resolve, reject) => {
  const request = session.request({ ":path": `/?${user}`, ":method": "POST", "x-user": user });
  let text = "";
  request.on("data", (data) => { text += data; });
  request.on("end", () => resolve(`${user} ${text.trim()}`));
  request.on("error", reject);
  request.end("x".repeat(100_000));
});
for (const line of await Promise.all(users.map(ask))) console.log(line);
session.close();
