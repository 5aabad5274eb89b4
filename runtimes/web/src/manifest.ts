/**
 * The manifest: the contract between the exporter and every runtime; `docs/bundle-format.md` has all of it.
 *
 * `Manifest.parse` refuses a manifest that breaks the schema, is of another format, or whose own content was changed.
 */

import { canonicalJson } from "./bundle/canonical.js";
import { type ChatFormat, chatFormat } from "./bundle/chat_format.js";
import { GraphEntry, type GraphFields, type Runs } from "./bundle/graph_entry.js";
import { violations } from "./bundle/schema.js";
import { type StateFields, StateSpec } from "./bundle/state_spec.js";
import { boundary, brief, readJson } from "./common/reading.js";
import { sha256Of } from "./common/sha256.js";
import { BundleError, DamagedBundle, NewerFormat, OlderFormat } from "./errors.js";
import { SCHEMA } from "./manifest.schema.js";

export const FORMAT_VERSION = 2;
export const MANIFEST_NAME = "manifest.json";
/** Roles of states. */
export const POSITION = "position";
export const WKV = "wkv";

const LARGEST_STATE = 2 ** 32;
// States of a bundle this small, or of so many times the bytes of its files, are nothing that a model is made for.
const SMALL_STATE = 2 ** 26;
const STATE_TO_FILES = 4;
const MOST_LOGITS = 2 ** 28; // of one run of a graph in fixed shapes
const DECIDING = [
  "format_version",
  "model_id",
  "config",
  "graphs",
  "states",
  "tokenizer",
  "chat",
  "quantization",
  "files",
] as const;

/** One file of the bundle; `name` is relative to it. */
export interface FileEntry {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** type: "tokenizer.json" (Hugging Face tokenizers) or "rwkv-world" (RWKV World vocabulary). */
export interface TokenizerEntry {
  readonly type: string;
  readonly file: string;
}

/** The model's sizes. */
export interface Config {
  readonly architecture: string;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_layers: number;
  readonly medium?: { readonly interval?: unknown } | null;
}

/** manifest.json, once the schema holds. */
interface Fields {
  readonly bundle_id: string;
  readonly model_id: string;
  readonly config: Config;
  readonly parameters: number;
  readonly graphs: Readonly<Record<string, GraphFields>>;
  readonly states: readonly StateFields[];
  readonly tokenizer: TokenizerEntry | null;
  readonly chat: Parameters<typeof chatFormat>[0];
  readonly quantization: { readonly scheme: string } | null;
  readonly provenance: object;
  readonly parity: object | null;
  readonly files: readonly FileEntry[];
}

/** Everything a runtime needs to know about a bundle; see `manifest.schema.json` of the Python runtime for each field. */
export class Manifest {
  private constructor(
    readonly bundle_id: string,
    readonly model_id: string,
    readonly config: Config,
    readonly parameters: number,
    readonly graphs: ReadonlyMap<string, GraphEntry>,
    readonly states: readonly StateSpec[],
    readonly tokenizer: TokenizerEntry | null,
    readonly chat: ChatFormat,
    readonly quantization: { readonly scheme: string } | null,
    readonly provenance: object,
    readonly parity: object | null,
    readonly files: readonly FileEntry[],
  ) {}

  /** Of the bytes of `manifest.json`. bundle: what messages call the bundle. Rejects with BundleError. */
  static async parse(data: Uint8Array, bundle = ""): Promise<Manifest> {
    const what = bundle === "" ? MANIFEST_NAME : `${bundle}: ${MANIFEST_NAME}`;
    const value = readJson(data, what, DamagedBundle);
    checkFormat(value);
    const [violation] = violations(value, SCHEMA);
    if (violation !== undefined) throw new DamagedBundle(`manifest.json: ${violation}`);
    const fields = value as Fields;
    if (fields.bundle_id !== (await computeBundleId(fields))) {
      throw new DamagedBundle("manifest.json: its content does not match its bundle id; export the bundle again");
    }
    return boundary(DamagedBundle, `${what}: not the manifest of a bundle`, () => Manifest.from(fields));
  }

