/**
 * Our kernels as a module of WebAssembly: its memory, and what it says of itself. `runtimes/native/src/wasm` is its other
 * side.
 *
 * An error ends a module: it is not called again.
 */

import { ProviderError } from "../../errors.js";
import { KernelThreads, sharedMemory, type ThreadExports } from "./threads.js";

/** Where memory of the module begins; 0 is none. */
export type Pointer = number;

interface Exports extends ThreadExports {
  /** Its own; of a module for threads, its host's. */
  readonly memory?: WebAssembly.Memory;
  _initialize?(): void;
  error(): Pointer;
  kernels(): Pointer;
  fused(): number;
  release(memory: Pointer): void;
  call(): Pointer;
  input(call: Pointer, name: Pointer): void;
  attribute(call: Pointer, name: Pointer, value: number): void;
  constant(
    call: Pointer,
    name: Pointer,
    dtype: number,
    sizes: Pointer,
    rank: number,
    data: Pointer,
    bytes: number,
  ): void;
  session(operator: Pointer, call: Pointer, slots: number): Pointer;
  release_session(session: Pointer): void;
  state_shape(session: Pointer, state: number, sizes: Pointer): number;
  vocabulary(session: Pointer): number;
  most_tokens(session: Pointer): number;
  run(session: Pointer, run: Pointer, helped: number): void;
}

const MOST_AXES = 8;

/** A module that is ready. */
export class KernelModule {
  private ended: string | null = null;
  private helpers: KernelThreads | null = null;
  private readonly sizes: Pointer;

  private constructor(
    private readonly exports: Exports,
    private readonly memory: WebAssembly.Memory,
  ) {
    exports._initialize?.();
    this.sizes = this.allocate(MOST_AXES * 8);
  }

  /**
   * With so many threads, if the module is one for threads and they start.
   *
   * @param folder - where `thread.js` is served; "": in this package.
   *
   * Rejects with WebAssembly's own errors.
   */
  static async of(module: WebAssembly.Module, threads: number, folder: string): Promise<KernelModule> {
    // What the C library might ask a system for, and never does.
    const missing = (name: string) => (): never => {
      throw new Error(`the kernels asked for ${name}`);
    };
    const imports: WebAssembly.Imports = {};
    let shared: WebAssembly.Memory | null = null;
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      (imports[from] ??= {})[name] = kind === "memory" ? (shared = sharedMemory()) : missing(name);
    }
    const exports = (await WebAssembly.instantiate(module, imports)).exports as unknown as Exports;
    const memory = shared ?? exports.memory;
    if (memory === undefined) throw new Error("the module has no memory");
    const made = new KernelModule(exports, memory);
    if (shared !== null && threads > 1) {
      made.helpers = await KernelThreads.start(threads, module, shared, exports, folder).catch(() => null);
    }
    return made;
  }

  get threads(): number {
    return this.helpers?.count ?? 1;
  }

  /** It ends, and its threads. */
  close(): void {
    this.end("the kernels were released");
  }

  /** The name of its table of kernels. */
  get kernels(): string {
    return this.textAt(this.exports.kernels());
  }

  /** Whether products are added to sums in one rounding. */
  get fused(): boolean {
    return this.exports.fused() !== 0;
  }

  /** Bytes of its memory. */
  get heap(): number {
    return this.memory.buffer.byteLength;
  }

  /** Memory that is not cleared; null where there is no more. */
  room(bytes: number): Pointer | null {
    return this.exports.allocate(bytes) || null;
  }

  /** The same. Throws ProviderError where there is no more. */
  allocate(bytes: number): Pointer {
    const at = this.room(bytes);
    if (at === null)
      throw new ProviderError(`the kernels' memory holds no further ${bytes} bytes; take a smaller model`);
    return at;
  }

  release(memory: Pointer): void {
    this.exports.release(memory);
  }

  /** Its memory as it lies; valid until it grows. */
  bytes(at: Pointer, count: number): Uint8Array {
    return new Uint8Array(this.buffer(at + count), at, count);
  }

  /** Where bytes lie in its memory; null if they do not. */
  pointerTo(bytes: Uint8Array): Pointer | null {
    return bytes.buffer === this.memory.buffer ? bytes.byteOffset : null;
  }

  floats(at: Pointer, count: number): Float32Array {
    return new Float32Array(this.buffer(at + 4 * count), at, count);
  }

  view(at: Pointer, bytes: number): DataView {
    return new DataView(this.buffer(at + bytes), at, bytes);
  }

  /** A description of a call, to be filled. */
  call(): Pointer {
    return this.guarded(() => this.exports.call());
  }

  input(call: Pointer, name: string): void {
    this.named(name, (text) => {
      this.exports.input(call, text);
    });
  }

  attribute(call: Pointer, name: string, value: number): void {
    this.named(name, (text) => {
      this.exports.attribute(call, text, value);
    });
  }

  /** Of ONNX's type, whose values lie there. */
  constant(call: Pointer, name: string, dtype: number, shape: readonly number[], at: Pointer, bytes: number): void {
    if (shape.length > MOST_AXES) throw new ProviderError(`${name} has more than ${MOST_AXES} axes`);
    new Float64Array(this.memory.buffer, this.sizes, MOST_AXES).set(shape);
    this.named(name, (text) => {
      this.exports.constant(call, text, dtype, this.sizes, shape.length, at, bytes);
    });
  }

  /** Of an operator and its call, with so many places for mediums. Throws ProviderError if they do not fit. */
  session(operator: string, call: Pointer, slots: number): Pointer {
    return this.named(operator, (text) => this.exports.session(text, call, slots));
  }

  releaseSession(session: Pointer): void {
    if (this.ended === null) this.exports.release_session(session);
  }

  /** Of a state by its place; null if there is none. */
  stateShape(session: Pointer, state: number): readonly number[] | null {
    const rank = this.exports.state_shape(session, state, this.sizes);
    return rank === 0 ? null : [...new Float64Array(this.memory.buffer, this.sizes, rank)];
  }

  vocabulary(session: Pointer): number {
    return this.exports.vocabulary(session);
  }

  mostTokens(session: Pointer): number {
    return this.exports.most_tokens(session);
  }

  /** helped: by its other threads, if it has any; the bits are the same. */
  run(session: Pointer, run: Pointer, helped = true): void {
    this.guarded(() => {
      this.exports.run(session, run, Number(helped && this.helpers !== null));
    });
  }

  /** With a text that is there meanwhile. */
  private named<T>(text: string, action: (at: Pointer) => T): T {
    const data = new TextEncoder().encode(`${text}\0`);
    const at = this.allocate(data.length);
    this.bytes(at, data.length).set(data);
    const result = this.guarded(() => action(at));
    this.release(at);
    return result;
  }

  /** What the module throws, with what it says of it. */
  private guarded<T>(action: () => T): T {
    if (this.ended !== null) throw new ProviderError(this.ended);
    try {
      return action();
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      throw new ProviderError(this.end(`the kernels: ${this.textAt(this.exports.error()) || error.message}`));
    }
  }

  /** Why it is not called again. */
  private end(why: string): string {
    this.ended ??= why;
    this.helpers?.end();
    this.helpers = null;
    return this.ended;
  }

  /** The memory up to a place; that another thread made it grow is not told by itself. */
  private buffer(end: number): ArrayBufferLike {
    if (end > this.memory.buffer.byteLength) this.memory.grow(0);
    return this.memory.buffer;
  }

  private textAt(at: Pointer): string {
    const all = new Uint8Array(this.memory.buffer);
    return new TextDecoder().decode(all.slice(at, all.indexOf(0, at)));
  }
}
