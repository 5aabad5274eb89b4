/**
 * The state of a conversation: what the graph carries from run to run, always tied to its bundle.
 *
 * File format, little-endian, the same on every runtime:
 *
 *     8 bytes   magic "RRWKVST1"
 *     4 bytes   length n of the header
 *     n bytes   JSON header {bundle_id, model_id, states: [{name, dtype, shape}], sha256 of the payload}
 *     payload   the states' raw values, one after the other in the header's order
 */

import type { StateSpec } from "./bundle/state_spec.js";
import { parseJson } from "./common/reading.js";
import { sha256Of } from "./common/sha256.js";
import { OtherBundle, StateError } from "./errors.js";
import { fitted, otherForm } from "./execution/state_values.js";
import { BYTES, type Elements, type ElementType, elements, type Tensor } from "./execution/tensor.js";
import type { Manifest } from "./manifest.js";

const MAGIC = "RRWKVST1";
const LARGEST_HEADER = 1 << 20;

/** Values by the names of the graph's inputs, in the order of the manifest's states. */
export type StateValues = ReadonlyMap<string, Tensor>;

/**
 * The values of all states after some tokens.
 *
 * A state belongs to one bundle (`bundle_id`); other bundles of one model, quantized or with the other form of wkv, share
 * its `model_id`, and with `allow_other_quantization` their states too.
 */
export class State {
  private constructor(
    readonly bundle_id: string,
    readonly model_id: string,
    readonly values: StateValues,
    private readonly counter: string,
  ) {}

  /** A state of the bundle with this manifest. */
  static of(manifest: Manifest, values: StateValues): State {
    return new State(manifest.bundle_id, manifest.model_id, values, manifest.position);
  }

  /** The state before the first token. */
  static initial(manifest: Manifest): State {
    return State.of(manifest, new Map(manifest.states.map((spec) => [spec.input, spec.initial()])));
  }

  /** Tokens seen so far. */
  get position(): number {
    return Number((this.values.get(this.counter)?.data as BigInt64Array | undefined)?.[0] ?? 0);
  }

  get nbytes(): number {
    return [...this.values.values()].reduce((sum, value) => sum + value.data.byteLength, 0);
  }

  copy(): State {
    const values = new Map([...this.values].map(([name, value]) => [name, { ...value, data: value.data.slice() }]));
    return new State(this.bundle_id, this.model_id, values, this.counter);
  }

  /** The state as a file. */
  async save(): Promise<ArrayBuffer> {
    const payload = joined([...this.values.values()].map((value) => bytesOf(value.data)));
    const header = new TextEncoder().encode(
      JSON.stringify({
        bundle_id: this.bundle_id,
        model_id: this.model_id,
        states: [...this.values].map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
        sha256: await sha256Of(payload),
      }),
    );
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, header.length, true);
    return joined([new TextEncoder().encode(MAGIC), length, header, payload]).buffer;
  }

  /**
   * Read a state of the bundle with this manifest; with `allow_other_quantization` of any of the same model.
   *
   * Rejects with StateError for a damaged file or a state of another bundle. name: what messages call the file.
   */
  static async load(
    file: ArrayBuffer,
    manifest: Manifest,
    allow_other_quantization = false,
    name = "the saved state",
  ): Promise<State> {
    const { header, payload } = readHeader(new Uint8Array(file), name);
    const bundle_id = String(header.bundle_id);
    const model_id = String(header.model_id);
    checkBelongs({ bundle_id, model_id }, manifest, allow_other_quantization);
    const specs = layout(name, header, manifest.states);
    await checkPayload(name, header, specs, payload);
    try {
      return State.of(manifest, fitted(unpack(payload, specs), manifest));
    } catch (error) {
      if (!(error instanceof StateError)) throw error;
      throw new StateError(`${name}: cannot go on from this state: ${error.message}`);
    }
  }

  /**
   * This state for the bundle with this manifest; its values are not copied where they fit as they are.
   *
   * Throws StateError for one of another bundle, and for values that no text leads to.
   */
  fitted(manifest: Manifest, allow_other_quantization = false): State {
    checkBelongs(this, manifest, allow_other_quantization);
    try {
      return State.of(manifest, fitted(this.values, manifest));
    } catch (error) {
      if (!(error instanceof StateError)) throw error;
      throw new StateError(`cannot go on from the given state: ${error.message}`);
    }
  }
}

