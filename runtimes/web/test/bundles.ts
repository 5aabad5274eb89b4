/** Bundles and vectors that tests share. */

import { openAsBlob } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { Model, opened, type Source } from "../src/index.js";

/** The repository, from build/test/. */
export const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));
export const CONFORMANCE = `${ROOT}/tests/conformance`;

/** A bundle's folder as a source. */
export function folder(path: string): Source {
  return opened(path, async (name) => {
    const found = await stat(`${path}/${name}`).catch(() => null);
    return found?.isFile() === true ? openAsBlob(`${path}/${name}`) : null;
  });
}

export async function json(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, "utf8"));
}

/** The conformance bundle, its default graphs or a variant's. */
export function conformance(variant?: string): Promise<Model> {
  return Model.load(folder(`${CONFORMANCE}/bundle`), { provider: "wasm", threads: 1, ...(variant && { variant }) });
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
