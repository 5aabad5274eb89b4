/** A bundle's files in memory, each held against its size and sha256 while it comes: what was hashed is what is used. */

import { startSha256 } from "../common/sha256.js";
import { brief } from "../common/reading.js";
import { BundleError, Cancelled, DamagedBundle, ProviderError, RRWKVError } from "../errors.js";
import type { FileEntry } from "../manifest.js";
import { iterated } from "./iterated.js";
import { checkSize, type Source } from "./source.js";

/** Bytes that a wasm heap of 32 bits may hold. */
const LARGEST_HELD = 2 ** 32;

/** A file in memory. */
export interface HeldFile {
  /** Its bytes as they lie, valid until more memory is taken where they do. */
  readonly data: Uint8Array;
}

/** Files by their names. */
export type Held = ReadonlyMap<string, HeldFile>;

/** Where files may be put as they come, so that they are held but once: an engine's own memory. */
export interface Room {
  /** Memory for so many bytes, the caller's until it is released; null where there is none. */
  take(bytes: number): Taken | null;
}

export interface Taken extends HeldFile {
  release(): void;
}

/** Where files go as they come, to be kept. */
export interface Keeper {
  begin(entry: FileEntry): Promise<void>;
  write(piece: Uint8Array): Promise<void>;
  end(): Promise<void>;
}

export interface HoldOptions {
  readonly progress?: (bytes: number, of: number) => void;
  readonly signal?: AbortSignal;
  readonly keeper?: Keeper;
  /** For some of the files: where they go. */
  readonly room?: { readonly of: Room; readonly names: ReadonlySet<string> };
}

/** Read files, and check each. Rejects with DamagedBundle naming the file, with ProviderError where they are too large. */
export async function holdFiles(source: Source, wanted: readonly FileEntry[], options: HoldOptions): Promise<Held> {
  const of = wanted.reduce((sum, entry) => sum + entry.bytes, 0);
  if (of > LARGEST_HELD) {
    throw new ProviderError(`${source.name}: ${of} bytes are more than WebAssembly holds; take a smaller quantization`);
  }
  const held = new Map<string, Taken>();
  let bytes = 0;
  try {
    for await (const { entry, pieces } of source.files(wanted, options.signal)) {
      const file = taken(source.name, entry, options);
      held.set(entry.name, file);
      await fill(file, source.name, entry, pieces, options, (size) => {
        bytes += size;
        options.progress?.(bytes, of);
      });
    }
  } catch (error) {
    for (const file of held.values()) file.release();
    if (options.signal?.aborted === true) throw new Cancelled("stopped while the bundle was read");
    if (error instanceof RRWKVError) throw error;
    throw new BundleError(`${source.name}: cannot be read to its end (${brief(error)}); try again`);
  }
  return held;
}

async function fill(
  file: HeldFile,
  bundle: string,
  entry: FileEntry,
  pieces: AsyncIterable<Uint8Array>,
  { keeper, signal }: HoldOptions,
  progress: (size: number) => void,
): Promise<void> {
  const hash = await startSha256();
  await keeper?.begin(entry);
  let at = 0;
  for await (const piece of iterated(pieces)) {
    if (signal?.aborted === true) throw new Cancelled("stopped while the bundle was read");
    if (at + piece.length > entry.bytes) checkSize(bundle, entry, at + piece.length);
    file.data.set(piece, at);
    hash.update(piece);
    await keeper?.write(piece);
    at += piece.length;
    progress(piece.length);
  }
  checkSize(bundle, entry, at);
  if (hash.digest() !== entry.sha256) {
    throw new DamagedBundle(`${bundle}: ${entry.name} is not the file that was exported (its sha256 differs)`);
  }
  await keeper?.end();
}

function taken(bundle: string, { name, bytes }: FileEntry, { room }: HoldOptions): Taken {
  const there = room?.names.has(name) === true ? room.of.take(bytes) : null;
  try {
    return there ?? { data: new Uint8Array(bytes), release: () => undefined };
  } catch {
    throw new ProviderError(`${bundle}: there is no memory for ${name} of ${bytes} bytes here`);
  }
}
