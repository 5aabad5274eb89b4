/**
 * The same bundles in Python: tokens, logits, chats, texts and saved states. `RRWKV_BUNDLES` names their folders, divided
 * by colons; `RRWKV_PYTHON` is a Python with the runtime's packages.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { Chat, Model } from "../src/index.js";
import { folder } from "../src/node.js";
import { collected, error, flat, ROOT } from "./bundles.js";

interface Expected {
  ids: number[];
  logits: number[][];
  greedy: number[];
  seeded: number[];
  turns: [string, string][];
  position: number;
  texts: { text: string; special: boolean; ids: number[] }[];
  decoded: string[];
}

const bundles = (process.env.RRWKV_BUNDLES ?? "").split(":").filter((path) => path !== "");
const python = process.env.RRWKV_PYTHON ?? "python3";
const without = "RRWKV_BUNDLES names no bundles, which `make web-test` exports";

test("there are bundles to compare", { skip: bundles.length > 0 ? false : without }, () => undefined);

for (const bundle of bundles) {
  test(`as in Python: ${bundle}`, async () => {
    const scratch = await mkdtemp(join(tmpdir(), "rrwkv-"));
    try {
      const file = join(scratch, "python.state");
      await compare(bundle, await expected(bundle, file), new Uint8Array(await readFile(file)).buffer);
    } finally {
      await rm(scratch, { recursive: true });
    }
  });
}

async function compare(bundle: string, from: Expected, state: ArrayBuffer): Promise<void> {
  const model = await Model.load(folder(bundle), { provider: "wasm", threads: 1 });
  const quantized = model.manifest.quantization !== null;
  for (const { text, special, ids } of from.texts) assert.deepEqual(model.tokenizer?.encode(text, special), ids, text);
  const starts = from.decoded.map((_, i) => i * 401);
  const decode = (start: number): string =>
    model.tokenizer?.decode(Array.from({ length: 97 }, (_, i) => start + i)) ?? "";
  assert.deepEqual(starts.map(decode), from.decoded);
  const { logits, state: own } = await model.forward(from.ids, undefined, { num_logits: 4 });
  const off = error(logits, flat(from.logits));
  // Quantized activations: a float that was summed in another order rounds to the next level.
  assert.ok(off <= (quantized ? 5e-2 : 1e-4), `logits are off by ${off}`);
  const loaded = await model.loadState(state);
  for (const [name, value] of loaded.values) {
    assert.ok(error(own.values.get(name)?.data ?? [], Array.from(value.data, Number)) <= (quantized ? 5e-2 : 1e-4));
  }
  if (!quantized) await compareTexts(model, from);
}

async function compareTexts(model: Model, from: Expected): Promise<void> {
  const { ids } = from;
  const greedy = await collected(model.generate(ids, { temperature: 0, max_tokens: 64 }));
  assert.deepEqual(
    greedy.map((token) => token.id),
    from.greedy,
  );
  const seeded = await collected(model.generate(ids, { seed: 5, top_p: 0.9, top_k: 50, max_tokens: 64 }));
  assert.deepEqual(
    seeded.map((token) => token.id),
    from.seeded,
  );
  const chat = new Chat(model, { seed: 3, max_tokens: 24 });
  for (const said of ["Hi! How are you?", "What is <|endoftext|> for?"]) await collected(chat.send(said));
  assert.deepEqual(
    chat.turns.map(({ user, reply }) => [user, reply]),
    from.turns,
  );
  assert.equal(chat.position, from.position);
}

async function expected(bundle: string, state: string): Promise<Expected> {
  const env = { ...process.env, PYTHONPATH: `${ROOT}/runtimes/python` };
  const script = `${ROOT}/runtimes/web/test/expected.py`;
  const { stdout } = await promisify(execFile)(python, [script, bundle, state], { env, maxBuffer: 2 ** 26 });
  return JSON.parse(stdout) as Expected;
}
