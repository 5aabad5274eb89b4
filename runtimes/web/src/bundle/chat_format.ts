/** How a model was taught to read a dialogue, and to think; `docs/chat-format.md` has examples. */

import type { SamplingOptions } from "../sampling.js";

/**
 * How a model thinks before it answers, as text of its reply: `{begin}{thought}{end}{answer}`.
 *
 * `open`: written after `assistant` for it to think; `skip`: for it not to. `kept`: whether later turns see the thought;
 * else they see the answer alone.
 */
export interface Thinking {
  readonly open: string;
  readonly skip: string;
  readonly begin: string;
  readonly end: string;
  readonly kept: boolean;
}

/** RWKV's usual way, as its G1 was taught. */
export const USUAL_THINKING: Thinking = {
  open: " <think",
  skip: " <think>\n</think",
  begin: "<think>",
  end: "</think>",
  kept: false,
};

/**
 * How a dialogue is written as text: `{user}{text}{turn_end}{assistant} {reply}{turn_end}`.
 *
 * `stop`: strings that end a reply; none given means `turn_end`. `bos_token_id`: token before a dialogue, if any.
 * `eos_token_id`: the token that ends a text, or several of them. `sampling`: the model's preferred options. `system`:
 * written before a system text. `thinking`: null of a model that was not taught to think.
 */
export interface ChatFormat {
  readonly user: string;
  readonly assistant: string;
  readonly turn_end: string;
  readonly stop: readonly string[];
  readonly bos_token_id: number | null;
  readonly eos_token_id: number | readonly number[] | null;
  readonly sampling: SamplingOptions;
  readonly system: string;
  readonly thinking: Thinking | null;
}

/** From JSON whose types are checked. */
export function chatFormat(fields: Omit<ChatFormat, "system" | "thinking"> & Partial<ChatFormat>): ChatFormat {
  return { ...fields, system: fields.system ?? "", thinking: fields.thinking ?? null };
}

/** Every token that ends a text. */
export function eosTokenIds(format: ChatFormat): ReadonlySet<number> {
  const ids = format.eos_token_id;
  return new Set(ids === null ? [] : typeof ids === "number" ? [ids] : ids);
}
