/** What callers give, checked once and in one wording, before anything runs on it. */

import { InputError } from "../errors.js";
import { short } from "./reading.js";

const MOST_THREADS = 1024;
const MOST_LOGPROBS = 1000;

/** The ids, each 0 <= id < vocab_size. Throws InputError naming the first that is not. */
export function checkIds(ids: unknown, vocab_size: number, name = "token ids"): number[] {
  const flat = Array.isArray(ids) || ArrayBuffer.isView(ids) ? Array.from(ids as ArrayLike<unknown>) : null;
  if (!flat?.every((id): id is number => Number.isInteger(id))) {
    throw new InputError(`${name} must be a flat sequence of whole numbers, not ${short(ids)}`);
  }
  const wrong = flat.findIndex((id) => id < 0 || id >= vocab_size);
  if (wrong >= 0) {
    throw new InputError(`${name}: ${String(flat[wrong])} at position ${wrong} is outside 0..${vocab_size - 1}`);
  }
  return flat;
}

/** A whole number from lowest to highest, which `allowed` says in words. Throws InputError. */
export function checkWhole(name: string, value: unknown, lowest: number, highest: number, allowed: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < lowest || value > highest) {
    throw new InputError(`${name} must be ${allowed}, not ${short(value)}`);
  }
  return value;
}

/** Throws InputError. */
export function checkThreads(value: unknown): number {
  return checkWhole("threads", value, 1, MOST_THREADS, `a whole number from 1 to ${MOST_THREADS}`);
}

/** Throws InputError. */
export function checkTopLogprobs(value: unknown): number {
  return checkWhole("top_logprobs", value, 0, MOST_LOGPROBS, `from 0 to ${MOST_LOGPROBS}`);
}

/** null for no limit. Throws InputError. */
export function checkMaxTokens(value: unknown): number | null {
  return value === null ? null : checkWhole("max_tokens", value, 1, Infinity, "from 1, or null for no limit");
}

/** What a decoder is asked to run, checked: T >= 1 ids, 1 <= num_logits <= T, a chunk from 1. Throws InputError. */
export function checkRun(
  ids: unknown,
  num_logits: number,
  chunk: number | undefined,
  vocab_size: number,
): readonly number[] {
  const tokens = checkIds(ids, vocab_size);
  const T = tokens.length;
  if (T === 0) throw new InputError("at least one token id is needed");
  checkWhole("num_logits", num_logits, 1, T, `from 1 to the ${T} tokens given`);
  if (chunk !== undefined) checkWhole("chunk", chunk, 1, Infinity, "a whole number from 1");
  return tokens;
}
