/** onnxruntime-web as an engine: on the processor by WebAssembly, or on a GPU by WebGPU. */

import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-web";

import { brief } from "../common/reading.js";
import { DamagedBundle, ProviderError, RRWKVError } from "../errors.js";
import type { Manifest } from "../manifest.js";
import type { Engine, GraphSource, Session, Value, ValueInfo, Values } from "./engine.js";
import type { Elements, ElementType, Tensor } from "./tensor.js";

type Ort = typeof import("onnxruntime-web");
export type OrtProvider = "wasm" | "webgpu";

/** What onnxruntime is started with. */
export interface OrtOptions {
  readonly threads: number;
  /** The address of the folder with its `.wasm` and `.mjs` files; "": where its package is. */
  readonly wasm_files?: string;
}

// What onnxruntime may make of constants ahead of time: a matrix as floats, and not gigabytes of a few bytes.
const LEAST_FOLDED = 2 ** 18;
const FOLDED_TO_FILES = 2;

export class OnnxRuntime implements Engine {
  /** Runs of its sessions one after the other: its heap knows no two at once. */
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly name: OrtProvider,
    readonly threads: number,
    private readonly ort: Ort,
  ) {}

  /** Rejects with ProviderError where it does not start. */
  static async start(name: OrtProvider, { threads, wasm_files = "" }: OrtOptions): Promise<OnnxRuntime> {
    try {
      const ort: Ort = name === "wasm" ? await import("onnxruntime-web/wasm") : await import("onnxruntime-web/webgpu");
      ort.env.logLevel = "fatal"; // errors come back as exceptions
      ort.env.wasm.numThreads = threads;
      if (wasm_files !== "") ort.env.wasm.wasmPaths = wasm_files.endsWith("/") ? wasm_files : `${wasm_files}/`;
      return new OnnxRuntime(name, threads, ort);
    } catch (error) {
      throw new ProviderError(`onnxruntime-web does not start (${brief(error)})`);
    }
  }

  heap(): number | null {
    return null; // it tells nobody
  }

  async session(graph: GraphSource): Promise<Session> {
    const externalData = [...graph.data].map(([path, data]) => ({ path, data }));
    try {
      const session = await this.ort.InferenceSession.create(graph.content, { ...this.options(graph), externalData });
      return new OrtSession(session, (run) => this.inTurn(run));
    } catch (error) {
      const { file } = graph.entry;
      if (isOfMemory(error)) {
        throw new ProviderError(`${file}: there is not enough memory for it here; take a smaller quantization`);
      }
      if (this.name === "wasm") throw new DamagedBundle(`onnxruntime cannot load ${file}: ${reason(error)}`);
      throw new ProviderError(`${file}: provider '${this.name}' cannot run it: ${reason(error)}`);
    }
  }

  value({ dtype, shape, data }: Tensor): Value {
    return new OrtValue(new this.ort.Tensor(dtype, data as Float32Array, shape));
  }

  close(): Promise<void> {
    return Promise.resolve(); // it goes with its worker
  }

  private inTurn<T>(run: () => Promise<T>): Promise<T> {
    const next = this.last.then(run, run);
    this.last = next.catch(() => undefined);
    return next;
  }

  private options({ entry, manifest }: GraphSource): InferenceSession.SessionOptions {
    const files = manifest.files.reduce((sum, file) => sum + file.bytes, 0);
    const folded = Math.max(LEAST_FOLDED, FOLDED_TO_FILES * files);
    const takesTokens = entry.runs !== "none";
    return {
      executionProviders: [this.name],
      graphOptimizationLevel: "all",
      logSeverityLevel: 4,
      // What onnxruntime remembers of a run's allocations speeds nothing up here, and costs memory for every length.
      enableMemPattern: false,
      enableCpuMemArena: takesTokens,
      extra: { optimization: { constant_folding_max_output_size_in_bytes: String(folded) } },
      ...(this.name === "webgpu" && { preferredOutputLocation: onGpu(manifest) }),
    };
  }
}

/** Outputs that stay on a GPU: states in float32, but for those that graphs take in parts, which the host cuts. */
function onGpu(manifest: Manifest): Record<string, "cpu" | "gpu-buffer"> {
  const cut = new Set([...manifest.graphs.values()].flatMap((graph) => [...graph.reads, ...graph.updates]));
  const places = manifest.states.map(({ input, output, dtype }) => {
    return [output, dtype === "float32" && !cut.has(input) ? "gpu-buffer" : "cpu"] as const;
  });
  return { logits: "cpu", ...Object.fromEntries(places) };
}

class OrtSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];

  constructor(
    private readonly session: InferenceSession,
    private readonly inTurn: <T>(run: () => Promise<T>) => Promise<T>,
  ) {
    this.inputs = infos(session.inputMetadata);
    this.outputs = infos(session.outputMetadata);
  }

  async run(inputs: Values, outputs: readonly string[]): Promise<Values> {
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, tensorOf(value)]));
    try {
      const found = await this.inTurn(() => this.session.run(feeds, outputs));
      return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, new OrtValue(value)]));
    } catch (error) {
      throw new RRWKVError(`onnxruntime failed: ${reason(error)}`);
    }
  }

  async release(): Promise<void> {
    await this.inTurn(() => this.session.release());
  }
}

function tensorOf(value: Value): OrtTensor {
  if (value instanceof OrtValue) return value.tensor;
  throw new Error("a value of another engine");
}

function infos(metadata: readonly InferenceSession.ValueMetadata[]): ValueInfo[] {
  return metadata.map((one) => {
    return one.isTensor
      ? { name: one.name, dtype: one.type, shape: one.shape }
      : { name: one.name, dtype: "", shape: [] };
  });
}

class OrtValue implements Value {
  readonly dtype: ElementType;
  readonly shape: readonly number[];

  constructor(readonly tensor: OrtTensor) {
    this.dtype = tensor.type as ElementType;
    this.shape = tensor.dims;
  }

  read(): Tensor | Promise<Tensor> {
    const { dtype, shape, tensor } = this;
    if (tensor.location === "cpu") return { dtype, shape, data: elementsOf(tensor.data) };
    return tensor.getData().then((data) => ({ dtype, shape, data: elementsOf(data) }));
  }

  release(): void {
    if (this.tensor.location !== "cpu") this.tensor.dispose();
  }
}

/** onnxruntime has float16 as an array of its own where the browser has one. */
function elementsOf(data: OrtTensor.DataType): Elements {
  if (data instanceof Float32Array || data instanceof BigInt64Array || data instanceof Int32Array) return data;
  const { buffer, byteOffset, length } = data as Uint16Array;
  return new Uint16Array(buffer, byteOffset, length);
}

function isOfMemory(error: unknown): boolean {
  return error instanceof RangeError || /bad_alloc|out of memory|memory access out of bounds/i.test(String(error));
}

/** What onnxruntime says, in one line without its error codes and places in its source. */
export function reason(error: unknown): string {
  const said = error instanceof Error ? error.message : String(error);
  const cut = said.replace(/^.*?ERROR_MESSAGE: "?/s, "").replace(/\/\S+\.(?:cc|h):\d+ .*? was false\. /, "");
  return brief(cut, 300);
}
