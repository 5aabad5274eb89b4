/**
 * A bundle in one file: a zip whose files are stored as they are, `manifest.json` first, read from its beginning to its
 * end as it comes.
 */

import { Unzip, type UnzipFile, UnzipPassThrough } from "fflate";

import { brief } from "../common/reading.js";
import { BundleError, DamagedBundle } from "../errors.js";
import { type FileEntry, MANIFEST_NAME } from "../manifest.js";
import type { Incoming, Source } from "./source.js";

/** A file within the archive, as it comes; a piece at a time is held. */
interface Member {
  readonly name: string;
  readonly pieces: Uint8Array[];
  done: boolean;
}

type Body = ReadableStream<Uint8Array>;

/** The archive that `open` gives as a stream; it is opened once. */
export function archiveSource(
  name: string,
  from: Source["from"],
  open: (signal?: AbortSignal) => Promise<Body>,
): Source {
  let reading: Reading | null = null;
  return {
    name,
    from,
    async manifest(most, signal) {
      reading = new Reading(name, (await open(signal)).getReader());
      const first = await reading.next();
      if (first?.name !== MANIFEST_NAME) {
        const remedy = "its files are stored, not compressed, and the manifest is the first";
        throw new BundleError(`${name}: not a bundle in one file; ${remedy}`);
      }
      const kept: Uint8Array[] = [];
      let size = 0;
      for await (const piece of reading.pieces(first)) {
        size += piece.length;
        if (size <= most + piece.length) kept.push(piece);
      }
      return new Uint8Array(await new Blob(kept as BlobPart[]).arrayBuffer()).subarray(0, most);
    },
    async *files(wanted) {
      if (reading === null) throw new Error("the manifest comes first");
      yield* filesOf(name, reading, wanted);
    },
    async close() {
      await reading?.close();
    },
  };
}

async function* filesOf(name: string, reading: Reading, wanted: readonly FileEntry[]): AsyncGenerator<Incoming> {
  const left = new Map(wanted.map((entry) => [entry.name, entry]));
  while (left.size > 0) {
    const member = await reading.next();
    if (member === null) {
      const [missing = ""] = left.keys();
      throw new DamagedBundle(`${name}: ${missing} is missing; make the archive again`);
    }
    const entry = left.get(member.name);
    left.delete(member.name);
    if (entry !== undefined) yield { entry, pieces: reading.pieces(member) };
    else await skipped(reading.pieces(member)); // a variant's
  }
}

/** An archive that is being read. */
class Reading {
  private readonly members: Member[] = [];
  private failed: BundleError | null = null;
  private ended = false;
  private readonly unzip = new Unzip((file) => {
    this.begin(file);
  });

  constructor(
    private readonly name: string,
    private readonly reader: ReadableStreamDefaultReader<Uint8Array>,
  ) {
    this.unzip.register(UnzipPassThrough);
  }

  /** The next file; null at the end. The one before was read to its end. */
  async next(): Promise<Member | null> {
    while (this.members.length === 0 && !this.ended) await this.read();
    if (this.failed !== null) throw this.failed;
    return this.members[0] ?? null;
  }

  async *pieces(member: Member): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = member.pieces.shift();
      if (piece !== undefined) yield piece;
      else if (member.done) break;
      else if (this.ended) throw new DamagedBundle(`${this.name}: ends within ${member.name}; copy it again`);
      else await this.read();
    }
    this.members.shift();
  }

  async close(): Promise<void> {
    this.ended = true;
    await this.reader.cancel().catch(() => undefined);
  }

  private begin(file: UnzipFile): void {
    if (file.compression !== 0 || file.name.endsWith("/")) {
      this.failed ??= new BundleError(`${this.name}: ${file.name.slice(0, 80)} in it is not stored as it is`);
      return;
    }
    const member: Member = { name: file.name, pieces: [], done: false };
    this.members.push(member);
    file.ondata = (error, piece, final) => {
      if (error !== null) this.failed ??= new DamagedBundle(`${this.name}: no zip archive (${brief(error)})`);
      if (piece.length > 0) member.pieces.push(piece.slice()); // fflate's own memory
      member.done = final;
    };
    file.start();
  }

  private async read(): Promise<void> {
    const { done, value } = await this.reader.read();
    try {
      this.unzip.push(value ?? new Uint8Array(), done);
    } catch (error) {
      this.failed ??= new DamagedBundle(`${this.name}: no zip archive (${brief(error)})`);
    }
    if (done) this.ended = true;
    if (this.failed !== null) throw this.failed;
  }
}

async function skipped(pieces: AsyncGenerator<Uint8Array>): Promise<void> {
  while ((await pieces.next()).done !== true);
}
