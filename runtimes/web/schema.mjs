/** Writes src/manifest.schema.ts, of the Python runtime's JSON Schema: a browser reads no JSON as a module everywhere. */

import { readFileSync, writeFileSync } from "node:fs";

const made = new URL("src/manifest.schema.ts", import.meta.url);
const schema = JSON.parse(
  readFileSync(new URL("../python/rrwkv_runtime/manifest.schema.json", import.meta.url), "utf8"),
);
const text = `/** Made by schema.mjs. */

import type { Schema } from "./bundle/schema.js";

export const SCHEMA: Schema = ${JSON.stringify(schema, null, 2)};
`;
if (read(made) !== text) writeFileSync(made, text); // else what is made of it need not be made again

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
