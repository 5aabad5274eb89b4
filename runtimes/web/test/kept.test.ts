/** What a browser keeps, over a file system in memory with so much room. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { fetchFiles, findBundle } from "../src/bundle/found.js";
import { KeptBundles } from "../src/bundle/kept.js";
import type { Source } from "../src/bundle/source.js";
import { makePlan } from "../src/execution/loading.js";
import { folder } from "../src/node.js";
import { CONFORMANCE } from "./bundles.js";

/** A directory of the origin's private file system, as far as it is used. */
class Directory {
  readonly kind = "directory";
  readonly items = new Map<string, Directory | Entry>();

  constructor(private readonly room: { left: number }) {}

  getDirectoryHandle(name: string, options: { create?: boolean } = {}): Promise<Directory> {
    return this.item(name, options.create === true ? () => new Directory(this.room) : null) as Promise<Directory>;
  }

  getFileHandle(name: string, options: { create?: boolean } = {}): Promise<Entry> {
    return this.item(name, options.create === true ? () => new Entry(this.room) : null) as Promise<Entry>;
  }

  removeEntry(name: string): Promise<void> {
    return this.items.delete(name) ? Promise.resolve() : Promise.reject(new DOMException("none", "NotFoundError"));
  }

  async *entries(): AsyncGenerator<[string, Directory | Entry]> {
    for (const item of this.items) yield Promise.resolve(item);
  }

  async *keys(): AsyncGenerator<string> {
    for await (const [name] of this.entries()) yield name;
  }

  async *values(): AsyncGenerator<Directory | Entry> {
    for await (const [, item] of this.entries()) yield item;
  }

  private item(name: string, make: (() => Directory | Entry) | null): Promise<Directory | Entry> {
    const found = this.items.get(name) ?? make?.();
    if (found === undefined) return Promise.reject(new DOMException("none", "NotFoundError"));
    this.items.set(name, found);
    return Promise.resolve(found);
  }
}

class Entry {
  readonly kind = "file";
  private data = new Uint8Array();

  constructor(private readonly room: { left: number }) {}

  getFile(): Promise<File> {
    return Promise.resolve(new File([this.data], "file"));
  }

  createSyncAccessHandle(): Promise<object> {
    return Promise.resolve({
      truncate: (size: number) => {
        this.data = this.data.slice(0, size);
      },
      write: (piece: Uint8Array, { at }: { at: number }) => {
        this.room.left -= piece.length;
        if (this.room.left < 0) throw new DOMException("full", "QuotaExceededError");
        const data = new Uint8Array(Math.max(this.data.length, at + piece.length));
        data.set(this.data);
        data.set(piece, at);
        this.data = data;
        return piece.length;
      },
      flush: () => undefined,
      close: () => undefined,
    });
  }
}

function place(room: number): { kept: KeptBundles; root: Directory } {
  const root = new Directory({ left: room });
  return { root, kept: new KeptBundles(root as unknown as FileSystemDirectoryHandle) };
}

const BUNDLE = folder(`${CONFORMANCE}/bundle`);

async function load(source: Source, kept: KeptBundles): Promise<{ from: string; keep_note: string | null }> {
  const found = await findBundle(source, kept);
  const { from, keep_note } = await fetchFiles(found, makePlan(found.manifest, null).files, kept, {});
  return { from, keep_note };
}

test("a bundle is kept, found again, and forgotten", async () => {
  const { kept } = place(2 ** 30);
  assert.deepEqual(await load(BUNDLE, kept), { from: "disk", keep_note: null });
  assert.deepEqual(await load(BUNDLE, kept), { from: "kept", keep_note: null });
  const [only] = await kept.list();
  assert.ok(only !== undefined && only.bytes > 100_000);
  await kept.forget(only.bundle_id);
  assert.deepEqual(await kept.list(), []);
});

test("where the storage is full it goes on without, says so, and leaves nothing", async () => {
  const { kept, root } = place(60_000);
  const { from, keep_note } = await load(BUNDLE, kept);
  assert.deepEqual([from, keep_note], ["disk", "the bundle is not kept for the next start: the storage is full"]);
  assert.deepEqual(await kept.list(), []);
  assert.ok([...root.items.values()].every((item) => item instanceof Directory && item.items.size === 0));
});

test("what is half there is never taken for whole", async () => {
  const { kept } = place(2 ** 30);
  const ends: Source = {
    ...BUNDLE,
    async *files(wanted) {
      for await (const incoming of BUNDLE.files(wanted)) {
        yield incoming;
        throw new Error("the connection is gone");
      }
    },
  };
  await assert.rejects(load(ends, kept), /the connection is gone/);
  assert.deepEqual(await kept.list(), []);
  assert.deepEqual(await load(BUNDLE, kept), { from: "disk", keep_note: null });
});
