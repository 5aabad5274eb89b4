/**
 * Bundles that this browser keeps, in the origin's private file system, so that the next start needs no network.
 *
 *     rrwkv-bundles/BUNDLE_ID/…             the files by their names
 *     rrwkv-bundles/BUNDLE_ID/manifest.json  written last: without it, what is there is not whole
 *     rrwkv-bundles/addresses.json           which bundle was last found at which address
 *
 * They are hashed when they are read again, as any others.
 */

import { brief } from "../common/reading.js";
import type { FileEntry } from "../manifest.js";
import { MANIFEST_NAME } from "../manifest.js";
import type { Keeper } from "./held.js";
import { opened, type Source } from "./source.js";

const FOLDER = "rrwkv-bundles";
const ADDRESSES = "addresses.json";

/** A bundle that is kept. */
export interface KeptBundle {
  readonly bundle_id: string;
  readonly bytes: number;
}

/** The place for bundles; null where this browser has none, and in Node. */
export async function keptBundles(): Promise<KeptBundles | null> {
  const { storage } = (globalThis as { navigator?: { storage?: Partial<StorageManager> } }).navigator ?? {};
  try {
    const root = await storage?.getDirectory?.();
    return root === undefined ? null : new KeptBundles(await root.getDirectoryHandle(FOLDER, { create: true }));
  } catch {
    return null; // a private window, or a page that is not secure
  }
}

export class KeptBundles {
  constructor(private readonly folder: FileSystemDirectoryHandle) {}

  /** Those that are whole. */
  async list(): Promise<KeptBundle[]> {
    const found: KeptBundle[] = [];
    for await (const [bundle_id, handle] of this.folder.entries()) {
      if (handle.kind !== "directory") continue;
      const bundle = handle;
      if ((await sizeOf(bundle, MANIFEST_NAME)) !== null) found.push({ bundle_id, bytes: await bytesIn(bundle) });
    }
    return found;
  }

  /** A bundle as a source; null if it is not there whole. */
  async open(bundle_id: string): Promise<Source | null> {
    const bundle = await this.folder.getDirectoryHandle(bundle_id).catch(() => null);
    if (bundle === null || (await sizeOf(bundle, MANIFEST_NAME)) === null) return null;
    const source = opened("the bundle that this browser keeps", async (name) => fileOf(bundle, name));
    return { ...source, from: "kept" };
  }

  /** Begin to keep one; what is there of it is written over. */
  async keep(bundle_id: string, manifest: Uint8Array): Promise<Keeping> {
    const bundle = await this.folder.getDirectoryHandle(bundle_id, { create: true });
    await bundle.removeEntry(MANIFEST_NAME).catch(() => undefined);
    return new Keeping(bundle, manifest);
  }

  /** Keep one no longer, or, without an id, none. */
  async forget(bundle_id?: string): Promise<void> {
    const names: string[] = [];
    for await (const name of this.folder.keys()) if (bundle_id === undefined || name === bundle_id) names.push(name);
    for (const name of names) await this.folder.removeEntry(name, { recursive: true });
  }

  /** The bundle that was last found at an address; null if none was. */
  async at(address: string): Promise<string | null> {
    return (await this.addresses())[address] ?? null;
  }

  async remember(address: string, bundle_id: string): Promise<void> {
    const text = JSON.stringify({ ...(await this.addresses()), [address]: bundle_id });
    const handle = await this.folder.getFileHandle(ADDRESSES, { create: true });
    await written(handle, [new TextEncoder().encode(text)]);
  }

  private async addresses(): Promise<Record<string, string>> {
    try {
      const file = await (await this.folder.getFileHandle(ADDRESSES)).getFile();
      return JSON.parse(await file.text()) as Record<string, string>;
    } catch {
      return {};
    }
  }
}

/** A bundle that is being kept. What fails ends the keeping, and nothing else: `note` says why. */
export class Keeping implements Keeper {
  /** Why it is not kept, in one line; null: it is, or will be. */
  note: string | null = null;
  private file: SyncAccess | null = null;
  private at = 0;

  constructor(
    private readonly bundle: FileSystemDirectoryHandle,
    private readonly manifest: Uint8Array,
  ) {}

  begin(entry: FileEntry): Promise<void> {
    return this.trying(async () => {
      this.file = await syncAccess(await handleOf(this.bundle, entry.name));
      this.file.truncate(0);
      this.at = 0;
    });
  }

  write(piece: Uint8Array): Promise<void> {
    return this.trying(() => {
      const written = this.file?.write(piece, { at: this.at }) ?? 0;
      if (written !== piece.length) throw new DOMException("the storage is full", "QuotaExceededError");
      this.at += piece.length;
    });
  }

  end(): Promise<void> {
    return this.trying(() => {
      this.file?.flush();
      this.file?.close();
      this.file = null;
    });
  }

  /** All files are there: now it is whole. */
  finish(): Promise<void> {
    return this.trying(async () => {
      await written(await this.bundle.getFileHandle(MANIFEST_NAME, { create: true }), [this.manifest]);
    });
  }

  /** Leave nothing open. */
  abandon(): void {
    this.file?.close();
    this.file = null;
  }

  private async trying(work: () => Promise<void> | void): Promise<void> {
    if (this.note !== null) return;
    try {
      await work();
    } catch (error) {
      const full = error instanceof DOMException && error.name === "QuotaExceededError";
      this.note = `the bundle is not kept for the next start: ${full ? "the storage is full" : brief(error)}`;
      this.abandon();
      if (full) await this.empty().catch(() => undefined);
    }
  }

  /** Give back the space of what is not whole. */
  private async empty(): Promise<void> {
    const names: string[] = [];
    for await (const name of this.bundle.keys()) names.push(name);
    for (const name of names) await this.bundle.removeEntry(name, { recursive: true });
  }
}

/** What only workers have, and all browsers' workers. */
interface SyncAccess {
  write(piece: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

function syncAccess(handle: FileSystemFileHandle): Promise<SyncAccess> {
  return (handle as unknown as { createSyncAccessHandle(): Promise<SyncAccess> }).createSyncAccessHandle();
}

async function written(handle: FileSystemFileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  const file = await syncAccess(handle);
  try {
    file.truncate(0);
    let at = 0;
    for (const piece of pieces) at += file.write(piece, { at });
    file.flush();
  } finally {
    file.close();
  }
}

/** The handle of a file, in folders that are made. */
async function handleOf(bundle: FileSystemDirectoryHandle, name: string): Promise<FileSystemFileHandle> {
  let folder = bundle;
  const parts = name.split("/");
  for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part, { create: true });
  return folder.getFileHandle(parts.at(-1) ?? "", { create: true });
}

async function fileOf(bundle: FileSystemDirectoryHandle, name: string): Promise<File | null> {
  try {
    let folder = bundle;
    const parts = name.split("/");
    for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part);
    return await (await folder.getFileHandle(parts.at(-1) ?? "")).getFile();
  } catch {
    return null;
  }
}

async function sizeOf(bundle: FileSystemDirectoryHandle, name: string): Promise<number | null> {
  const file = await fileOf(bundle, name);
  return file === null || file.size === 0 ? null : file.size;
}

async function bytesIn(folder: FileSystemDirectoryHandle): Promise<number> {
  let bytes = 0;
  for await (const handle of folder.values()) {
    if (handle.kind === "directory") bytes += await bytesIn(handle);
    else bytes += (await handle.getFile()).size;
  }
  return bytes;
}
