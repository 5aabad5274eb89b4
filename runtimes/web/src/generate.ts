/** Text generation: a prompt in, a stream of small `Token` records out. `Reply` is the engine; chat shares it. */

import { eosTokenIds } from "./bundle/chat_format.js";
import { checkIds, checkMaxTokens, checkTopLogprobs } from "./common/checks.js";
import { InputError, NoTokens, TokenizerError } from "./errors.js";
import type { Decoder, Progress } from "./execution/decoder.js";
import type { Manifest } from "./manifest.js";
import { Sampler, sampling, type SamplingOptions } from "./sampling.js";
import { likeliest, logProbability } from "./sampling/distribution.js";
import type { State } from "./state.js";
import { checkStops, StopStrings } from "./text/stopping.js";
import type { TextStream } from "./text/text_stream.js";
import type { Tokenizer } from "./tokenizer.js";

/** What generation asks of a model: `Model` is one. */
export interface LanguageModel {
  readonly manifest: Manifest;
  readonly tokenizer: Tokenizer | null;
  decoder(state?: State): Decoder;
}

/** Why a text ended: the model's end token, a stop string or stop id, or `max_tokens`. */
export type Finish = "eos" | "stop" | "length";

/**
 * One generated token.
 *
 * `text`: what may be shown now: whole characters, without stop strings; often not exactly this token's own text, since
 * an unfinished character or the possible start of a stop string waits.
 */
export interface Token {
  readonly id: number;
  readonly text: string;
  /** Natural logarithm of its probability under the model itself, before any sampling option. */
  readonly logprob: number;
  /** From 0. */
  readonly index: number;
  /** Null until the last token. */
  readonly finish: Finish | null;
  /** The likeliest tokens in its place, as many as `top_logprobs` asked for. */
  readonly top: readonly (readonly [id: number, logprob: number])[];
  /** In a chat, what may be shown of the model's thought, which comes before its answer. */
  readonly thought: string;
}

/** What was computed, and the seconds it took. */
export interface Timing {
  readonly prompt_tokens: number;
  readonly prompt_seconds: number;
  readonly generated_tokens: number;
  readonly generated_seconds: number;
}

/** How a text is made; its sampling options are `SamplingOptions`. */
export interface GenerateOptions extends SamplingOptions {
  /** What came before the prompt; left as it was. */
  state?: State;
  /** 256 by default; null goes on until something else stops it, in constant memory. */
  max_tokens?: number | null;
  seed?: number | null;
  /** Strings that end the text and are not part of it; special tokens are found in them, though never shown. */
  stop?: string | readonly string[];
  /** Token ids likewise. */
  stop_ids?: readonly number[];
  /** Let the end token be a token like any other. */
  ignore_eos?: boolean;
  /** Special tokens written out in the prompt are tokens; else they are text like any other. */
  special?: boolean;
  /** How many of the likeliest tokens each Token lists; they cost a little time. */
  top_logprobs?: number;
  /** Called while the prompt is read; returning false rejects with Cancelled. */
  progress?: Progress;
  /** Told what the prompt took, once it is read. */
  read?: (tokens: number, seconds: number) => void;
}

/**
 * Continue a prompt, a text or ids; an empty one means the bundle's beginning token. Arguments are checked at once, the
 * model runs as tokens are taken.
 *
 * Without a tokenizer the prompt must be ids, and each text is "". Throws InputError, TokenizerError, Cancelled.
 */
export function generate(
  model: LanguageModel,
  prompt: string | readonly number[],
  options: GenerateOptions = {},
): AsyncGenerator<Token, void, undefined> {
  const {
    state,
    max_tokens = 256,
    seed = null,
    stop = [],
    stop_ids = [],
    ignore_eos = false,
    special = false,
    top_logprobs = 0,
    progress,
    read,
    ...rest
  } = options;
  const ids = promptIds(model, prompt, state === undefined, special);
  const { tokenizer, manifest } = model;
  const ends = {
    stops: new StopStrings(checkStops(stop, tokenizer)),
    stop_ids: new Set(checkIds(stop_ids, manifest.vocab_size, "stop_ids")),
    eos: ignore_eos ? new Set<number>() : eosTokenIds(manifest.chat),
    max_tokens: checkMaxTokens(max_tokens),
  };
  const top = checkTopLogprobs(top_logprobs);
  const sampler = new Sampler(sampling(rest), seed);
  const run = async function* (): AsyncGenerator<Token, void, undefined> {
    const decoder = model.decoder(state);
    try {
      const started = performance.now();
      const logits = await decoder.prefill(ids, progress);
      read?.(ids.length, (performance.now() - started) / 1000);
      yield* new Reply(decoder, logits, sampler, tokenizer, ids, ends, top);
    } finally {
      decoder.close();
    }
  };
  return run();
}

