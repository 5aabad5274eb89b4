/** Where files go as they come. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { holdFiles, type Room } from "../src/bundle/held.js";
import { DamagedBundle, opened } from "../src/index.js";
import { Manifest } from "../src/manifest.js";
import { CONFORMANCE } from "./bundles.js";

const WEIGHTS = "model.onnx.data";
const manifest = await Manifest.parse(new Uint8Array(await readFile(`${CONFORMANCE}/bundle/manifest.json`)), "bundle");
const wanted = [manifest.file("model.onnx"), manifest.file(WEIGHTS)];

/** Memory whose views go whenever some is taken, as WebAssembly's does. */
class Heap implements Room {
  released = 0;
  private memory = new ArrayBuffer(0);

  constructor(private readonly most: number) {}

  take(bytes: number): ReturnType<Room["take"]> {
    const at = this.memory.byteLength;
    if (at + bytes > this.most) return null;
    const grown = new ArrayBuffer(at + bytes);
    new Uint8Array(grown).set(new Uint8Array(this.memory));
    this.memory = grown;
    const data = (): Uint8Array => new Uint8Array(this.memory, at, bytes);
    const release = (): void => {
      this.released++;
    };
    return {
      get data() {
        return data();
      },
      release,
    };
  }

  holds(data: Uint8Array): boolean {
    return data.buffer === this.memory;
  }
}

async function held(heap: Heap, damage = false) {
  const source = opened("bundle", async (name) => {
    const data = new Uint8Array(await readFile(`${CONFORMANCE}/bundle/${name}`));
    if (damage && name === WEIGHTS) data[data.length - 1] = (data.at(-1) ?? 0) ^ 1;
    return new Blob([data]);
  });
  return holdFiles(source, wanted, { room: { of: heap, names: new Set([WEIGHTS]) } });
}

test("weights are put where an engine takes them, and nothing else is", async () => {
  const heap = new Heap(2 ** 20);
  const files = await held(heap);
  heap.take(100); // views of before are of no use
  for (const { name } of wanted) {
    const data = files.get(name)?.data ?? new Uint8Array();
    assert.equal(heap.holds(data), name === WEIGHTS);
    assert.deepEqual(Buffer.from(data), await readFile(`${CONFORMANCE}/bundle/${name}`));
  }
});

test("where an engine has no room they are held beside it", async () => {
  const heap = new Heap(100);
  const files = await held(heap);
  assert.deepEqual(Buffer.from(files.get(WEIGHTS)?.data ?? []), await readFile(`${CONFORMANCE}/bundle/${WEIGHTS}`));
});

test("what is damaged gives its room back", async () => {
  const heap = new Heap(2 ** 20);
  await assert.rejects(held(heap, true), DamagedBundle);
  assert.equal(heap.released, 1);
});
