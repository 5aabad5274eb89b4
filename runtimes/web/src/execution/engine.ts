/**
 * The seam between decoders and what computes graphs: onnxruntime-web is one engine, others can stand beside it.
 *
 * An engine makes a session of each graph of a manifest. A session takes values by the names of the graph's inputs and
 * gives values by those of its outputs. What a run gave can be given to the next one as it is, of any session of the
 * same engine; where it lies meanwhile (a GPU, a heap of the engine's own) is the engine's business.
 */

import type { GraphEntry } from "../bundle/graph_entry.js";
import type { Room } from "../bundle/held.js";
import type { Manifest } from "../manifest.js";
import type { ElementType, Tensor } from "./tensor.js";

/** A value where an engine keeps it. */
export interface Value {
  readonly dtype: ElementType;
  readonly shape: readonly number[];
  /** The value on the host, not to be written to. It may be the engine's own memory: valid until the next run. */
  read(): Tensor | Promise<Tensor>;
  /** It is needed no longer. What is not released is lost to the engine until it is closed. */
  release(): void;
}

export type Values = Readonly<Record<string, Value>>;

/** One input or output of a graph; dimensions that vary are names. */
export interface ValueInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | string)[];
}

/** A graph to make a session of. */
export interface GraphSource {
  /** Its name in the manifest. */
  readonly name: string;
  readonly entry: GraphEntry;
  readonly manifest: Manifest;
  /** The ONNX file, checked by `check_graph`. */
  readonly content: Uint8Array;
  /** The files of weights that it refers to, by name, each held against its sha256; perhaps in the engine's `room`. */
  readonly data: ReadonlyMap<string, Uint8Array>;
}

/** A graph that is ready to run. */
export interface Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** The outputs of these names. Inputs are left as they are. One run at a time, of all sessions of an engine. */
  run(inputs: Values, outputs: readonly string[]): Promise<Values>;
  release(): Promise<void>;
}

/** What computes graphs. */
export interface Engine {
  /** `wasm`, `webgpu` …: the provider's name, as `Info` has it. */
  readonly name: string;
  readonly threads: number;
  /** The table of our kernels that computes; none in others' engines. */
  readonly kernels?: string;
  /** Whether one token at a time is run by the graph for any number of them too, and no others are to be opened. */
  readonly any_alone?: boolean;
  /** Where files of weights are put while a bundle is read; none where the engine makes copies. */
  readonly room?: Room;
  /** Bytes of its heap; null where it cannot be told. */
  heap(): number | null;
  /** Rejects with DamagedBundle or ProviderError. */
  session(graph: GraphSource): Promise<Session>;
  /** A value as a session takes it. The tensor must not be written to as long as the value lives. */
  value(tensor: Tensor): Value;
  /** Frees what is its own; its sessions are released before. */
  close(): Promise<void>;
}
