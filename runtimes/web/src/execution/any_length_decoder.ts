/**
 * Running graphs that take any number of tokens, with the state carried along: what a run gave goes into the next as it
 * is, wherever the engine keeps it.
 *
 * Until a run is done, the state before it stays whole.
 */

import { checkIds, checkRun } from "../common/checks.js";
import type { GraphEntry } from "../bundle/graph_entry.js";
import type { StateSpec } from "../bundle/state_spec.js";
import type { Manifest } from "../manifest.js";
import { State } from "../state.js";
import { type Decoder, type Progress, type RunOptions, tell } from "./decoder.js";
import type { Engine, Session, Value } from "./engine.js";
import { elements, type Tensor } from "./tensor.js";

/** A loaded graph. */
interface Loaded {
  readonly entry: GraphEntry;
  readonly session: Session;
}

/**
 * A `Decoder` over a graph for any number of tokens, one for a single token and one that completes its states.
 *
 * Without the second the first runs single tokens too; the third is there only with the second.
 */
export class AnyLengthDecoder implements Decoder {
  /** Tokens seen so far; counted here, so that nothing has to be read from an engine's memory for it. */
  position: number;
  private readonly main: Loaded;
  private readonly one: Loaded | null;
  private readonly end: Loaded | null;
  private readonly specs: readonly StateSpec[];
  private current: Map<string, Value>;
  /** Of states that decoding only reads: a value for each of the first axis. */
  private readonly parts = new Map<string, readonly Value[]>();

  constructor(
    sessions: ReadonlyMap<string, Session>,
    private readonly manifest: Manifest,
    private readonly engine: Engine,
    state: State,
  ) {
    const loaded = (runs: "any" | "one" | "none"): Loaded | null => {
      const name = manifest.graphThatRuns(runs, sessions.keys());
      const session = name === null ? undefined : sessions.get(name);
      return name === null || session === undefined ? null : { entry: manifest.graph(name), session };
    };
    const main = loaded("any");
    if (main === null) throw new Error("no graph takes any number of tokens");
    this.main = main;
    this.one = loaded("one");
    this.end = this.one && loaded("none");
    this.specs = manifest.states;
    this.position = state.position;
    this.current = new Map(
      this.specs.map((spec) => {
        const value = state.values.get(spec.input) ?? spec.initial();
        return [spec.input, engine.value(spec.carried(value))];
      }),
    );
  }

  async state(): Promise<State> {
    const values = new Map<string, Tensor>();
    for (const spec of this.specs) {
      const carried = await this.value(spec.input).read();
      const restored = spec.restored(carried);
      values.set(spec.input, { ...restored, data: restored.data.slice() });
    }
    return State.of(this.manifest, values);
  }

  async step(id: number): Promise<Float32Array> {
    checkIds([id], this.manifest.vocab_size);
    if (this.one === null) return this.runChunk([id], 1);
    const { entry, session } = this.one;
    const [logits, given] = await this.runTokens(this.one, session, [id], {});
    const next = new Map(this.current);
    for (const spec of this.specs) if (entry.hasOutput(spec.input)) next.set(spec.input, given(spec.output));
    if (this.end !== null && (await this.ends(this.end.entry, next))) await this.complete(this.end, next);
    this.advance(next, 1);
    return logits;
  }

  prefill(ids: readonly number[], progress?: Progress): Promise<Float32Array> {
    return this.run(ids, progress === undefined ? {} : { progress });
  }

  async run(ids: readonly number[], options: RunOptions = {}): Promise<Float32Array> {
    const { num_logits = 1, chunk, progress } = options;
    const V = this.manifest.vocab_size;
    const tokens = checkRun(ids, num_logits, chunk, V);
    const T = tokens.length;
    const size = chunk ?? this.main.entry.chunk;
    const logits = new Float32Array(num_logits * V);
    for (let start = 0; start < T; start += size) {
      const piece = tokens.slice(start, start + size);
      const done = start + piece.length;
      const first = Math.max(0, num_logits - (T - start)); // the row of `logits` for the first token that counts
      const wanted = num_logits - (T - done) - first;
      const rows = await this.runChunk(piece, Math.max(1, wanted));
      if (wanted > 0) logits.set(rows, first * V);
      await tell(progress, done, T);
    }
    return logits;
  }

  close(): void {
    for (const value of [...this.current.values(), ...[...this.parts.values()].flat()]) value.release();
    this.current.clear();
    this.parts.clear();
  }