  private static from(fields: Fields): Manifest {
    const states = fields.states.map((state) => new StateSpec(state));
    checkStates(
      states,
      fields.files.reduce((sum, file) => sum + file.bytes, 0),
    );
    const graphs = new Map(Object.entries(fields.graphs).map(([name, graph]) => [name, new GraphEntry(graph)]));
    checkGraphs(graphs, states, fields.config.vocab_size);
    checkInterval(fields.config);
    const { bundle_id, model_id, config, parameters, tokenizer, quantization, provenance, parity, files } = fields;
    const chat = chatFormat(fields.chat);
    return new Manifest(
      ...([bundle_id, model_id, config, parameters, graphs, states, tokenizer] as const),
      ...([chat, quantization, provenance, parity, files] as const),
    );
  }

  /** The same manifest with other members, which are not checked again. */
  changed(members: { readonly chat?: ChatFormat; readonly states?: readonly StateSpec[] }): Manifest {
    return Object.assign(Object.create(Manifest.prototype) as Manifest, this, members);
  }

  /** V: ids run from 0 to V - 1. */
  get vocab_size(): number {
    return this.config.vocab_size;
  }

  /** Tokens of a segment; null without mediums, and where the interval is adaptive. */
  get interval(): number | null {
    const interval = this.config.medium?.interval;
    return typeof interval === "number" ? interval : null;
  }

  /** The name of the one graph of these that does so; by default, of those that run by default. */
  graphThatRuns(runs: Runs, among: Iterable<string> = this.ofVariant(null)): string | null {
    for (const name of among) {
      if (this.graph(name).runs === runs) return name;
    }
    return null;
  }

  /** The graph of a name that is in the manifest. */
  graph(name: string): GraphEntry {
    const entry = this.graphs.get(name);
    if (entry === undefined) throw new Error(`there is no graph ${name}`);
    return entry;
  }

  /** The names of a variant's graphs; null for those that run by default. */
  ofVariant(variant: string | null): string[] {
    return [...this.graphs].flatMap(([name, graph]) => (graph.variant === variant ? [name] : []));
  }

  /** What other graphs can be loaded by. */
  get variants(): string[] {
    const named = [...this.graphs.values()].flatMap((graph) => graph.variant ?? []);
    return [...new Set(named)].sort();
  }

  /** The first state of a role; of most roles there is one, or none. */
  stateOf(role: string): StateSpec | null {
    return this.states.find((spec) => spec.role === role) ?? null;
  }

  /** The name of the state that counts the tokens seen. */
  get position(): string {
    return this.stateOf(POSITION)?.input ?? POSITION;
  }

