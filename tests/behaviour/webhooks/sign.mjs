// Signs as GitHub's own library does: folder of the library, secret and body come as arguments, the headers go out as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, secret, body] = process.argv.slice(2);
const found = createRequire(`${folder}/x.js`).resolve.paths("x")[0];
const { sign } = await import(pathToFileURL(`${found}/@octokit/webhooks-methods/dist-node/index.js`));
console.log(JSON.stringify({ "x-hub-signature-256": await sign(secret, body) }));
