/**
 * Our own kernels as an engine: they compute graphs for any number of tokens that are one call (`call.ts`), of one token
 * too. States stay in the module's memory.
 */

import { brief } from "../../common/reading.js";
import { DamagedBundle, ProviderError } from "../../errors.js";
import type { Engine, GraphSource, Session, Value, ValueInfo, Values } from "../engine.js";
import { elements, type Tensor } from "../tensor.js";
import { callOf, type KernelCall, NoCall } from "./call.js";
import { Helping } from "./helping.js";
import { KernelModule, type Pointer } from "./module.js";
import { type Block, Blocks, Held, OnHost } from "./values.js";
import { Weights } from "./weights.js";

export class KernelsEngine implements Engine {
  readonly name = "wasm";
  readonly any_alone = true;
  readonly room: Weights;
  private readonly blocks: Blocks;

  private constructor(private readonly module: KernelModule) {
    this.room = new Weights(module);
    this.blocks = new Blocks(module);
  }

  /** Of a compiled module of kernels; see `KernelModule.of`. */
  static async of(module: WebAssembly.Module, threads = 1, folder = ""): Promise<KernelsEngine> {
    return new KernelsEngine(await KernelModule.of(module, threads, folder));
  }

  get threads(): number {
    return this.module.threads;
  }

  get kernels(): string {
    return this.module.kernels;
  }

  /** Whether products are added to sums in one rounding. */
  get fused(): boolean {
    return this.module.fused;
  }

  heap(): number {
    return this.module.heap;
  }

  session(graph: GraphSource): Promise<Session> {
    const { name, entry, content } = graph;
    if (entry.runs !== "any") throw new ProviderError(`the kernels take graphs of any number of tokens, not '${name}'`);
    let call: KernelCall;
    try {
      call = callOf(content);
    } catch (error) {
      if (error instanceof NoCall) throw new ProviderError(`the kernels do not take graph '${name}': ${error.message}`);
      throw new DamagedBundle(`${entry.file}: no ONNX graph (${brief(error)}); export the bundle again`);
    }
    return Promise.resolve(new KernelsSession(this.module, this.blocks, this.room, graph, call));
  }

  value(tensor: Tensor): Value {
    if (!(tensor.data instanceof Float32Array)) return new OnHost(tensor);
    const block = this.blocks.take(tensor.data.byteLength);
    this.module.floats(block.at, tensor.data.length).set(tensor.data);
    return new Held(tensor.shape, block, this.module);
  }

  close(): Promise<void> {
    this.module.close();
    return Promise.resolve(); // its memory goes with it
  }
}

/** The states' places in a run, by their roles; of what time-mix keeps, the second. */
const ROLES = ["shift", "", "medium_sum", "medium_weight", "medium_bank", "medium_key"];
const BANK = 4; // the first of the states that a token changes only where it ends a segment
const PLACES = ROLES.length;
const RUN_BYTES = 24 + 2 * 4 * PLACES + 4;

interface StatePlace {
  readonly input: string;
  readonly output: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

class KernelsSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  private readonly session: Pointer;
  private readonly states: readonly (StatePlace | null)[];
  private readonly position: { readonly input: string; readonly output: string };
  private readonly interval: number | null;
  private readonly V: number;
  private readonly record: Block;
  private readonly helping = new Helping();

