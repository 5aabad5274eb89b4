/** The runtime against `tests/conformance/vectors.json`: what any runtime must make of the bundle there. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, describe, test } from "node:test";

import { canonicalJson } from "../src/bundle/canonical.js";
import { StateSpec } from "../src/bundle/state_spec.js";
import { Chat, type ChatOptions, type Model, State, type Thinking, type Token } from "../src/index.js";
import { sha256Of } from "../src/common/sha256.js";
import { fitted, otherForm } from "../src/execution/state_values.js";
import type { GenerateOptions, LanguageModel } from "../src/generate.js";
import { Pcg64 } from "../src/sampling/pcg64.js";
import { ThoughtAndAnswer } from "../src/text/thinking.js";
import { tokenizerOf } from "../src/tokenizer.js";
import { adaptive, collected, CONFORMANCE, conformance, error, flat, json } from "./bundles.js";

interface ExpectedToken {
  id: number;
  text: string;
  logprob: number;
  finish: string | null;
  thought?: string;
}
interface ChatCase {
  name: string;
  thinking?: Thinking;
  options: ChatOptions;
  turns: { user: string; tokens: ExpectedToken[]; reply: string; position: number }[];
}
interface Vectors {
  bundle_id: string;
  tolerance: number;
  canonical_json: { value: unknown; text: string; sha256: string }[];
  tokenizers: Record<
    string,
    {
      encode: { text: string; special: boolean; ids: number[] }[];
      stream: { ids: number[]; pieces: string[]; flush: string; decoded: string }[];
    }
  >;
  logits: { ids: number[]; num_logits: number; logits: unknown }[];
  states: { ids: number[]; values: Record<string, unknown> }[];
  state_file: { file: string; after: number[]; then: number[]; logits: unknown };
  conversion: Record<string, { stable: unknown; plain: unknown; back: unknown }>;
  random: { seed: number; doubles: number[] }[];
  generate: (GenerateOptions & { name: string; prompt: string | number[]; tokens: ExpectedToken[] })[];
  chat: ChatCase[];
  thoughts: { begun: string; pieces: string[]; shown: string[][]; flush: string[]; stop: string | null }[];
  thinking: ChatCase[];
}

const vectors = (await json(`${CONFORMANCE}/vectors.json`)) as Vectors;
const USUAL = { open: " <think", skip: " <think>\n</think", begin: "<think>", end: "</think>", kept: false };

function close(found: Iterable<number | bigint>, expected: unknown): void {
  const off = error(found, flat(expected));
  assert.ok(off <= vectors.tolerance, `off by ${off}`);
}

function same(found: readonly Token[], expected: readonly ExpectedToken[]): void {
  const shape = ({ id, text, finish, thought = "" }: Token | ExpectedToken): object => ({ id, text, finish, thought });
  assert.deepEqual(found.map(shape), expected.map(shape));
  found.forEach((token, i) => {
    assert.ok(Math.abs(token.logprob - (expected[i]?.logprob ?? NaN)) <= 1e-3);
  });
}

for (const [i, { value, text, sha256 }] of vectors.canonical_json.entries()) {
  test(`canonical JSON ${i}`, async () => {
    assert.equal(canonicalJson(value), text);
    assert.equal(await sha256Of(text), sha256);
  });
}

for (const [file, { encode, stream }] of Object.entries(vectors.tokenizers)) {
  test(`tokenizer ${file}`, async () => {
    const type = file.endsWith(".json") ? "tokenizer.json" : "rwkv-world";
    const tokenizer = tokenizerOf(type, await readFile(`${CONFORMANCE}/${file}`), file);
    for (const { text, special, ids } of encode) assert.deepEqual(tokenizer.encode(text, special), ids, text);
    for (const { ids, pieces, flush, decoded } of stream) {
      const streamed = tokenizer.stream();
      assert.deepEqual(
        ids.map((id) => streamed.push(id)),
        pieces,
      );
      assert.equal(streamed.flush(), flush);
      assert.equal(tokenizer.decode(ids), decoded);
    }
  });
}

test("random numbers", () => {
  for (const { seed, doubles } of vectors.random) {
    const random = new Pcg64(BigInt(seed));
    assert.deepEqual(
      doubles.map(() => random.double()),
      doubles,
    );
  }
});

test("thoughts", () => {
  for (const { begun, pieces, shown, flush, stop } of vectors.thoughts) {
    const reply = new ThoughtAndAnswer(USUAL, begun, ["\n\n"], ["\n\nUser:"]);
    const found = pieces.map((piece) => {
      const text = reply.push(piece);
      return [reply.takeThought(), text];
    });
    assert.deepEqual(found, shown);
    const text = reply.matched === null ? reply.flush() : "";
    assert.deepEqual([reply.takeThought(), text], flush);
    assert.equal(reply.matched, stop);
  }
});

async function checkLogits(model: Model, { logits: cases }: Pick<Vectors, "logits">): Promise<void> {
  for (const { ids, num_logits, logits } of cases) {
    close((await model.forward(ids, undefined, { num_logits })).logits, logits);
    close((await model.forward(ids, undefined, { num_logits, chunk: 2 })).logits, logits);
  }
}

async function checkStates(model: Model, { states: cases }: Pick<Vectors, "states">): Promise<void> {
  for (const { ids, values } of cases) {
    const decoder = model.decoder();
    for (const id of ids) await decoder.step(id);
    const states = [await decoder.state(), ids.length > 0 ? (await model.forward(ids)).state : model.initialState()];
    for (const state of states) {
      for (const [name, value] of Object.entries(values)) close(state.values.get(name)?.data ?? [], value);
    }
  }
}

test("segments that end where enough was told", async () => {
  const told = (await json(`${CONFORMANCE}/adaptive/vectors.json`)) as Pick<Vectors, "bundle_id" | "logits" | "states">;
  const model = await adaptive();
  assert.equal(model.manifest.bundle_id, told.bundle_id);
  await checkLogits(model, told);
  await checkStates(model, told);
  const { state } = await model.forward([5, 30, 31]);
  assert.deepEqual((await model.loadState(await state.save())).values, state.values);
});

for (const variant of [undefined, "mobile"]) {
  describe(variant ?? "default graphs", () => {
    let model: Model;
    before(async () => {
      model = await conformance(variant);
      assert.equal(model.manifest.bundle_id, vectors.bundle_id);
    });

    test("logits", () => checkLogits(model, vectors));

    test("states, read together and one by one", () => checkStates(model, vectors));

    test("a saved state", async () => {
      const { file, after, then, logits } = vectors.state_file;
      const bytes = await readFile(`${CONFORMANCE}/${file}`);
      const state = await model.loadState(new Uint8Array(bytes).buffer);
      assert.equal(state.position, after.length);
      close((await model.forward(then, state)).logits, logits);
      const again = await model.loadState(await state.save());
      assert.deepEqual(again.values, state.values);
      const own = (await model.forward(after)).state;
      close((await model.forward(then, own)).logits, logits);
    });

    for (const { name, prompt, tokens, ...options } of vectors.generate) {
      test(`generate: ${name}`, async () => {
        same(await collected(model.generate(prompt, options)), tokens);
      });
    }

    for (const { name, thinking, options, turns } of [...vectors.chat, ...vectors.thinking]) {
      test(`chat: ${name}`, async () => {
        const chat = new Chat(thinking ? taught(model, thinking) : model, options);
        for (const { user, tokens, reply, position } of turns) {
          same(await collected(chat.send(user)), tokens);
          assert.deepEqual([chat.turns.at(-1)?.reply, chat.position], [reply, position]);
        }
      });
    }
  });
}

test("wkv in its other form", async () => {
  const model = await conformance();
  const { manifest } = model;
  const other = manifest.changed({ states: otherForm(manifest.states) });
  for (const { stable, plain, back } of Object.values(vectors.conversion)) {
    const given = new Map(model.initialState().values);
    const spec = manifest.stateOf("wkv");
    assert.ok(spec instanceof StateSpec);
    given.set(spec.input, { dtype: "float32", shape: spec.shape, data: Float32Array.from(flat(stable)) });
    given.set(manifest.position, { dtype: "int64", shape: [], data: BigInt64Array.of(0n) });
    const sums = fitted(State.of(manifest, given).values, other);
    close((sums.get(spec.input)?.data as Float32Array | undefined) ?? [], plain);
    close((fitted(sums, manifest).get(spec.input)?.data as Float32Array | undefined) ?? [], back);
  }
});

/** A model that thinks as a case says. */
function taught(model: Model, thinking: Thinking): LanguageModel {
  const manifest = model.manifest.changed({ chat: { ...model.manifest.chat, thinking } });
  return { manifest, tokenizer: model.tokenizer, decoder: (state) => model.decoder(state) };
}
