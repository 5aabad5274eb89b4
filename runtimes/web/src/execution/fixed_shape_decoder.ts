/**
 * Running graphs in fixed shapes: whole segments where the place in the text allows it, single tokens elsewhere.
 *
 * What the graphs take besides tokens is written in the manifest: parts of states, and a few values that follow from the
 * position. The states are on the host.
 */

import type { FixedShape } from "../bundle/fixed_shape.js";
import { checkIds, checkRun } from "../common/checks.js";
import type { Manifest } from "../manifest.js";
import { State } from "../state.js";
import { type Decoder, type Progress, type RunOptions, tell } from "./decoder.js";
import type { Engine, Session, Value } from "./engine.js";
import { elements, type Tensor } from "./tensor.js";

interface Loaded {
  readonly shape: FixedShape;
  readonly session: Session;
}

/** A `Decoder` over graphs in fixed shapes, one of them for a single token. */
export class FixedShapeDecoder implements Decoder {
  private readonly graphs: readonly Loaded[]; // of the most tokens first
  private current: ReadonlyMap<string, Tensor>;

  constructor(
    sessions: ReadonlyMap<string, Session>,
    private readonly manifest: Manifest,
    private readonly engine: Engine,
    state: State,
  ) {
    const graphs = [...sessions].flatMap(([name, session]) => {
      const shape = manifest.graph(name).fixed_shape;
      return shape === null ? [] : [{ shape, session }];
    });
    this.graphs = graphs.sort((a, b) => b.shape.tokens - a.shape.tokens);
    const values = manifest.states.map((spec) => {
      const carried = spec.carried(state.values.get(spec.input) ?? spec.initial());
      return [spec.input, { ...carried, data: carried.data.slice() }] as const;
    });
    this.current = new Map(values);
  }

  get position(): number {
    return Number((this.current.get(this.manifest.position)?.data as BigInt64Array)[0] ?? 0n);
  }

  state(): Promise<State> {
    const values = this.manifest.states.map((spec) => {
      const restored = spec.restored(this.current.get(spec.input) ?? spec.initial());
      return [spec.input, { ...restored, data: restored.data.slice() }] as const;
    });
    return Promise.resolve(State.of(this.manifest, new Map(values)));
  }

  async step(id: number): Promise<Float32Array> {
    return this.forward(this.widest(1), checkIds([id], this.manifest.vocab_size));
  }

  prefill(ids: readonly number[], progress?: Progress): Promise<Float32Array> {
    return this.run(ids, progress === undefined ? {} : { progress });
  }

  async run(ids: readonly number[], options: RunOptions = {}): Promise<Float32Array> {
    const { num_logits = 1, chunk, progress } = options;
    const V = this.manifest.vocab_size;
    const tokens = checkRun(ids, num_logits, chunk, V);
    const T = tokens.length;
    const logits = new Float32Array(num_logits * V);
    for (let done = 0; done < T;) {
      const graph = this.widest(Math.min(chunk ?? T, T - done));
      const size = graph.shape.tokens;
      const rows = await this.forward(graph, tokens.slice(done, done + size));
      done += size;
      const end = num_logits - (T - done); // the row of `logits` after the last one that this run gave
      const wanted = Math.min(end, size);
      if (wanted > 0) logits.set(rows.subarray((size - wanted) * V), (end - wanted) * V);
      await tell(progress, done, T);
    }
    return logits;
  }

  close(): void {
    this.current = new Map();
  }

  /** The graph of the most tokens that may run here; there is one for a single token. */
  private widest(most: number): Loaded {
    const { position } = this;
    const found = this.graphs.find(({ shape }) => shape.tokens <= most && position % shape.align === 0);
    if (found === undefined) throw new Error("no graph takes a single token");
    return found;
  }

  /** Logits [tokens, V] of a run. */
  private async forward({ shape, session }: Loaded, tokens: readonly number[]): Promise<Float32Array> {
    const ids: Tensor = { dtype: "int32", shape: [1, shape.tokens], data: Int32Array.from(tokens) };
    const inputs: Record<string, Value> = { input_ids: this.engine.value(ids) };
    for (const one of shape.derived) inputs[one.input] = this.engine.value(one.at(this.position));
    for (const part of shape.parts) {
      const data = this.floats(part.state).slice(part.offset, part.offset + elements(part.shape));
      inputs[part.input] = this.engine.value({ dtype: "float32", shape: part.shape, data });
    }
    const outputs = await session.run(inputs, ["logits", ...shape.parts.map((part) => part.output)]);
    const next = new Map([...this.current].map(([name, value]) => [name, { ...value, data: value.data.slice() }]));
    for (const part of shape.parts) {
      const value = await outputs[part.output]?.read();
      (next.get(part.state)?.data as Float32Array).set(value?.data as Float32Array, part.offset);
    }
    const counter = next.get(this.manifest.position)?.data as BigInt64Array;
    counter[0] = (counter[0] ?? 0n) + BigInt(shape.tokens);
    const logits = (await outputs.logits?.read())?.data.slice() as Float32Array;
    for (const value of [...Object.values(inputs), ...Object.values(outputs)]) value.release();
    this.current = next;
    return logits;
  }

  private floats(state: string): Float32Array {
    return this.current.get(state)?.data as Float32Array;
  }
}
