// Prints what this program sees of its pod.
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
const config = await readFile("/app/config.yaml", "utf8");
const { address } = await lookup(HOST, { family: 4 });
console.log(`greeting=${process.env.GREETING ?? ""}`);
console.log(`hostname=${os.hostname()}`);
console.log(`config=${config.split("\n")[0]}`);
console.log(`echo=${address}`);
console.log(`answer=${body.toString("hex")}`);
