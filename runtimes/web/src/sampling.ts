/**
 * From logits to the next token: the options (`Sampling`), the distribution they leave, and a seeded `Sampler`.
 *
 * Order: bias, penalties, temperature, top-k, top-p, min-p, each on what the one before left; `docs/bundle-format.md`,
 * Sampling, has it to the bit. Logits are float32, probabilities float64.
 */

import { short } from "./common/reading.js";
import { InputError } from "./errors.js";
import { DEFAULT_SAMPLING } from "./sampling/defaults.js";
import { distribution } from "./sampling/distribution.js";
import { Pcg64 } from "./sampling/pcg64.js";

/** The options of `Sampling`; what is not given is its default. */
export interface SamplingOptions {
  /** Logits are divided by it; 0 takes the most likely token. 1 by default. */
  temperature?: number;
  /** Keep the k most likely tokens; 0 keeps all. */
  top_k?: number;
  /** Keep the fewest most likely tokens whose probabilities reach p; 1 keeps all. */
  top_p?: number;
  /** Keep tokens at least this many times as likely as the likeliest; 0 keeps all. */
  min_p?: number;
  /** Positive logits of seen tokens are divided by it, others multiplied. */
  repetition_penalty?: number;
  /** Subtracted once from the logit of a seen token. */
  presence_penalty?: number;
  /** Subtracted as often as it was seen. */
  frequency_penalty?: number;
  /** A time that a token was seen counts this much less for every token since; 1 for not at all. */
  penalty_decay?: number;
  /** "Seen" means among that many latest generated tokens; 1024 by default. */
  penalty_window?: number;
  /** Token id to a number added to its logit; -Infinity or -100 excludes it. */
  logit_bias?: Readonly<Record<number, number>>;
}

type NumberName = Exclude<keyof SamplingOptions, "logit_bias">;

// Lowest and highest; temperature may be 0 as well. Where a number is divided by, far from what overflows float32.
const RANGES: Readonly<Record<NumberName, readonly [number, number]>> = {
  temperature: [0.001, 100],
  top_k: [0, 2 ** 31 - 1],
  top_p: [0, 1],
  min_p: [0, 1],
  repetition_penalty: [0.01, 100],
  presence_penalty: [-2, 2],
  frequency_penalty: [-2, 2],
  penalty_decay: [0, 1],
  penalty_window: [0, 65536],
};
const WHOLE: readonly string[] = ["top_k", "penalty_window"];
const LARGEST_ID = 2 ** 31 - 1;
const LARGEST_BIAS = 1_000_000;

/** How the next token is chosen; the defaults draw from the model's own distribution. */
export type Sampling = Readonly<Required<SamplingOptions>>;

/** Options, checked, over others or the defaults. Throws InputError. */
export function sampling(options: SamplingOptions, over: Sampling = DEFAULT_SAMPLING): Sampling {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(DEFAULT_SAMPLING, name)) {
      const known = Object.keys(DEFAULT_SAMPLING).sort().join(", ");
      throw new InputError(`unknown sampling option ${short(name)}; known: ${known}`);
    }
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const found: Sampling = { ...over, ...given };
  for (const name of Object.keys(RANGES) as NumberName[]) checkOption(name, found[name]);
  checkBias(found.logit_bias);
  return found;
}

function checkOption(name: NumberName, value: unknown): void {
  const [lowest, highest] = RANGES[name];
  const whole = WHOLE.includes(name);
  const number = typeof value === "number" && (!whole || Number.isInteger(value));
  const zero = name === "temperature" && value === 0;
  if (number && (zero || (lowest <= value && value <= highest))) return;
  const what = (name === "temperature" ? "0 or " : "") + (whole ? "a whole number" : "a number");
  // A share that was meant in percent.
  const meant = number && highest === 1 && 1 < value && value <= 100 ? `; ${value} % is ${value / 100}` : "";
  throw new InputError(`${name} must be ${what} from ${lowest} to ${highest}, not ${short(value)}${meant}`);
}

function checkBias(biases: unknown): void {
  if (biases === null || typeof biases !== "object" || Array.isArray(biases)) {
    throw new InputError(`logit_bias must map token ids to numbers, not ${short(biases)}`);
  }
  for (const [id, bias] of Object.entries(biases as Record<string, unknown>)) {
    if (!/^\d{1,10}$/.test(id) || Number(id) > LARGEST_ID)
      throw new InputError(`logit_bias: ${short(id)} is not a token id`);
    const fits = typeof bias === "number" && (bias === -Infinity || Math.abs(bias) <= LARGEST_BIAS);
    if (!fits) {
      const most = LARGEST_BIAS.toLocaleString("en");
      const allowed = `a number from -${most} to ${most}, or -Infinity`;
      throw new InputError(`logit_bias of token ${id} must be ${allowed}, not ${short(bias)}`);
    }
  }
}