  /** The listed file of a name. Throws DamagedBundle. */
  file(name: string): FileEntry {
    const entry = this.files.find((file) => file.name === name);
    if (entry === undefined) throw new DamagedBundle(`manifest.json: ${name} is used but not listed under files`);
    return entry;
  }
}

function checkStates(states: readonly StateSpec[], files: number): void {
  const size = states.reduce((sum, spec) => sum + spec.nbytes, 0);
  if (size > LARGEST_STATE) {
    throw new DamagedBundle(`manifest.json: states of ${size} bytes are larger than any model's`);
  }
  if (size > Math.max(SMALL_STATE, STATE_TO_FILES * files)) {
    throw new DamagedBundle(`manifest.json: states of ${size} bytes do not belong to a model of ${files} bytes`);
  }
  const positions = states.filter((spec) => spec.role === POSITION);
  if (positions.length !== 1 || positions[0]?.dtype !== "int64" || positions[0].shape.length > 0) {
    throw new DamagedBundle(`manifest.json: not one state has the role '${POSITION}', a single int64`);
  }
  for (const spec of states) spec.checkExponents();
}

function checkGraphs(graphs: ReadonlyMap<string, GraphEntry>, states: readonly StateSpec[], vocab_size: number): void {
  const byName = new Map(states.map((spec) => [spec.input, spec]));
  const found = new Map<string, GraphEntry[]>();
  for (const [name, graph] of graphs) {
    graph.check(name, byName);
    if (graph.fixed_shape && graph.fixed_shape.tokens * vocab_size > MOST_LOGITS) {
      throw new DamagedBundle(`manifest.json: graph '${name}' has more logits than any model`);
    }
    const kind = JSON.stringify([graph.variant, graph.runs]);
    found.set(kind, [...(found.get(kind) ?? []), graph]);
  }
  for (const alike of found.values()) checkAlike(alike, graphs);
  if (!found.has(JSON.stringify([null, "any"]))) {
    throw new DamagedBundle("manifest.json: no graph runs 'any' number of tokens");
  }
}

/** Graphs of one variant that run alike. */
function checkAlike(alike: readonly GraphEntry[], graphs: ReadonlyMap<string, GraphEntry>): void {
  const { variant = null, runs = "any" } = alike[0] ?? {};
  if (variant === null && alike.length > 1) {
    throw new DamagedBundle(`manifest.json: ${alike.length} graphs run '${runs}', and one is the most`);
  }
  if ((variant === null) === (runs === "fixed")) {
    const which = variant === null ? "by default" : `as '${variant}'`;
    throw new DamagedBundle(`manifest.json: no graph that runs ${which} may run '${runs}'`);
  }
  const ofOneToken = [...graphs.values()].some(
    (graph) => graph.variant === variant && graph.fixed_shape?.tokens === 1 && graph.fixed_shape.align === 1,
  );
  if (variant !== null && !ofOneToken) {
    throw new DamagedBundle(`manifest.json: variant '${variant}' lacks a graph in fixed shapes for one token`);
  }
}

function checkInterval(config: Config): void {
  const interval = config.medium ? config.medium.interval : 1;
  const { shortest, longest } = (interval ?? {}) as { shortest?: unknown; longest?: unknown };
  const tokens = typeof interval === "object" ? [shortest, longest] : [interval];
  if (!tokens.every((count) => Number.isInteger(count) && Number(count) >= 1)) {
    throw new DamagedBundle("manifest.json: config.medium.interval is no number of tokens");
  }
}

/** A manifest of another version may break today's schema in any way, so its version is looked at first. */
function checkFormat(value: unknown): void {
  const { format, format_version: version } = (value ?? {}) as { format?: unknown; format_version?: unknown };
  if (format !== "rrwkv-bundle") throw new BundleError("manifest.json: not the manifest of an rrwkv bundle");
  if (typeof version !== "number" || !Number.isInteger(version)) return;
  if (version > FORMAT_VERSION) {
    throw new NewerFormat(
      `manifest.json: bundle format ${version} is newer than this runtime's, ${FORMAT_VERSION}; upgrade it`,
    );
  }
  if (version > 0 && version < FORMAT_VERSION) {
    throw new OlderFormat(
      `manifest.json: bundle format ${version} is older than this runtime's, ${FORMAT_VERSION}; export its checkpoint again`,
    );
  }
}

/**
 * sha256 over the manifest's fields that decide what the bundle does, as RFC 8785 writes them; `files` brings every
 * file's own sha256 in. Rejects with DamagedBundle.
 */
export async function computeBundleId(fields: object): Promise<string> {
  const deciding = DECIDING.map((name) => [name, (fields as Record<string, unknown>)[name] ?? null] as const);
  try {
    return await sha256Of(canonicalJson(Object.fromEntries(deciding)));
  } catch (error) {
    throw new DamagedBundle(`manifest.json: it has no bundle id, for it holds ${brief(error)}`);
  }
}
