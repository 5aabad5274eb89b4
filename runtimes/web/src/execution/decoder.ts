/**
 * The seam between text and engine: what a conversation in motion can be asked, whatever graphs it runs on.
 *
 * `any_length_decoder` does it over graphs that take any number of tokens, `fixed_shape_decoder` over those of phones'
 * engines.
 */

import { Cancelled } from "../errors.js";
import type { State } from "../state.js";

/** Called with tokens done and tokens in all after each chunk, and waited for; false asks to stop. */
export type Progress = (done: number, of: number) => boolean | undefined | Promise<boolean | undefined>;

/** How a decoder is to run some ids. */
export interface RunOptions {
  /** N: logits of the last N tokens; 1 by default. */
  readonly num_logits?: number;
  /** Tokens of a run at most; the bundle's own number by default. */
  readonly chunk?: number;
  readonly progress?: Progress;
}

/** A conversation in motion. Made by `Model.decoder`; one call at a time. Close it when it is needed no longer. */
export interface Decoder {
  /** Tokens seen so far. */
  readonly position: number;
  /** An independent copy of the state now. */
  state(): Promise<State>;
  /** Logits [V] after one more token; valid until the next call. Rejects with InputError. */
  step(id: number): Promise<Float32Array>;
  /** Logits [V] after the last of T >= 1 ids. Rejects with InputError, Cancelled. */
  prefill(ids: readonly number[], progress?: Progress): Promise<Float32Array>;
  /** Logits [N, V] of the last N of T ids, run in chunks. */
  run(ids: readonly number[], options?: RunOptions): Promise<Float32Array>;
  /** Free what it holds. */
  close(): void;
}

/** Tell of a chunk that is done. Rejects with Cancelled if that asks to stop, and there is more. */
export async function tell(progress: Progress | undefined, done: number, of: number): Promise<void> {
  if ((await progress?.(done, of)) === false && done < of) throw new Cancelled(`stopped after ${done} of ${of} tokens`);
}
