// Standard Webhooks as another language has them: verifies what notify sends, signs what a partner sends.
//   node webhook.mjs verify < {"secret", "headers", "body"}    prints what the body says, or exits with 1
//   node webhook.mjs sign < {"secret", "id", "body"}           prints the headers
import { Webhook } from "standardwebhooks";
import { readFileSync } from "node:fs";

const given = JSON.parse(readFileSync(0, "utf-8"));
const webhook = new Webhook(given.secret);
if (process.argv[2] === "verify") {
  console.log(JSON.stringify(webhook.verify(given.body, given.headers)));
} else {
  const now = new Date();
  console.log(
    JSON.stringify({
      "webhook-id": given.id,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": webhook.sign(given.id, now, given.body),
    }),
  );
}
