/** A page's client and the worker's service, over a channel: what a page does with them. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";

import { Cancelled, DamagedBundle, InputError, OtherBundle, StateError } from "../src/index.js";
import { RuntimeClient } from "../src/worker/client.js";
import type { Info, LoadProgress, PromptProgress } from "../src/worker/protocol.js";
import { serve } from "../src/worker/worker.js";
import { collected, CONFORMANCE, conformance } from "./bundles.js";

const NAMES = ["manifest.json", "model.onnx", "decode.onnx", "segment_end.onnx", "model.onnx.data", "tokenizer.json"];

/** The conformance bundle as a person picks it. */
async function picked(change: (name: string, data: Uint8Array) => Uint8Array = (_, data) => data): Promise<File[]> {
  const file = async (name: string): Promise<File> => {
    const data = change(name, await readFile(`${CONFORMANCE}/bundle/${name}`));
    const made = new File([data as BlobPart], name);
    return Object.defineProperty(made, "webkitRelativePath", { value: `bundle/${name}` });
  };
  return Promise.all(NAMES.map(file));
}

function client(): RuntimeClient {
  const { port1, port2 } = new MessageChannel();
  serve(port1);
  return new RuntimeClient(port2);
}

/** Structured clones of Files lose paths in Node; a page's do not. */
async function source(): Promise<{ archive: Blob }> {
  const { zipSync } = await import("fflate");
  const files = await picked();
  const data = await Promise.all(
    files.map(async (file) => [file.name, new Uint8Array(await file.arrayBuffer())] as const),
  );
  return { archive: new Blob([zipSync(Object.fromEntries(data), { level: 0 })]) };
}

describe("a worker", () => {
  let runtime: RuntimeClient;
  let info: Info;
  const told: LoadProgress[] = [];
  before(async () => {
    runtime = client();
    const progress = (one: LoadProgress): void => void told.push(one);
    info = await runtime.load(await source(), { provider: "wasm", threads: 1, progress });
  });
  after(() => {
    runtime.close();
  });

  test("says what is loaded", () => {
    assert.deepEqual([info.provider, info.threads, info.vocab_size, info.interval], ["wasm", 1, 320, 4]);
    const fetched = told.filter((one) => one.phase === "fetch").at(-1);
    assert.deepEqual([fetched?.bytes, fetched?.of], [info.memory.files, info.memory.files]);
    assert.equal(told.at(-1)?.phase, "compile");
  });

  test("tokenizes", async () => {
    const ids = await runtime.encode("Hello there!");
    assert.equal(await runtime.decode(ids), "Hello there!");
  });

  test("generates as a model does, and says how far the prompt is", async () => {
    const heard: PromptProgress[] = [];
    const stream = runtime.generate("User: Hello", {
      temperature: 0,
      max_tokens: 12,
      progress: (one) => void heard.push(one),
    });
    const tokens = await collected(stream);
    assert.deepEqual(
      tokens,
      await collected((await conformance()).generate("User: Hello", { temperature: 0, max_tokens: 12 })),
    );
    const { finish, timing } = await stream.ended;
    assert.deepEqual([finish, timing.generated_tokens], ["length", 12]);
    assert.equal(heard.at(-1)?.done, heard.at(-1)?.of);
  });

  test("stops a text at a token, by leaving the loop or by a signal", async () => {
    const left = runtime.generate("Hi", { max_tokens: null, ignore_eos: true });
    for await (const token of left) if (token.index === 3) break;
    assert.equal((await left.ended).finish, "stopped");
    const abort = new AbortController();
    const stream = runtime.generate("Hi", { max_tokens: null, ignore_eos: true, signal: abort.signal });
    setTimeout(() => {
      abort.abort();
    }, 50);
    await collected(stream);
    assert.equal((await stream.ended).finish, "stopped");
  });

  test("stops while the prompt is read", async () => {
    const stream = runtime.generate("long ".repeat(4000), {
      progress: () => {
        stream.stop();
      },
    });
    await assert.rejects(collected(stream), Cancelled);
  });

  test("talks: retry, edit, undo, save and load", async () => {
    const chat = await runtime.chat({ temperature: 0, max_tokens: 7 });
    const first = await collected(chat.send("Hello there!"));
    const { reply } = chat.turns[0] ?? {};
    await collected(chat.send("And then?"));
    const saved = await chat.save();
    assert.deepEqual([chat.turns.length, chat.undoable], [2, 2]);
    assert.equal(await chat.undo(), "And then?");
    assert.deepEqual(await collected(chat.retry()), first); // nothing is drawn
    await collected(chat.send("Again?"));
    const edited = chat.edit(0, "Hello there!");
    await collected(edited);
    const { turns, position, finish } = await edited.ended;
    assert.deepEqual([turns, finish], [[{ user: "Hello there!", reply }], "length"]);
    await chat.load(saved, { turns: [{ user: "Hello there!", reply: reply ?? "" }] });
    assert.ok(chat.position > position);
    assert.deepEqual([chat.turns.length, chat.undoable], [1, 0]);
    await assert.rejects(chat.undo(), InputError);
    await chat.set({ seed: 1, temperature: 1, think: "on" });
    assert.ok((await collected(chat.send("Go on."))).length > 0);
    await chat.close();
    await assert.rejects(chat.save(), /that conversation is closed/);
  });

  test("a reply that is stopped stays as the turn", async () => {
    const chat = await runtime.chat({ seed: 4, max_tokens: null, logit_bias: { 0: -100, 1: -100 } });
    for await (const token of chat.send("Hello")) if (token.index === 5) break;
    assert.equal(chat.turns.length, 1);
    await assert.rejects(collected(chat.send(" \n ")), /the message is empty/);
    assert.equal(chat.turns.length, 1);
  });

  test("refuses states that are damaged", async () => {
    const chat = await runtime.chat();
    const saved = new Uint8Array(await readFile(`${CONFORMANCE}/after-9.state`));
    await assert.rejects(chat.load(saved.slice(1).buffer), /not a saved state/);
    await assert.rejects(chat.load(saved.slice(0, -1).buffer), StateError);
    saved[saved.length - 1] = (saved.at(-1) ?? 0) ^ 1;
    await assert.rejects(chat.load(saved.buffer), /do not match their sha256/);
    const text = new TextDecoder("latin1").decode(await readFile(`${CONFORMANCE}/after-9.state`));
    const other = text.replace(info.bundle_id, "0".repeat(64));
    await assert.rejects(chat.load(Uint8Array.from(other, (c) => c.charCodeAt(0)).buffer), OtherBundle);
  });
});

test("a bundle that is damaged is refused, and another can be loaded", async () => {
  const runtime = client();
  const { archive } = await source();
  const data = new Uint8Array(await archive.arrayBuffer());
  const at = Buffer.from(data).indexOf("model.onnx.data") + 100;
  data[at] = (data[at] ?? 0) ^ 1;
  await assert.rejects(runtime.load({ archive: new Blob([data]) }, { provider: "wasm" }), DamagedBundle);
  await assert.rejects(runtime.info(), /no bundle is loaded/);
  assert.equal((await runtime.load({ archive }, { provider: "wasm", threads: 1 })).provider, "wasm");
  runtime.close();
  await assert.rejects(runtime.info(), /the runtime was closed/);
});
