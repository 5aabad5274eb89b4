/**
 * What our kernels in WebAssembly say of a bundle, for test_web_kernels.py:
 *
 *     node web_kernels.mjs RUNTIME check MODULE          the tables against `scalar`; its status
 *     node web_kernels.mjs RUNTIME run MODULE BUNDLE [THREADS]
 *                                                        logits to standard output, as test_web_kernels.py reads them
 *     node web_kernels.mjs RUNTIME table BUNDLE          which table a Model takes by itself, if any
 *
 * RUNTIME: the folder that rrwkv-runtime is built in. An error is one line, and status 1.
 */

import { openAsBlob } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { WASI } from "node:wasi";

const [runtime, action, ...more] = process.argv.slice(2);
const { Model, opened } = await import(
  pathToFileURL(`${runtime}/index.js`).href
);
const { startKernels } = await import(
  pathToFileURL(`${runtime}/execution/kernels/start.js`).href
);

const compiled = async (path) => WebAssembly.compile(await readFile(path));
const folder = (path) =>
  opened(path, async (name) =>
    (await stat(`${path}/${name}`).catch(() => null))
      ? openAsBlob(`${path}/${name}`)
      : null,
  );

async function check(path) {
  const wasi = new WASI({ version: "preview1" });
  return wasi.start(
    await WebAssembly.instantiate(await compiled(path), wasi.getImportObject()),
  );
}

/** Of a prompt, of tokens one by one, of runs, and of the last of two runs: as `decoded` of the Python test has them. */
async function run(path, bundle, threads = 1) {
  const model = await Model.load(folder(bundle), {
    engine: await startKernels(await compiled(path), Number(threads)),
  });
  const V = model.vocab_size;
  const ids = Array.from({ length: 60 }, (_, i) => (i * 37 + 11) % V);
  const decoder = model.decoder();
  const rows = [(await decoder.prefill(ids.slice(0, 13))).slice()];
  for (const id of ids.slice(13)) rows.push((await decoder.step(id)).slice());
  rows.push(
    (await decoder.run(ids, { num_logits: 40 })).slice(),
    (await decoder.run(ids, { chunk: 17 })).slice(),
  );
  for (const row of rows) process.stdout.write(new Uint8Array(row.buffer));
}

async function table(bundle) {
  const model = await Model.load(folder(bundle), {
    provider: "wasm",
    threads: 1,
  });
  process.stdout.write(`${model.kernels}`);
}

try {
  process.exitCode = (await { check, run, table }[action](...more)) ?? 0;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
