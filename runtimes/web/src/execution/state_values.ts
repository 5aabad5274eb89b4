/**
 * What a state may hold, and one of its values in another form: wkv as sums, or relative to their largest exponent.
 *
 *     plain   [L, 2, C]   A, B
 *     stable  [L, 3, C]   aa, bb, pp with A = aa exp(pp), B = bb exp(pp)
 *
 * Both are in the model's own units; which one a bundle's graphs carry is a choice of its export.
 */

import { numbersOf, StateSpec } from "../bundle/state_spec.js";
import { StateError } from "../errors.js";
import { type Manifest, WKV } from "../manifest.js";
import type { StateValues } from "../state.js";
import type { Tensor } from "./tensor.js";

const ROWS: Readonly<Record<string, number>> = { plain: 2, stable: 3 };
const OTHER: Readonly<Record<string, string>> = { plain: "stable", stable: "plain" };
const SUM = "medium_sum"; // the role of a sum, and of the weights that it is divided by
const WEIGHT = "medium_weight";
const INFORMATION = "medium_information"; // the role of I of an adaptive interval, and of the last token
const TOKEN = "medium_token";
const UNIT = 1n << 16n; // of I: what a segment's tokens come to, and the most that one can tell
const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127;
// A step squares what it makes of a value (ffn.key), and more than this squared is more than float32 holds. Real ones,
// outputs of LayerNorms and means of them, are far below.
const LARGEST = Math.sqrt(FLOAT32_MAX);
const TINY = 2 ** -126;
const LAST_POSITION = 2n ** 62n; // far from where int64 would overflow with any number of tokens to come

/** The same states with wkv in the form that these do not have. */
export function otherForm(specs: readonly StateSpec[]): StateSpec[] {
  return specs.map((spec) => (converts(spec) ? inOtherForm(spec) : spec));
}

/** Whether it is a wkv in one of the two forms; other models' are in one that has no other. */
function converts(spec: StateSpec): boolean {
  return spec.role === WKV && spec.shape.length === 3 && spec.shape[1] === ROWS[spec.form ?? ""];
}

function inOtherForm(spec: StateSpec): StateSpec {
  const form = OTHER[spec.form ?? ""] ?? "";
  const [layers = 0, , channels = 0] = spec.shape;
  const { input, output, role, dtype } = spec;
  return new StateSpec({
    input,
    output,
    role,
    dtype,
    form,
    shape: [layers, ROWS[form] ?? 0, channels],
    init: 0,
    exponents: 0,
  });
}

/** The values in the form that the bundle carries, checked. Throws StateError. */
export function fitted(values: StateValues, manifest: Manifest): StateValues {
  const found = new Map<string, Tensor>();
  if (values.size !== manifest.states.length || !manifest.states.every((spec) => values.has(spec.input))) {
    throw new StateError("its states are not this bundle's");
  }
  for (const spec of manifest.states) {
    let value = values.get(spec.input);
    if (value && converts(spec) && same(value.shape, inOtherForm(spec).shape)) value = converted(value, spec);
    if (value?.dtype !== spec.dtype || !same(value.shape, spec.shape)) {
      const described = `${value?.dtype ?? "?"} [${value?.shape.join(", ") ?? "?"}], not ${spec.dtype} [${spec.shape.join(", ")}]`;
      throw new StateError(`its states are laid out differently from this bundle's (${spec.input} is ${described})`);
    }
    found.set(spec.input, value);
  }
  check(found, manifest);
  return found;
}

function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** wkv in the form of the spec, given in the other one. */
function converted(wkv: Tensor, spec: StateSpec): Tensor {
  const [layers = 0, rows = 0, channels = 0] = spec.shape;
  const given = wkv.data as Float32Array;
  const data = spec.initial().data as Float32Array;
  const from = wkv.shape[1] ?? 0;
  for (let layer = 0; layer < layers; layer++) {
    for (let channel = 0; channel < channels; channel++) {
      const at = (row: number): number => given[(layer * from + row) * channels + channel] ?? 0;
      const put = (row: number, value: number): void => {
        data[(layer * rows + row) * channels + channel] = value;
      };
      if (spec.form === "plain") {
        for (const row of [0, 1]) put(row, sum(at(row), at(2)));
      } else if (at(1) !== 0) {
        // Where nothing has been summed yet an exponent of 0 would hide keys far below it, so `init` stays.
        [at(0), at(1), 0].forEach((value, row) => {
          put(row, value);
        });
      }
    }
  }
  return { dtype: "float32", shape: spec.shape, data };
}