  constructor(
    private readonly module: KernelModule,
    private readonly blocks: Blocks,
    weights: Weights,
    graph: GraphSource,
    call: KernelCall,
  ) {
    const { manifest } = graph;
    const bank = manifest.states.find((state) => state.role === ROLES[BANK]);
    this.session = module.session(call.operator, weights.described(graph, call), bank?.shape[1] ?? 0);
    this.V = module.vocabulary(this.session);
    this.interval = manifest.interval;
    this.record = blocks.take(RUN_BYTES);
    const position = manifest.states.find((state) => state.input === manifest.position);
    if (position === undefined) throw new Error("no state is the position");
    this.position = position;
    const rest = manifest.states.filter((state) => state !== position);
    this.states = ROLES.map((role, i) => {
      const shape = module.stateShape(this.session, i);
      const known = ROLES.includes(role === "" ? "-" : role)
        ? (each: string) => each === role
        : (each: string) => !ROLES.includes(each);
      const spec = rest.find((state) => known(state.role));
      const output = call.outputs[i + 1];
      if (shape === null || spec === undefined || output === undefined) return null;
      return { input: spec.input, output, shape, bytes: 4 * elements(shape) };
    });
    const states = this.states.filter((state) => state !== null);
    const floats = (name: string, shape: readonly (number | string)[]): ValueInfo => ({
      name,
      dtype: "float32",
      shape,
    });
    const whole = (name: string, shape: readonly (number | string)[]): ValueInfo => ({ name, dtype: "int64", shape });
    this.inputs = [
      whole("input_ids", ["T"]),
      whole("num_logits", [1]),
      whole(position.input, []),
      ...states.map(({ input, shape }) => floats(input, shape)),
    ];
    this.outputs = [
      floats(call.outputs[0] ?? "", ["N", this.V]),
      whole(position.output, []),
      ...states.map(({ output, shape }) => floats(output, shape)),
    ];
  }

  run(inputs: Values, outputs: readonly string[]): Promise<Values> {
    const ids = integers(inputs, "input_ids");
    const scored = Number(integers(inputs, "num_logits")[0] ?? 1n);
    const position = integers(inputs, this.position.input)[0] ?? 0n;
    const T = ids.length;
    if (T > this.module.mostTokens(this.session)) throw new ProviderError(`the kernels take no ${T} tokens at once`);
    const made = new Map<string, Value>();
    const give = (name: string, shape: readonly number[], block: Block): Block => {
      made.set(name, new Held(shape, block, this.module));
      return block;
    };
    const kept = T === 1 && (this.interval === null || (position + 1n) % BigInt(this.interval) !== 0n);
    const taken = this.blocks.take(4 * T);
    const before = this.states.map((state) => (state === null ? null : held(inputs, state)));
    const after = this.states.map((state, i) => {
      const same = kept && i >= BANK ? before[i]?.share() : undefined;
      return state && give(state.output, state.shape, same ?? this.blocks.take(state.bytes));
    });
    const logits = give(this.outputs[0]?.name ?? "", [scored, this.V], this.blocks.take(4 * scored * this.V));
    // `Run` of session.h.
    const record = this.module.view(this.record.at, RUN_BYTES);
    record.setUint32(0, taken.at, true);
    record.setUint32(4, T, true);
    record.setUint32(8, scored, true);
    record.setBigInt64(16, position, true);
    [...before, ...after].forEach((block, i) => {
      record.setUint32(24 + 4 * i, block?.at ?? 0, true);
    });
    record.setUint32(24 + 8 * PLACES, logits.at, true);
    new Int32Array(this.module.bytes(taken.at, 4 * T).buffer, taken.at, T).set(Array.from(ids, Number));
    if (T > 1 || this.module.threads === 1) this.module.run(this.session, this.record.at);
    else
      this.helping.token((helped) => {
        this.module.run(this.session, this.record.at, helped);
      });
    taken.release();
    made.set(
      this.position.output,
      new OnHost({ dtype: "int64", shape: [], data: BigInt64Array.of(position + BigInt(T)) }),
    );
    return Promise.resolve(this.chosen(made, outputs));
  }

  release(): Promise<void> {
    this.module.releaseSession(this.session);
    this.record.release();
    return Promise.resolve();
  }

  /** Those of these names; the others are released. */
  private chosen(made: ReadonlyMap<string, Value>, names: readonly string[]): Values {
    const values: Record<string, Value> = {};
    for (const [name, value] of made) {
      if (names.includes(name)) values[name] = value;
      else value.release();
    }
    return values;
  }
}

function integers(inputs: Values, name: string): BigInt64Array {
  const value = inputs[name];
  const data = value instanceof OnHost ? value.read().data : null;
  if (!(data instanceof BigInt64Array)) throw new ProviderError(`input '${name}' is not given, or not as int64`);
  return data;
}

function held(inputs: Values, { input, shape }: StatePlace): Block {
  const value = inputs[input];
  if (!(value instanceof Held) || value.shape.join() !== shape.join()) {
    throw new ProviderError(`input '${input}' is not given, or not as float32 [${shape.join(", ")}]`);
  }
  return value.block;
}