  /** Logits [rows, V] of the last tokens of one run. */
  private async runChunk(tokens: readonly number[], rows: number): Promise<Float32Array> {
    const num_logits = this.engine.value({ dtype: "int64", shape: [1], data: BigInt64Array.of(BigInt(rows)) });
    const [logits, given] = await this.runTokens(this.main, this.main.session, tokens, { num_logits });
    num_logits.release();
    this.advance(new Map(this.specs.map((spec) => [spec.input, given(spec.output)])), tokens.length);
    return logits;
  }

  private async runTokens(
    { entry }: Loaded,
    session: Session,
    tokens: readonly number[],
    more: Readonly<Record<string, Value>>,
  ): Promise<[logits: Float32Array, given: (output: string) => Value]> {
    const data = BigInt64Array.from(tokens, BigInt);
    const input_ids = this.engine.value({ dtype: "int64", shape: [tokens.length], data });
    const outputs = this.specs.flatMap((spec) => (entry.hasOutput(spec.input) ? [spec.output] : []));
    const states = await this.states(entry);
    const found = await session.run({ ...more, input_ids, ...states }, ["logits", ...outputs]);
    input_ids.release();
    const given = (output: string): Value => of(found, output);
    const logits = (await given("logits").read()).data as Float32Array;
    given("logits").release();
    return [logits, given];
  }

  /** The states as a graph takes them. */
  private async states(entry: GraphEntry): Promise<Record<string, Value>> {
    const inputs: Record<string, Value> = {};
    for (const spec of this.specs) {
      if (!entry.hasInput(spec.input)) continue;
      if (!entry.takesApart(spec.input)) inputs[spec.input] = this.value(spec.input);
      else for (const [i, part] of (await this.apart(spec)).entries()) inputs[`${spec.input}.${i}`] = part;
    }
    return inputs;
  }

  /** A value for each of the first axis of a state; made anew only where it has changed. */
  private async apart(spec: StateSpec): Promise<readonly Value[]> {
    const known = this.parts.get(spec.input);
    if (known !== undefined) return known;
    const whole = await this.value(spec.input).read();
    const [first = 1, ...shape] = spec.shape;
    const size = elements(shape);
    const made = Array.from({ length: first }, (_, i) => {
      const data = whole.data.slice(i * size, (i + 1) * size);
      return this.engine.value({ dtype: spec.dtype, shape, data });
    });
    this.parts.set(spec.input, made);
    return made;
  }

  /** Whether a graph is to run after a token between the states now and the next ones. */
  private async ends(entry: GraphEntry, next: ReadonlyMap<string, Value>): Promise<boolean> {
    if (entry.counts === "") return entry.follows(BigInt(this.position), BigInt(this.position + 1));
    const [before, after] = await Promise.all([this.current, next].map((states) => whole(of(states, entry.counts))));
    return entry.follows(before ?? 0n, after ?? 0n);
  }

  /** Run the graph of a segment's end over the states that decoding gave, and those that it only read. */
  private async complete({ entry, session }: Loaded, next: Map<string, Value>): Promise<void> {
    const taken = this.specs.filter((spec) => entry.hasInput(spec.input));
    const inputs = Object.fromEntries(taken.map((spec) => [spec.input, of(next, spec.input)]));
    const given = taken.filter((spec) => entry.hasOutput(spec.input));
    const outputs = await session.run(
      inputs,
      given.map((spec) => spec.output),
    );
    for (const spec of given) {
      const before = next.get(spec.input);
      if (before !== this.current.get(spec.input)) before?.release();
      next.set(spec.input, of(outputs, spec.output));
    }
  }

  /** Let these be the states, after so many tokens more. */
  private advance(next: Map<string, Value>, tokens: number): void {
    for (const [name, value] of this.current) {
      if (next.get(name) === value) continue;
      value.release();
      this.parts.get(name)?.forEach((part) => {
        part.release();
      });
      this.parts.delete(name);
    }
    this.current = next;
    this.position += tokens;
  }

  private value(state: string): Value {
    return of(this.current, state);
  }
}

/** A whole number. */
async function whole(value: Value): Promise<bigint> {
  return ((await value.read()).data as BigInt64Array)[0] ?? 0n;
}

function of<T>(values: ReadonlyMap<string, T> | Readonly<Record<string, T>> | readonly T[], name: string | number): T {
  const found =
    values instanceof Map ? (values as ReadonlyMap<unknown, T>).get(name) : (values as Record<string, T>)[name];
  if (found === undefined) throw new Error(`a graph gave no '${name}'`);
  return found;
}
