/**
 * Our kernels beside onnxruntime-web, on WebAssembly in Node:
 *
 *     node benchmarks/engines.mjs BUNDLE …
 *
 * after `npm run build` and `make web-kernels`. A row for each bundle and engine: milliseconds of a token that is decoded,
 * tokens a second of a prompt of 256, and seconds from files in memory to the first token. Engines run in turns, a few
 * tokens each, and what is printed is the median of the turns: others on the machine slow all alike.
 */

import { openAsBlob } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";

const { Model, opened } = await import("../dist/index.js");
const { startKernels } = await import("../dist/execution/kernels/start.js");

const TURNS = 20;
const STEPS = 8; // tokens of a turn
const PROMPT = 256;

const folder = (path) =>
  opened(path, async (name) =>
    (await stat(`${path}/${name}`).catch(() => null)) ? openAsBlob(`${path}/${name}`) : null,
  );
const compiled = async (name) =>
  WebAssembly.compile(await readFile(new URL(`../dist/kernels/${name}.wasm`, import.meta.url)));
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** How engines are started, by what they are called. */
const ENGINES = {
  "kernels, 1 thread": () => kernels("kernels", 1),
  "kernels, relaxed, 1 thread": () => kernels("kernels-relaxed", 1),
  "kernels, relaxed, 2 threads": () => kernels("kernels-relaxed-threads", 2),
  "onnxruntime-web, 1 thread": () => ({ provider: "wasm", threads: 1, kernels: false }), // in Node it has no more
};
const kernels = async (name, threads) => ({ engine: await startKernels(await compiled(name), threads) });

async function open(bundle, name) {
  const started = performance.now();
  const model = await Model.load(folder(bundle), await ENGINES[name]());
  const decoder = model.decoder();
  await decoder.step(1);
  return { name, decoder, V: model.vocab_size, ready: (performance.now() - started) / 1000, steps: [], prompts: [] };
}

async function measure(bundle) {
  const all = [];
  for (const name of Object.keys(ENGINES)) {
    try {
      all.push(await open(bundle, name));
    } catch (error) {
      console.log(`| ${basename(bundle)} | ${name} | ${error.message.slice(0, 80)} | | |`);
    }
  }
  const id = (i, V) => (i * 7919 + 11) % V;
  for (let turn = 0; turn < TURNS; turn++) {
    for (const { decoder, V, steps } of all) {
      const started = performance.now();
      for (let i = 0; i < STEPS; i++) await decoder.step(id(turn * STEPS + i, V));
      if (turn > 1) steps.push((performance.now() - started) / STEPS); // the first ones are compiled
    }
  }
  for (let turn = 0; turn < 3; turn++) {
    for (const { decoder, V, prompts } of all) {
      const ids = Array.from({ length: PROMPT }, (_, i) => id(i, V));
      const started = performance.now();
      await decoder.prefill(ids);
      prompts.push(performance.now() - started);
    }
  }
  for (const { name, ready, steps, prompts } of all) {
    const speed = Math.round((1000 * PROMPT) / median(prompts)).toLocaleString("en");
    console.log(`| ${basename(bundle)} | ${name} | ${median(steps).toFixed(2)} | ${speed} | ${ready.toFixed(2)} |`);
  }
}

console.log("| bundle | engine | decode, ms a token | prefill 256, tokens/s | ready after, s |");
console.log("| --- | --- | --- | --- | --- |");
for (const bundle of process.argv.slice(2)) await measure(bundle);
process.exit(0); // onnxruntime-web's threads would keep it