/** The prompt as ids, at least one. fresh: nothing came before it. Throws InputError or TokenizerError. */
export function promptIds(
  model: LanguageModel,
  prompt: string | readonly number[],
  fresh: boolean,
  special = false,
): readonly number[] {
  const ids =
    typeof prompt === "string" ? textIds(model, prompt, special) : checkIds(prompt, model.manifest.vocab_size);
  const { bos_token_id } = model.manifest.chat;
  if (ids.length > 0) return ids;
  if (fresh && bos_token_id !== null) return [bos_token_id];
  throw new InputError(
    "the prompt is empty, and the bundle names no beginning token to start from; give some text or token ids",
  );
}

function textIds({ tokenizer }: LanguageModel, prompt: string, special: boolean): number[] {
  if (tokenizer === null) throw new TokenizerError("this bundle has no tokenizer; give the prompt as token ids");
  try {
    return tokenizer.encode(prompt, special);
  } catch (error) {
    throw error instanceof NoTokens ? new NoTokens("write it otherwise, or give the prompt as token ids") : error;
  }
}

/** What ends a text. */
export interface Ends {
  readonly stops: StopStrings;
  readonly stop_ids: ReadonlySet<number>;
  readonly eos: ReadonlySet<number>;
  readonly max_tokens: number | null;
}

/**
 * One run of generation over a decoder, as an iterator of Tokens.
 *
 * A token is fed to the decoder only when the next one is asked for. So after the last Token, or where the iteration was
 * left at a Token, `pending` is the one that the decoder has not seen yet; null if that is an end or stop id.
 */
export class Reply implements AsyncIterable<Token> {
  pending: number | null = null;
  private readonly stream: TextStream | null;
  private cut = false;

  /**
   * @param logits - [V], what `decoder.prefill` gave
   * @param after - ids that the text goes on from
   * @param top - how many of the likeliest tokens to list
   */
  constructor(
    private readonly decoder: Decoder,
    private readonly logits: Float32Array,
    private readonly sampler: Sampler,
    private readonly tokenizer: Tokenizer | null,
    after: readonly number[],
    private readonly ends: Ends,
    private readonly top = 0,
  ) {
    this.stream = tokenizer?.stream(after) ?? null;
  }

  /** The stop string that was found. */
  get matched(): string | null {
    return this.ends.stops.matched;
  }

  /** What the last token wrote after it. */
  get rest(): string {
    return this.ends.stops.rest;
  }

  /** Whether the text of all Tokens is that of all ids fed or pending: nothing held, cut or replaced. */
  get whole(): boolean {
    const { stops } = this.ends;
    return !(this.cut || stops.held !== "" || this.stream?.pending === true || stops.cut);
  }

  /**
   * That of the `ends` whose end is the end of the ids' text and of the stop string found, which lies in it.
   *
   * They are among what the stop strings `remember`.
   */
  endedWith(ends: readonly string[]): string | null {
    const { matched, rest, tail } = this.ends.stops;
    if (matched === null || rest !== "" || this.stream?.pending === true) return null;
    const found = ends.filter((end) => tail.endsWith(end) && matched.length <= end.length);
    return found.reduce<string | null>((longest, end) => (end.length > (longest?.length ?? -1) ? end : longest), null);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Token, void, undefined> {
    let { logits } = this;
    for (let index = 0; ; index++) {
      const id = this.sampler.sample(logits);
      this.pending = id;
      this.sampler.accept(id);
      const { text, finish } = this.text(id, index);
      const top = likeliest(logits, this.top);
      yield { id, text, logprob: logProbability(logits, id), index, finish, top, thought: "" };
      if (finish !== null) return;
      logits = await this.decoder.step(id);
    }
  }

  /** What may be shown with this token, and why it is the last one, if it is. */
  private text(id: number, index: number): { text: string; finish: Finish | null } {
    const { stops, stop_ids, eos, max_tokens } = this.ends;
    if (eos.has(id) || stop_ids.has(id)) {
      this.pending = null;
      return { text: this.flushed(), finish: eos.has(id) ? "eos" : "stop" };
    }
    const hidden = this.tokenizer?.special.get(id) ?? "";
    const text = this.stream === null ? "" : stops.push(this.stream.push(id), hidden);
    if (stops.matched !== null) return { text, finish: "stop" };
    return index + 1 === max_tokens ? { text: text + this.flushed(), finish: "length" } : { text, finish: null };
  }

  private flushed(): string {
    if (this.stream === null) return "";
    this.cut = this.stream.pending;
    const shown = this.ends.stops.push(this.stream.flush());
    return shown + this.ends.stops.flush();
  }
}
