// Prints what this program sees of its pod; of each file that is named, else of one, the first line.
import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import http from "node:http";
import os from "node:os";

const HOST = "echo.default.svc.cluster.local";

const body = await new Promise((resolve, reject) => {
  http.get(`http://${HOST}/bytes?n=16`, { agent: false }, (response) => {
    const parts = [];
    response.on("data", (part) => parts.push(part));
    response.on("end", () => resolve(Buffer.concat(parts)));
  }).on("error", reject);
});
const named = process.argv.slice(2);
const files = named.length ? named : ["/app/config.yaml"];
const lines = await Promise.all(files.map(async (file) => (await readFile(file, "utf8")).split("\n")[0]));
const { address } = await lookup(HOST, { family: 4 });
console.log(`greeting=${process.env.GREETING ?? ""}`);
console.log(`hostname=${os.hostname()}`);
for (const line of lines) console.log(`config=${line}`);
console.log(`echo=${address}`);
console.log(`answer=${body.toString("hex")}`);