/** A of aa, pp. Throws StateError where float32 does not hold it. */
function sum(aa: number, pp: number): number {
  if (aa === 0) return 0; // whatever the exponent is
  const found = aa * Math.exp(pp);
  if (Math.abs(found) <= FLOAT32_MAX) return found;
  const reached = Math.round(Math.log(Math.abs(aa)) + pp);
  throw new StateError(
    `its sums reach e^${reached}, and float32, in which the plain form of wkv carries them, ` +
      `holds e^${Math.round(Math.log(FLOAT32_MAX))}; go on with a bundle exported with --wkv stable`,
  );
}

/** Throws StateError for values that no text leads to, and that would make every further token's NaN or nonsense. */
function check(values: StateValues, manifest: Manifest): void {
  const numbers = new Map([...values].map(([name, value]) => [name, numbersOf(value)]));
  for (const [name, all] of numbers) {
    if (!all.every(Number.isFinite)) throw new StateError(`it is damaged (${name} holds NaN or infinity)`);
  }
  const position = (values.get(manifest.position)?.data as BigInt64Array)[0] ?? 0n;
  if (position < 0n || position > LAST_POSITION) {
    throw new StateError(`it is damaged (a position of ${position.toString()} is out of range)`);
  }
  const weightSpec = manifest.stateOf(WEIGHT);
  const weights = (weightSpec && numbers.get(weightSpec.input)) ?? null;
  const counted = wholeOf(values, manifest, INFORMATION);
  if (counted !== null) checkCounted(position, counted, wholeOf(values, manifest, TOKEN) ?? -1n, manifest);
  if (weights !== null && counted !== null) {
    checkSegment(weights, `${Number(counted % UNIT) / Number(UNIT)} of the way`, counted % UNIT > 0n);
  } else if (weights !== null && manifest.interval !== null) {
    const into = position % BigInt(manifest.interval);
    checkSegment(weights, `${into} tokens`, into > 0n);
  }
  for (const spec of manifest.states) checkSize(spec, numbers.get(spec.input) ?? new Float64Array(), weights);
}

/** Throws StateError for a value that a step would overflow on; of a sum and its weights, for their mean. */
function checkSize(spec: StateSpec, value: Float64Array, mediumWeights: Float64Array | null): void {
  if (spec.dtype === "int64" || spec.role === WEIGHT) return;
  let weightOf: ((i: number) => number) | null = null;
  let counts: (i: number) => boolean = () => true;
  if (converts(spec)) {
    const [, rows = 0, channels = 0] = spec.shape;
    const row = (i: number): number => Math.floor(i / channels) % rows;
    if (value.some((number, i) => row(i) === 1 && number < 0)) {
      throw new StateError(`it is damaged (${spec.input} holds a negative sum of weights)`);
    }
    weightOf = (i) => value[i + channels] ?? 0;
    counts = (i) => row(i) === 0; // the exponent of the stable form may be of any size
  } else if (spec.role === SUM && mediumWeights !== null) {
    const { length } = value; // each weight is of as many values of the last axis
    weightOf = (i) => mediumWeights[Math.floor((i * mediumWeights.length) / length)] ?? 0;
  }
  const largest = value.reduce((most, number, i) => {
    const least = weightOf === null ? 1 : Math.max(weightOf(i), TINY);
    return counts(i) ? Math.max(most, Math.abs(number) / least) : most;
  }, 0);
  if (largest > LARGEST) {
    const mean = weightOf === null ? "" : "a mean of ";
    throw new StateError(
      `it is damaged (${spec.input} holds ${mean}${largest.toExponential(0)}, on which a step overflows)`,
    );
  }
}

/** The value of the state of this role; null where there is none. */
function wholeOf(values: StateValues, manifest: Manifest, role: string): bigint | null {
  const spec = manifest.stateOf(role);
  return spec ? ((values.get(spec.input)?.data as BigInt64Array)[0] ?? null) : null;
}

/** Of an adaptive interval: what so many tokens can have told, and the last of them. */
function checkCounted(position: bigint, counted: bigint, token: bigint, manifest: Manifest): void {
  if (counted < position || counted > position * UNIT) {
    throw new StateError(`it is damaged (${position} tokens do not tell ${counted} / ${UNIT})`);
  }
  const least = position > 0n ? 0n : -1n;
  if (token < least || token >= (position > 0n ? BigInt(manifest.vocab_size) : 0n)) {
    throw new StateError(`it is damaged (${TOKEN} is ${token}, after ${position} tokens)`);
  }
}

/** into: how far, in words. begun: whether it has tokens. */
function checkSegment(weight: Float64Array, into: string, begun: boolean): void {
  if (weight.some((each) => each < 0) || (begun && weight.some((each) => each === 0))) {
    const least = weight.reduce((a, b) => Math.min(a, b), Infinity);
    throw new StateError(
      `it is damaged (medium_weight is ${least}, ${into} into a segment, where it is a sum of positive weights)`,
    );
  }
}
