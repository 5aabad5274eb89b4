/** Bundles and vectors that tests share. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { Model } from "../src/index.js";
import { folder } from "../src/node.js";

/** The repository, from build/test/. */
export const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));
export const CONFORMANCE = `${ROOT}/tests/conformance`;

export async function json(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, "utf8"));
}

/** The conformance bundle, its default graphs or a variant's. */
export function conformance(variant?: string): Promise<Model> {
  return Model.load(folder(`${CONFORMANCE}/bundle`), { provider: "wasm", threads: 1, ...(variant && { variant }) });
}

/** The bundle whose segments end where enough was told. */
export function adaptive(): Promise<Model> {
  return Model.load(folder(`${CONFORMANCE}/adaptive/bundle`), { provider: "wasm", threads: 1 });
}

/** All of nested lists of numbers. */
export function flat(value: unknown): number[] {
  return Array.isArray(value) ? value.flatMap(flat) : [Number(value)];
}

/** The largest error over the largest magnitude of what is expected. */
export function error(found: Iterable<number | bigint>, expected: readonly number[]): number {
  const numbers = Array.from(found, Number);
  if (numbers.length !== expected.length) return Infinity;
  const largest = expected.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  const off = expected.reduce((most, each, i) => Math.max(most, Math.abs((numbers[i] ?? NaN) - each)), 0);
  return Number.isNaN(off) ? Infinity : off / (largest || 1);
}

/** All that comes. */
export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
