/** What a manifest says of a graph in fixed shapes: the parts of states it takes, and what follows from a position. */

import { DamagedBundle } from "../errors.js";
import { elements, type Tensor } from "../execution/tensor.js";
import { broadcast, type Nested } from "./nested.js";
import type { StateSpec } from "./state_spec.js";

const LARGEST_DERIVED = 2 ** 20; // elements; real ones are as many as a model has slots for mediums

/** A float32 input and output of a graph in fixed shapes: elements of a state from `offset` on, in its own shape. */
export interface StatePart {
  readonly input: string;
  readonly output: string;
  readonly state: string;
  readonly offset: number;
  readonly shape: readonly number[];
}

interface DerivedFields {
  readonly input: string;
  readonly shape: readonly number[];
  readonly since: Nested;
  readonly period: number;
  readonly otherwise: number;
  readonly then: number;
}

/** Fixed shapes as the manifest has them. */
export interface FixedShapeFields {
  readonly tokens: number;
  readonly align: number;
  readonly parts: readonly StatePart[];
  readonly derived: readonly DerivedFields[];
}

/**
 * A float32 input of a graph in fixed shapes that follows from the number of tokens seen before the run.
 *
 * Each element is `then` from that number `since` on, `otherwise` before; where there is a period, of the number modulo it.
 */
export class DerivedInput {
  readonly input: string;
  readonly shape: readonly number[];
  private readonly since: Float64Array;

  /** Throws DamagedBundle. */
  constructor(private readonly fields: DerivedFields) {
    this.input = fields.input;
    this.shape = fields.shape;
    if (elements(this.shape) > LARGEST_DERIVED) {
      throw new DamagedBundle(
        `manifest.json: '${this.input}' of [${this.shape.join(", ")}] is larger than any such input`,
      );
    }
    try {
      this.since = broadcast(fields.since, this.shape);
    } catch {
      throw new DamagedBundle(`manifest.json: \`since\` of '${this.input}' does not fit its shape`);
    }
  }

  /** The value for a run after so many tokens. */
  at(position: number): Tensor {
    const { period, then, otherwise } = this.fields;
    const place = period > 0 ? position % period : position;
    return {
      dtype: "float32",
      shape: this.shape,
      data: Float32Array.from(this.since, (since) => (place >= since ? then : otherwise)),
    };
  }
}

/**
 * A graph that takes exactly so many tokens, as int32 [1, tokens], and gives logits [1, tokens, V].
 *
 * It may be run where the number of tokens seen is a multiple of `align`. States that no part belongs to stay as they
 * are, but for the position, which the runtime counts.
 */
export class FixedShape {
  readonly tokens: number;
  readonly align: number;
  readonly parts: readonly StatePart[];
  readonly derived: readonly DerivedInput[];

  constructor(fields: FixedShapeFields) {
    this.tokens = fields.tokens;
    this.align = fields.align;
    this.parts = fields.parts;
    this.derived = fields.derived.map((one) => new DerivedInput(one));
  }

  /** Throws DamagedBundle if a part is not one of these states'. */
  check(name: string, states: ReadonlyMap<string, StateSpec>): void {
    for (const part of this.parts) {
      const state = states.get(part.state);
      if (state?.dtype !== "float32" || part.offset + elements(part.shape) > elements(state.shape)) {
        throw new DamagedBundle(`manifest.json: '${part.input}' of graph '${name}' is no part of a state`);
      }
    }
  }
}
