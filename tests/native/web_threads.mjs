/**
 * What threads do to our kernels in WebAssembly, for test_web_threads.py:
 *
 *     node web_threads.mjs RUNTIME MODULE ACTION BUNDLE …
 *
 * RUNTIME: the folder that rrwkv-runtime is built in. What is not as it should be is an error: one line, and status 1.
 */

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [runtime, module, action, ...bundles] = process.argv.slice(2);
const { Model, opened } = await import(
  pathToFileURL(`${runtime}/index.js`).href
);
const { startKernels } = await import(
  pathToFileURL(`${runtime}/execution/kernels/start.js`).href
);

const kernels = await WebAssembly.compile(await readFile(module));
const folder = (path) =>
  opened(path, async (name) =>
    (await stat(`${path}/${name}`).catch(() => null))
      ? openAsBlob(`${path}/${name}`)
      : null,
  );
const open = async (threads, bundle = bundles[0]) =>
  Model.load(folder(bundle), { engine: await startKernels(kernels, threads) });

/** The workers that are started; `told` changes what they are told. */
const threads = process.getBuiltinModule("node:worker_threads");
const workers = [];
const watch = ({ told = (start) => start } = {}) => {
  const { Worker } = threads;
  threads.Worker = class extends Worker {
    constructor(...options) {
      super(...options);
      workers.push(this);
    }
    postMessage(start) {
      super.postMessage(told(start));
    }
  };
};
const ended = (worker) =>
  worker.threadId === -1 ||
  new Promise((resolve) => worker.once("exit", resolve));

/** Logits of runs of many lengths and of tokens one by one, as bytes. */
async function* logits(decoder, V, rounds) {
  let seed = 1;
  const next = (below) => (seed = (seed * 48271) % 0x7fffffff) % below;
  for (let round = 0; round < rounds; round++) {
    const ids = Array.from({ length: 1 + next(40) }, () => next(V));
    yield Buffer.from(
      (await decoder.run(ids, { num_logits: 1 })).slice().buffer,
    );
    for (let i = 0; i < 12; i++)
      yield Buffer.from((await decoder.step(next(V))).slice().buffer);
  }
}

/** Any number of threads, at once in one process and over and over, gives the same bits. */
async function same() {
  for (const bundle of bundles) {
    const models = await Promise.all([1, 2, 3].map((n) => open(n, bundle)));
    assert.deepEqual(
      models.map((model) => model.threads),
      [1, 2, 3],
    );
    const [one, ...more] = models.map((model) =>
      logits(model.decoder(), model.vocab_size, 12),
    );
    let count = 0;
    for await (const expected of one) {
      for (const other of more)
        assert.ok(
          expected.equals((await other.next()).value),
          `${bundle}, logits ${count}`,
        );
      count++;
    }
    await Promise.all(models.map((model) => model.close()));
  }
}

/** Engines that come and go beside one that stays; each one's threads end with it. */
async function released() {
  watch();
  const stays = await open(2);
  const expected = logits((await open(1)).decoder(), stays.vocab_size, 8);
  const found = logits(stays.decoder(), stays.vocab_size, 8);
  for (let i = 0; i < 8; i++) {
    const other = await open(3);
    const decoder = other.decoder();
    await decoder.step(1);
    assert.ok((await expected.next()).value.equals((await found.next()).value));
    await other.close();
    await assert.rejects(decoder.step(1), /the kernels were released/);
    assert.ok((await expected.next()).value.equals((await found.next()).value));
  }
  await Promise.all(workers.slice(1).map(ended));
  assert.notEqual(workers[0].threadId, -1);
  await stays.close();
  await ended(workers[0]);
}

/** A thread that fails ends the engine with one line; another engine runs on. */
async function failing() {
  watch({ told: (start) => ({ ...start, stack: 64 }) }); // what it calls first reaches out of memory
  const model = await open(2);
  const decoder = model.decoder();
  await assert.rejects(
    async () => {
      for (let i = 0; i < 1000; i++)
        await decoder.run([1, 2, 3, 4, 5, 6, 7, 8]);
    },
    { name: "ProviderError", message: "the kernels: a thread failed" },
  );
  await assert.rejects(decoder.step(1), {
    message: "the kernels: a thread failed",
  });
  await Promise.all(workers.map(ended));
  await model.close();
  await (await open(1)).decoder().step(1);
}

/** An error of the one that leads ends its threads too. */
async function refused() {
  watch();
  const { engine, sessions } = (await open(3)).running;
  const { module } = engine;
  const record = module.allocate(256);
  module.bytes(record, 256).fill(0); // a run of no tokens
  const [{ session }] = sessions.values();
  assert.throws(
    () => module.run(session, record),
    /the kernels: a run is of 1 to \d+ tokens, not 0/,
  );
  await Promise.all(workers.map(ended));
}

/** Threads that somebody ended are done without, and those that never start. */
async function missing() {
  watch();
  const model = await open(3);
  const expected = logits((await open(1)).decoder(), model.vocab_size, 4);
  const found = logits(model.decoder(), model.vocab_size, 4);
  for (const worker of workers) await worker.terminate();
  for await (const row of expected)
    assert.ok(row.equals((await found.next()).value));
  threads.Worker = class {
    constructor() {
      throw new Error("no workers today");
    }
  };
  const alone = await open(3);
  assert.equal(alone.threads, 1);
  await alone.decoder().step(1);
}

try {
  await { same, released, failing, refused, missing }[action]();
} catch (error) {
  console.error(`${error.name}: ${error.message}`.replace(/\s+/g, " "));
  process.exitCode = 1;
}
