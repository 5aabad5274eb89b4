/** What a manifest says of one recurrent state: its place in the graphs, its shape, and how it begins. */

import { fromHalf, toHalf } from "../common/half.js";
import { BundleError } from "../errors.js";
import { BYTES, type Elements, elements, type Tensor } from "../execution/tensor.js";
import { broadcast, type Nested } from "./nested.js";

const LARGEST_EXPONENT = 32;

export type StateType = "float32" | "float16" | "int64";

/** A state as the manifest has it. */
export interface StateFields {
  readonly input: string;
  readonly output: string;
  readonly role: string;
  readonly shape: readonly number[];
  readonly dtype: StateType;
  readonly init: Nested;
  readonly form?: string | null;
  readonly exponents?: Nested;
}

/**
 * One recurrent state.
 *
 * - `input`, `output`  its names in the graphs
 * - `role`             what it is to the model: "position" (tokens seen, which a runtime reads), "shift", "wkv" …; by it
 *                      a runtime tells what a value may hold, and knows no name
 * - `shape`, `dtype`   of its value
 * - `init`             its value before the first token: a number, or nested lists that broadcast to the shape
 * - `form`             of a role that can be written in several ways: which this is; see `execution/state_values`
 * - `exponents`        the graphs carry the model's value / 2^exponents, in which quantization found it rounds less
 */
export class StateSpec {
  readonly input: string;
  readonly output: string;
  readonly role: string;
  readonly shape: readonly number[];
  readonly dtype: StateType;
  readonly init: Nested;
  readonly form: string | null;
  readonly exponents: Nested;

  /** Throws BundleError. */
  constructor(fields: StateFields) {
    const { form = null, exponents = 0 } = fields;
    this.input = fields.input;
    this.output = fields.output;
    this.role = fields.role;
    this.shape = fields.shape;
    this.dtype = fields.dtype;
    this.init = fields.init;
    this.form = form;
    this.exponents = exponents;
    if (exponents !== 0 && this.dtype === "int64") {
      throw new BundleError(`the manifest has exponents for state '${this.input}', which is ${this.dtype}`);
    }
  }

  get nbytes(): number {
    return BYTES[this.dtype] * elements(this.shape);
  }

  /** Name and shape of the graph's input; apart: of one input for each of the first axis. */
  inputs(apart: boolean): { name: string; shape: readonly number[] }[] {
    const [first, ...rest] = this.shape;
    if (!apart || first === undefined) return [{ name: this.input, shape: this.shape }];
    return Array.from({ length: first }, (_, i) => ({ name: `${this.input}.${i}`, shape: rest }));
  }

  /** The model's value as the graph carries it. */
  carried(value: Tensor): Tensor {
    return this.scaled(value, -1);
  }

  /** The model's value from what the graph carries. */
  restored(value: Tensor): Tensor {
    return this.scaled(value, 1);
  }

  /** A new tensor with the state's value before the first token. Throws BundleError. */
  initial(): Tensor {
    const value = this.spread(this.init, "initial value");
    if (!value.every(Number.isFinite)) throw new BundleError(this.says("initial value", "is not finite"));
    return { dtype: this.dtype, shape: this.shape, data: typed(value, this.dtype) };
  }

  /** Throws BundleError if the exponents are none. */
  checkExponents(): void {
    if (this.exponents === 0) return;
    if (!this.spread(this.exponents, "exponents").every((e) => Math.abs(e) <= LARGEST_EXPONENT)) {
      throw new BundleError(this.says("exponents", "are out of range"));
    }
  }

  private scaled(value: Tensor, sign: 1 | -1): Tensor {
    if (this.exponents === 0) return value;
    const scale = this.spread(this.exponents, "exponents");
    const numbers = numbersOf(value).map((number, i) => number * 2 ** (sign * (scale[i] ?? 0)));
    return { ...value, data: typed(numbers, this.dtype) };
  }

  private spread(value: Nested, what: string): Float64Array {
    try {
      return broadcast(value, this.shape);
    } catch {
      throw new BundleError(this.says(what, "does not fit its shape"));
    }
  }

  private says(what: string, how: string): string {
    return `the manifest's ${what} of state '${this.input}' ${how}`;
  }
}

/** The numbers of a tensor. */
export function numbersOf(tensor: Tensor): Float64Array {
  if (tensor.dtype === "float16") return Float64Array.from(tensor.data as Uint16Array, fromHalf);
  return Float64Array.from(tensor.data as Float32Array | BigInt64Array, Number);
}

/** Numbers as an array of a type; of int64 they are whole. */
function typed(numbers: Float64Array, dtype: StateType): Elements {
  if (dtype === "float32") return Float32Array.from(numbers);
  if (dtype === "float16") return Uint16Array.from(numbers, toHalf);
  return BigInt64Array.from(Array.from(numbers, (number) => BigInt(Math.trunc(number))));
}
