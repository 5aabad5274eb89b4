/** What is published, and what is said twice. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";

import { VERSION } from "../src/version.js";
import { json, ROOT } from "./bundles.js";

const HERE = `${ROOT}/runtimes/web`;
const RUN = promisify(execFile);

test("the version is the package's", async () => {
  assert.equal(VERSION, ((await json(`${HERE}/package.json`)) as { version: string }).version);
});

test("the lock file names no registry", async () => {
  assert.doesNotMatch(await readFile(`${HERE}/package-lock.json`, "utf8"), /"resolved"/);
});

test("the package holds the runtime and nothing else", async () => {
  const { stdout } = await RUN("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: HERE });
  const listed = JSON.parse(stdout.slice(stdout.search(/^[[{]/m))) as unknown;
  const [packed] = Object.values(listed as object) as { files: { path: string }[] }[];
  const paths = packed?.files.map((file) => file.path) ?? [];
  for (const path of ["README.md", "LICENSE", "dist/index.js", "dist/index.d.ts", "dist/worker/worker.js"]) {
    assert.ok(paths.includes(path), path);
  }
  const odd = paths.filter(
    (path) => !/^(dist\/.+\.(js|d\.ts)|dist\/kernels\/.+\.wasm|README\.md|LICENSE|package\.json)$/.test(path),
  );
  assert.deepEqual(odd, []);
});
