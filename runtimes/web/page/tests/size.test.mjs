import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { PAGE } from "./server.mjs";

test("all scripts but onnxruntime's are at most 150 kB compressed", () => {
  const scripts = readdirSync(PAGE).filter((name) => /\.m?js$/.test(name));
  const sizes = scripts.map((name) => gzipSync(readFileSync(join(PAGE, name)), { level: 9 }).length);
  assert.ok(scripts.includes("app.js") && scripts.includes("worker.js") && scripts.includes("service-worker.js"));
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 150_000, `${scripts} are ${sizes}`);
});
