/** Arrays with a shape, as graphs take and give them; in C order. */

export type ElementType = "float32" | "float16" | "int64" | "int32";

/** float16 as the bits of its numbers. */
export type Elements = Float32Array | Uint16Array | BigInt64Array | Int32Array;

export interface Tensor {
  readonly dtype: ElementType;
  /** `[]` is a scalar, of one element. */
  readonly shape: readonly number[];
  readonly data: Elements;
}

export const BYTES: Readonly<Record<ElementType, number>> = { float32: 4, float16: 2, int64: 8, int32: 4 };

/** How many elements a shape has. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
