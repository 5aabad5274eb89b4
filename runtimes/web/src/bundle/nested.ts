/** Numbers, or nested lists of them, that broadcast to a shape, as a manifest writes values. */

import { elements } from "../execution/tensor.js";

/** A number or nested lists of numbers. */
export type Nested = number | readonly Nested[];

/**
 * Every element of the shape, in C order. Throws where the lists are ragged, hold no numbers or do not broadcast; a
 * caller bounds the shape before.
 */
export function broadcast(value: unknown, shape: readonly number[]): Float64Array {
  const given = shapeOf(value);
  const flat = Float64Array.from(flattened(value, given));
  if (given.length > shape.length) throw new Error("it has more axes than the shape");
  const missing = shape.length - given.length;
  const steps = stepsOf(given);
  const fits = given.every((size, axis) => size === 1 || size === shape[missing + axis]);
  if (!fits) throw new Error("it does not broadcast to the shape");
  const found = new Float64Array(elements(shape));
  if (flat.length === 1) return found.fill(flat[0] ?? 0);
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < found.length; i++) {
    let at = 0;
    for (let axis = missing; axis < shape.length; axis++) {
      if (given[axis - missing] !== 1) at += (index[axis] ?? 0) * (steps[axis - missing] ?? 0);
    }
    found[i] = flat[at] ?? NaN;
    next(index, shape);
  }
  return found;
}

function next(index: number[], shape: readonly number[]): void {
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const up = (index[axis] ?? 0) + 1;
    index[axis] = up === shape[axis] ? 0 : up;
    if (up !== shape[axis]) return;
  }
}

function shapeOf(value: unknown): number[] {
  const shape: number[] = [];
  for (let at = value; Array.isArray(at); at = at[0]) shape.push(at.length);
  return shape;
}

function stepsOf(shape: readonly number[]): number[] {
  const steps = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) steps[axis] = (steps[axis + 1] ?? 1) * (shape[axis + 1] ?? 1);
  return steps;
}

function* flattened(value: unknown, shape: readonly number[]): Generator<number> {
  if (shape.length === 0) {
    if (typeof value !== "number") throw new Error("it holds something else than numbers");
    yield value;
    return;
  }
  if (!Array.isArray(value) || value.length !== shape[0]) throw new Error("its lists are not all of one length");
  for (const item of value) yield* flattened(item, shape.slice(1));
}