/**
 * Draws tokens; the same seed, options, logits and accepted tokens give the same draws, here and in Python.
 *
 * Penalties count accepted tokens only, those generated: text that came in by a saved state cannot be counted, and a
 * prompt shall act the same whether it came as tokens or as a state.
 */
export class Sampler {
  private readonly random: Pcg64;
  private readonly window: number[] = [];
  private readonly counts = new Map<number, number>();
  private readonly decayed = new Map<number, readonly [times: number, asOf: number]>();
  private accepted = 0;
  private readonly biases: readonly (readonly [id: number, bias: number])[];

  /** @param seed - a number of 0 or more, a generator to go on drawing from, or null for a new random one */
  constructor(
    readonly sampling: Sampling,
    seed: number | Pcg64 | null = null,
  ) {
    this.random = seed instanceof Pcg64 ? seed : generator(seed);
    this.biases = Object.entries(sampling.logit_bias).map(([id, bias]) => [Number(id), bias]);
  }

  /** logits: [V], left as they are. Throws InputError for NaN or infinity, or when no token is left. */
  sample(logits: Float32Array): number {
    const adjusted = this.adjusted(logits);
    let best = 0;
    let finite = true;
    for (let i = 0; i < adjusted.length; i++) {
      const logit = adjusted[i] ?? 0;
      if (logit > (adjusted[best] ?? 0)) best = i;
      if (!(logit < Infinity)) finite = false;
    }
    if (!finite) throw new InputError("the logits hold NaN or infinity; the model or its state is damaged");
    if (adjusted[best] === -Infinity) throw new InputError("every token is excluded; loosen logit_bias");
    return this.sampling.temperature === 0 ? best : this.draw(adjusted);
  }

  /** Count this token as seen from now on, and the one that leaves the window no longer. */
  accept(id: number): void {
    const { penalty_decay: decay, penalty_window: window } = this.sampling;
    this.window.push(id);
    this.counts.set(id, (this.counts.get(id) ?? 0) + 1);
    this.accepted++;
    if (decay !== 1) this.decayed.set(id, [this.times(id) + 1, this.accepted]);
    if (this.window.length <= window) return;
    const gone = this.window.shift() ?? 0;
    const left = (this.counts.get(gone) ?? 0) - 1;
    this.counts.set(gone, left);
    if (decay !== 1) this.decayed.set(gone, [Math.max(this.times(gone) - decay ** window, 0), this.accepted]);
    if (left === 0) {
      this.counts.delete(gone);
      this.decayed.delete(gone);
    }
  }

  private draw(logits: Float32Array): number {
    const { ids, probabilities } = distribution(logits, this.sampling);
    let sum = 0;
    const cumulative = probabilities.map((each) => (sum += each));
    const last = cumulative[cumulative.length - 1] ?? 1;
    const mark = this.random.double() * last;
    // Rounding may put the draw on the total itself: then the first at which it is reached.
    const at = cumulative.findIndex((reached) => reached > mark || reached === last);
    return ids[at] ?? 0;
  }

  /** How often a token was seen, each time counting less the longer ago it is. */
  private times(id: number): number {
    const { penalty_decay: decay } = this.sampling;
    if (decay === 1) return this.counts.get(id) ?? 0;
    const [times, asOf] = this.decayed.get(id) ?? [0, this.accepted];
    return times * decay ** (this.accepted - asOf);
  }

  private adjusted(logits: Float32Array): Float32Array {
    const { repetition_penalty: repetition, presence_penalty, frequency_penalty } = this.sampling;
    const penalised = this.counts.size > 0 && (repetition !== 1 || presence_penalty !== 0 || frequency_penalty !== 0);
    if (this.biases.length === 0 && !penalised) return logits;
    const found = logits.slice();
    for (const [id, bias] of this.biases) {
      if (id >= found.length) {
        throw new InputError(`logit_bias: token ${id} is not below the vocabulary of ${found.length}`);
      }
      found[id] = (found[id] ?? 0) + Math.fround(bias);
    }
    if (penalised) for (const id of this.counts.keys()) found[id] = this.penalised(found[id] ?? 0, this.times(id));
    return found;
  }

  /** In float32, as every operation here is. */
  private penalised(logit: number, times: number): number {
    const r = Math.fround(this.sampling.repetition_penalty);
    const repeated = Math.fround(logit > 0 ? logit / r : logit * r);
    const present = Math.fround(repeated - Math.fround(this.sampling.presence_penalty));
    const frequency = Math.fround(Math.fround(this.sampling.frequency_penalty) * Math.fround(times));
    return Math.fround(present - frequency);
  }
}

/** The generator of a seed of 0 or more; null gives a new random one. Throws InputError. */
export function generator(seed: number | null): Pcg64 {
  if (seed === null) return Pcg64.random();
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new InputError(`seed must be a whole number of 0 or more, not ${short(seed)}`);
  }
  return new Pcg64(BigInt(seed));
}
