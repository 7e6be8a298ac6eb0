// Receive webhooks: `WEBHOOK_SECRET=whsec_… node webhooks.js`, at port 8080 behind something that speaks TLS.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const TOLERANCE_S = 300;

// Returns the event of a request. Throws if it does not come from the service, or is old. `body` is a Buffer.
// The service repeats an event whose answer it did not get: keep the ids of those that you have handled.
export function verify(secret, headers, body) {
  const id = headers["webhook-id"], timestamp = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= TOLERANCE_S)) throw new Error("too old");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // While the secret changes, there are several signatures.
  const given = String(headers["webhook-signature"]).split(" ").filter((one) => one.startsWith("v1,"));
  const decoded = given.map((one) => Buffer.from(one.slice(3), "base64"));
  if (!decoded.some((one) => one.length === expected.length && timingSafeEqual(one, expected))) throw new Error("wrong signature");
  return { id, ...JSON.parse(body.toString()) };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    try {
      const event = verify(process.env.WEBHOOK_SECRET, request.headers, Buffer.concat(pieces));
      // Store the event, and answer before you work on it: the service waits 15 s.
      console.log(event.id, event.type, JSON.stringify(event.data));
      response.writeHead(204).end();
    } catch {
      response.writeHead(401).end();
    }
  }).listen(Number(process.env.PORT ?? 8080), "127.0.0.1");
}
