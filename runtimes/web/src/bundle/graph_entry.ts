/** What a manifest says of one graph: its files, how many tokens it takes, and which states it takes and gives. */

import { DamagedBundle } from "../errors.js";
import { FixedShape, type FixedShapeFields } from "./fixed_shape.js";
import type { StateSpec } from "./state_spec.js";

export type Runs = "any" | "one" | "none" | "fixed";

/** A constant of a graph, by its name there: where in the data file it lies, in bytes, and what it is. */
export interface Weight {
  readonly name: string;
  readonly dtype: "float16" | "float32" | "int8" | "uint8";
  readonly shape: readonly number[];
  readonly offset: number;
}

/** A graph as the manifest has it. */
export interface GraphFields {
  readonly file: string;
  readonly data: readonly string[];
  readonly runs: Runs;
  readonly chunk: number;
  readonly dtype: string;
  readonly opset: number;
  readonly over?: string;
  readonly reads?: readonly string[];
  readonly updates?: readonly string[];
  readonly after_every?: number;
  readonly counts?: string;
  readonly variant?: string | null;
  readonly fixed_shape?: FixedShapeFields | null;
  readonly weights?: readonly Weight[];
}

/**
 * One ONNX graph. A runtime finds it by `runs` and `variant`; the name that it stands under is for people.
 *
 * - `file`, `data`  the graph, and the external weight files it reads, all named from the bundle's folder
 * - `runs`          how many tokens a run takes: "any" number, "one", "none" (it completes the states after some of those
 *                   that "one" took), or "fixed": as many as `fixed_shape` says
 * - `chunk`         most tokens worth giving to one run
 * - `dtype`         of the stored weight matrices
 * - `over`          how it was built to run over its tokens; nothing that a runtime needs
 * - `reads`         states that it only reads: through one input `name.i` for each of the first axis; whole where it
 *                   takes no tokens
 * - `updates`       of one that takes no tokens: the states that it takes and gives, whole
 * - `after_every`   of the same: it is run after a token by which a whole number comes to a multiple of this, or past it
 * - `counts`        of the same: the state that this number is; "" for the position
 * - `variant`       null for the graphs that run by default, else what they are loaded by
 * - `fixed_shape`   of a graph in fixed shapes
 * - `weights`       constants in the first of `data` that other graphs have too
 */
export class GraphEntry {
  readonly file: string;
  readonly data: readonly string[];
  readonly runs: Runs;
  readonly chunk: number;
  readonly dtype: string;
  readonly opset: number;
  readonly over: string;
  readonly reads: readonly string[];
  readonly updates: readonly string[];
  readonly after_every: number;
  readonly counts: string;
  readonly variant: string | null;
  readonly fixed_shape: FixedShape | null;
  readonly weights: readonly Weight[];

  constructor(fields: GraphFields) {
    this.file = fields.file;
    this.data = fields.data;
    this.runs = fields.runs;
    this.chunk = fields.chunk;
    this.dtype = fields.dtype;
    this.opset = fields.opset;
    this.over = fields.over ?? "";
    this.reads = fields.reads ?? [];
    this.updates = fields.updates ?? [];
    this.after_every = fields.after_every ?? 0;
    this.counts = fields.counts ?? "";
    this.variant = fields.variant ?? null;
    this.fixed_shape = fields.fixed_shape ? new FixedShape(fields.fixed_shape) : null;
    this.weights = fields.weights ?? [];
  }

  /** Throws DamagedBundle if what it says of these states cannot be. */
  check(name: string, states: ReadonlyMap<string, StateSpec>): void {
    const wrong = this.wrong(`graph '${name}'`, states);
    if (wrong !== null) throw new DamagedBundle(`manifest.json: ${wrong}`);
    this.fixed_shape?.check(name, states);
  }

  /** Whether the graph is to run after a token that moved what it counts so. */
  follows(before: bigint, after: bigint): boolean {
    const every = BigInt(this.after_every);
    return every > 0n && before / every < after / every;
  }

  /** Whether it takes the state of this name. */
  hasInput(state: string): boolean {
    return this.updates.length === 0 || this.updates.includes(state) || this.reads.includes(state);
  }

  /** Whether it takes it through one input for each of the first axis. */
  takesApart(state: string): boolean {
    return this.runs === "one" && this.reads.includes(state);
  }

  /** Whether it gives the state's new value. */
  hasOutput(state: string): boolean {
    return this.hasInput(state) && !this.reads.includes(state);
  }

  private wrong(graph: string, states: ReadonlyMap<string, StateSpec>): string | null {
    const unknown = [...this.reads, ...this.updates].filter((state) => !states.has(state)).sort();
    if (unknown[0] !== undefined) return `'${unknown[0]}' of ${graph} is no state`;
    const updates = this.updates.length > 0 && this.after_every > 0;
    if (this.runs === "none" && !updates) return `${graph} does not say which states it updates, and when`;
    if (this.runs !== "none" && (this.updates.length > 0 || this.after_every > 0 || this.counts !== "")) {
      return `${graph} takes tokens, and yet says when it updates states`;
    }
    if ((this.runs === "fixed") !== (this.fixed_shape !== null)) {
      return `${graph} runs '${this.runs}', which is not what fixed_shape says`;
    }
    const counted = states.get(this.counts);
    if (this.counts !== "" && (counted?.dtype !== "int64" || counted.shape.length > 0)) {
      return `'${this.counts}', which ${graph} counts, is no int64 of shape []`;
    }
    if (this.reads.length > 0 && this.runs !== "one" && this.runs !== "none")
      return `${graph} only reads states, but does not run one token`;
    if (this.weights.length > 0 && this.data.length === 0) return `${graph} has weights, but no file of them`;
    // By the name onnxruntime tells its own formats, which are not checked here.
    return this.file.endsWith(".onnx") ? null : `'${this.file}' of ${graph} is no .onnx file`;
  }
}
