// Tokens checked by jose on Node.js: one on each line of the input, who sent it on each of the output.
//
// node backend_jose.mjs https://pins.example.com/v1/acme/jwks.json

import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

const keys = createRemoteJWKSet(new URL(process.argv[2]), {
  cooldownDuration: 60_000,
  cacheMaxAge: 300_000, // jose's own would be twice as long: a key that was taken out would live on
});

async function installation(token) {
  const { payload } = await jwtVerify(token, keys, {
    algorithms: ["ES256"],
    audience: "api.example.com",
    requiredClaims: ["exp"],
    clockTolerance: 10,
  });
  return payload.did;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(await installation(line.trim()).catch(() => "refused"));
}
