/** What a model's logits say: probabilities after the options that narrow them, and the likeliest tokens. */

import type { Sampling } from "../sampling.js";

/**
 * Ids and their probabilities after temperature (not 0), top-k, top-p and min-p.
 *
 * @param logits - [V], the highest finite. Of equally likely tokens the lower id is kept.
 */
export function distribution(
  logits: Float32Array,
  { temperature, top_k, top_p, min_p }: Sampling,
): { ids: Int32Array; probabilities: Float64Array } {
  let ids = 0 < top_k && top_k < logits.length ? largest(logits, top_k) : Int32Array.from(logits.keys());
  let p = softmax(logits, ids, temperature);
  const keep = (places: Int32Array): void => {
    const [oldIds, oldP] = [ids, p];
    ids = places.map((at) => oldIds[at] ?? 0);
    p = Float64Array.from(places, (at) => oldP[at] ?? 0);
  };
  if (top_p < 1) keep(nucleus(p, top_p));
  if (min_p > 0) {
    const least = min_p * p.reduce((most, each) => Math.max(most, each), 0);
    keep(Int32Array.from(p.keys()).filter((at) => (p[at] ?? 0) >= least));
  }
  const sum = pairwiseSum(p);
  return { ids, probabilities: p.map((each) => each / sum) };
}

function softmax(logits: Float32Array, ids: Int32Array, temperature: number): Float64Array {
  let most = -Infinity;
  for (const id of ids) most = Math.max(most, logits[id] ?? 0);
  const p = Float64Array.from(ids, (id) => Math.exp(((logits[id] ?? 0) - most) / temperature));
  const sum = pairwiseSum(p);
  return p.map((each) => each / sum);
}

/** As numpy sums: eight sums in blocks of up to 128, the blocks pairwise; so that draws agree to the last bit. */
function pairwiseSum(p: Float64Array): number {
  if (p.length < 8) return p.reduce((sum, each) => sum + each, 0);
  if (p.length > 128) {
    const half = Math.floor(p.length / 2);
    const cut = half - (half % 8);
    return pairwiseSum(p.subarray(0, cut)) + pairwiseSum(p.subarray(cut));
  }
  const r = Array.from(p.subarray(0, 8));
  const whole = p.length - (p.length % 8);
  for (let i = 8; i < whole; i++) r[i % 8] = (r[i % 8] ?? 0) + (p[i] ?? 0);
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = r;
  return p.subarray(whole).reduce((sum, each) => sum + each, a + b + (c + d) + (e + f + (g + h)));
}

/** Indices of the n largest values, falling, the lower index first among equals. */
export function largest(values: Float32Array | Float64Array, n: number): Int32Array {
  let candidates = Int32Array.from(values.keys());
  if (n < values.length) {
    const threshold = values.toSorted()[values.length - n] ?? 0; // of a typed array it sorts by value
    candidates = candidates.filter((i) => (values[i] ?? 0) >= threshold);
  }
  return candidates.sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0) || a - b).slice(0, n);
}

/** Indices of the fewest largest probabilities whose sum is at least top_p; at least one. */
function nucleus(p: Float64Array, top_p: number): Int32Array {
  for (let n = 128; ; n *= 8) {
    const order = largest(p, n);
    let mass = 0;
    const at = order.findIndex((i) => (mass += p[i] ?? 0) >= top_p);
    if (at >= 0) return order.slice(0, at + 1);
    if (n >= p.length) return order;
  }
}

/** Natural logarithm of the token's softmax probability; logits: [V]. */
export function logProbability(logits: Float32Array, id: number): number {
  const most = logits.reduce((found, logit) => Math.max(found, logit), -Infinity);
  const sum = logits.reduce((found, logit) => found + Math.exp(Math.fround(logit - most)), 0);
  return Math.fround((logits[id] ?? -Infinity) - most) - Math.log(sum);
}

/** The n most likely tokens and their log probabilities, the likeliest first; logits: [V]. */
export function likeliest(logits: Float32Array, n: number): (readonly [id: number, logprob: number])[] {
  return n === 0 ? [] : Array.from(largest(logits, n), (id) => [id, logProbability(logits, id)] as const);
}