interface Ids {
  readonly bundle_id: string;
  readonly model_id: string;
}

function checkBelongs(state: Ids, manifest: Ids, allow_other_quantization: boolean): void {
  if (state.bundle_id === manifest.bundle_id) return;
  const known = (id: string): string => id.slice(0, 12);
  if (state.model_id !== manifest.model_id) {
    throw new StateError(
      `the state belongs to another model (${known(state.model_id)}), not to this one (${known(manifest.model_id)})`,
    );
  }
  if (!allow_other_quantization) {
    throw new OtherBundle(
      `the state belongs to another bundle of this model (${known(state.bundle_id)}, this is ${known(manifest.bundle_id)})`,
    );
  }
}

/** Whatever a file says. */
interface Header {
  readonly bundle_id?: unknown;
  readonly model_id?: unknown;
  readonly states?: unknown;
  readonly sha256?: unknown;
}

function readHeader(file: Uint8Array, name: string): { header: Header; payload: Uint8Array } {
  if (file.length < 12 || new TextDecoder().decode(file.subarray(0, 8)) !== MAGIC) {
    throw new StateError(`${name}: not a saved state`);
  }
  const length = new DataView(file.buffer, file.byteOffset).getUint32(8, true);
  if (length > LARGEST_HEADER) throw new StateError(`${name}: damaged (its header claims ${length} bytes)`);
  const end = 12 + length;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(12, end));
    const header = parseJson(text);
    if (header === null || typeof header !== "object" || Array.isArray(header)) throw new Error("no object");
    return { header: header, payload: file.subarray(end) };
  } catch {
    throw new StateError(`${name}: damaged (its header is not readable)`);
  }
}

/** The layout of the file: the bundle's, or with the other form of wkv. */
function layout(name: string, header: Header, specs: readonly StateSpec[]): readonly StateSpec[] {
  const found = [specs, otherForm(specs)].find((candidate) => describes(header.states, candidate));
  if (found === undefined) throw new StateError(`${name}: its states are laid out differently from this bundle's`);
  return found;
}

function describes(states: unknown, specs: readonly StateSpec[]): boolean {
  if (!Array.isArray(states) || states.length !== specs.length) return false;
  return specs.every((spec, i) => {
    const { name, dtype, shape, ...others } = (states[i] ?? {}) as Record<string, unknown>;
    const same = name === spec.input && dtype === spec.dtype && Object.keys(others).length === 0;
    return same && JSON.stringify(shape) === JSON.stringify(spec.shape);
  });
}

async function checkPayload(
  name: string,
  header: Header,
  specs: readonly StateSpec[],
  payload: Uint8Array,
): Promise<void> {
  const size = specs.reduce((sum, spec) => sum + spec.nbytes, 0);
  if (payload.length !== size) {
    throw new StateError(`${name}: damaged (${payload.length} bytes of values instead of ${size})`);
  }
  if ((await sha256Of(payload)) !== header.sha256) {
    throw new StateError(`${name}: damaged (its values do not match their sha256)`);
  }
}

function unpack(payload: Uint8Array, specs: readonly StateSpec[]): StateValues {
  const values = new Map<string, Tensor>();
  let offset = 0;
  for (const { input, dtype, shape, nbytes } of specs) {
    const own = payload.slice(offset, offset + nbytes).buffer; // a copy, which begins where arrays of any type may
    values.set(input, { dtype, shape, data: over(own, dtype, elements(shape)) });
    offset += nbytes;
  }
  return values;
}

function over(buffer: ArrayBuffer, dtype: ElementType, count: number): Elements {
  if (count * BYTES[dtype] !== buffer.byteLength) throw new Error("a buffer of another size");
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer);
    case "float16":
      return new Uint16Array(buffer);
    case "int64":
      return new BigInt64Array(buffer);
    case "int32":
      return new Int32Array(buffer);
  }
}

function bytesOf(data: Elements): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
