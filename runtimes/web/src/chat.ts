/**
 * A conversation that lives in the model's state, so that a turn costs its new tokens only, however long the talk.
 *
 * Written in the bundle's chat format (`ChatFormat`): {bos}{user}{text}{turn_end}{assistant}, to which the model answers
 * ` reply{turn_end}`. After every turn the state is that of exactly this text, `turn_end` once after each reply, whether
 * the model ended the reply itself or was stopped. A thought that a reply begins with is not part of this text, unless
 * the format keeps thoughts: the state is then set back to before the reply, and the answer read without it.
 */

import { type ChatFormat, eosTokenIds, type Thinking, USUAL_THINKING } from "./bundle/chat_format.js";
import { checkMaxTokens } from "./common/checks.js";
import { short } from "./common/reading.js";
import { strip, stripEnd, stripStart } from "./common/white_space.js";
import { Draft, type Turn } from "./draft.js";
import { InputError, NoTokens, TokenizerError } from "./errors.js";
import type { Decoder, Progress } from "./execution/decoder.js";
import { type LanguageModel, Reply, type Timing, type Token } from "./generate.js";
import { generator, Sampler, sampling, type Sampling, type SamplingOptions } from "./sampling.js";
import type { Pcg64 } from "./sampling/pcg64.js";
import { State } from "./state.js";
import { Dialogue, tidied } from "./text/dialogue.js";
import { StopStrings, writtenText } from "./text/stopping.js";
import { ThoughtAndAnswer } from "./text/thinking.js";
import type { Tokenizer } from "./tokenizer.js";

/** How many turns can be undone. */
export const UNDO_TURNS = 64;
const NONE: Timing = { prompt_tokens: 0, prompt_seconds: 0, generated_tokens: 0, generated_seconds: 0 };

/**
 * `on`: the model is made to think before it answers, in the format's words or, where that has none, in RWKV's usual
 * ones; `off`: made not to; `auto`: as it comes.
 */
export type Think = "auto" | "on" | "off";

/** What may be set between turns; sampling options that are not given are the bundle's preference, then the default. */
export interface TurnOptions extends SamplingOptions {
  think?: Think;
  /** Most tokens of a reply, its thought included; 512 by default, null for no limit. */
  max_tokens?: number | null;
  /** Of one random stream for the whole conversation; setting it starts the stream again. */
  seed?: number | null;
}

/** What a conversation begins with. */
export interface ChatOptions extends TurnOptions {
  /**
   * Text put before the first turn, as it is: it may hold examples of turns, and special tokens in it are tokens, so it
   * should be the program's own text and not that of the people who talk.
   */
  system?: string;
  /** Special tokens in what users say are tokens too; else they are text like any other. */
  special?: boolean;
}

/** A conversation with a model that has a tokenizer. */
export class Chat {
  /** Of the last turn. */
  timing: Timing = NONE;
  private readonly tokenizer: Tokenizer;
  private readonly format: ChatFormat;
  private readonly dialogue: Dialogue;
  private sampling: Sampling;
  private think: Think = "auto";
  private max_tokens: number | null = 512;
  private random: Pcg64;
  private system = "";
  private before: State;
  private past: readonly Turn[] = [];
  private active: AsyncGenerator<Token, void, undefined> | null = null;

  /** Throws TokenizerError, InputError. */
  constructor(
    private readonly model: LanguageModel,
    options: ChatOptions = {},
  ) {
    const { system = "", special = false, ...turn } = options;
    if (model.tokenizer === null) {
      throw new TokenizerError("this bundle has no tokenizer, and a chat needs one; export it with its tokenizer");
    }
    this.tokenizer = model.tokenizer;
    this.format = model.manifest.chat;
    this.sampling = sampling(this.format.sampling);
    this.random = generator(null);
    this.set(turn);
    this.dialogue = dialogueOf(this.tokenizer, this.format, special);
    this.system = tidied(system);
    this.before = State.initial(model.manifest);
  }

  /** User text and reply of each turn since the start, the last reset or the last load. */
  get turns(): readonly { readonly user: string; readonly reply: string }[] {
    return this.past.map(({ user, reply }) => ({ user, reply }));
  }

  /** How many of the last turns can be undone or edited. */
  get undoable(): number {
    return this.past.filter((turn) => turn.before !== null).length;
  }

  /** Tokens in the conversation's state. */
  get position(): number {
    return this.before.position;
  }

  /** Options for the turns to come; what is not given stays. Throws InputError, and then nothing is changed. */
  set(options: TurnOptions): void {
    const { think = this.think, max_tokens = this.max_tokens, seed, ...rest } = options;
    if (!["auto", "on", "off"].includes(think))
      throw new InputError(`think must be auto, on or off, not ${short(think)}`);
    const most = checkMaxTokens(max_tokens);
    const random = seed === undefined ? this.random : generator(seed);
    this.sampling = sampling(rest, this.sampling);
    this.think = think;
    this.max_tokens = most;
    this.random = random;
  }

  /**
   * Say something and stream the reply; the turn is part of the conversation once its last Token is out.
   *
   * A thought comes in the tokens' `thought`, and is no part of the reply that `turns` has. Blank lines in the text become
   * line breaks, since a blank line ends a turn in the usual format. Closing the iterator ends the reply: what there is
   * of it stays as the turn. An error, or an end before the reply's first token, leaves the conversation as it was. A
   * reply still open is closed. Throws InputError, Cancelled.
   */
  async *send(text: string, progress?: Progress): AsyncGenerator<Token, void, undefined> {
    await this.settle();
    yield* this.start(text, this.before, this.past, progress);
  }

  /** Answer the last user text anew, with fresh random draws; until that is done, the old reply stands. */
  async *retry(progress?: Progress): AsyncGenerator<Token, void, undefined> {
    await this.settle();
    const { turn, before } = this.turn(this.past.length - 1);
    yield* this.start(turn.user, before, this.past.slice(0, -1), progress);
  }

  /** Say something else in a turn (from 0) and go on from there; until that is done, all stays as it is. */
  async *edit(index: number, text: string, progress?: Progress): AsyncGenerator<Token, void, undefined> {
    await this.settle();
    const { before } = this.turn(index);
    yield* this.start(text, before, this.past.slice(0, index), progress);
  }

  /** Go back to before the last turn, at once; gives its user text. Reaches back 64 turns (UNDO_TURNS). */
  async undo(): Promise<string> {
    await this.settle();
    const { turn, before } = this.turn(this.past.length - 1);
    this.before = before;
    this.past = this.past.slice(0, -1);
    return turn.user;
  }

  /** Start anew; without a system text the present one stays, "" removes it. */
  async reset(system?: string): Promise<void> {
    await this.settle();
    if (system !== undefined) this.system = tidied(system);
    this.before = State.initial(this.model.manifest);
    this.past = [];
  }

  /** The state as a file, from which `load` continues. */
  async save(): Promise<ArrayBuffer> {
    await this.settle();
    return this.before.save();
  }

  /**
   * Continue from a saved state; the turns before it cannot be undone. Rejects with StateError.
   *
   * @param turns - what `turns` lists of before it
   */
  async load(
    file: ArrayBuffer,
    allow_other_quantization = false,
    turns: readonly { readonly user: string; readonly reply: string }[] = [],
  ): Promise<void> {
    await this.settle();
    this.before = await State.load(file, this.model.manifest, allow_other_quantization);
    this.past = turns.map(({ user, reply }) => ({ user, reply, before: null }));
  }

  /**
   * Start anew with turns that were had elsewhere; their text is read. Rejects with InputError and Cancelled, and then all
   * is as it was.
   */
  async read(turns: readonly { readonly user: string; readonly reply: string }[], progress?: Progress): Promise<void> {
    await this.settle();
    const read = turns.map(({ user, reply }, index) => {
      const opening = index === 0 ? this.dialogue.opening(this.system) : [];
      const said = this.dialogue.normalised(user);
      const answered = this.dialogue.answered(this.dialogue.led(strip(reply)));
      return { said, reply: strip(reply), ids: [...opening, ...this.dialogue.asked(said), ...answered] };
    });
    const of = read.reduce((sum, { ids }) => sum + ids.length, 0);
    const decoder = this.model.decoder();
    const past: Turn[] = [];
    let done = 0;
    try {
      for (const [index, { said, reply, ids }] of read.entries()) {
        const before = index < read.length - UNDO_TURNS ? null : await decoder.state();
        await decoder.prefill(ids, (now) => progress?.(done + now, of));
        past.push({ user: said, reply, before });
        done += ids.length;
      }
      this.before = await decoder.state();
      this.past = past;
    } finally {
      decoder.close();
    }
  }

  private async settle(): Promise<void> {
    await this.active?.return();
    this.active = null;
  }

  private turn(index: number): { turn: Turn; before: State } {
    const turn = this.past.at(index < 0 ? this.past.length : index);
    if (turn === undefined) throw new InputError("there is no turn to go back to");
    if (turn.before === null) {
      throw new InputError(`that turn is too long ago; the last ${UNDO_TURNS} turns can be undone`);
    }
    return { turn, before: turn.before };
  }

  private async *start(
    text: string,
    before: State,
    base: readonly Turn[],
    progress?: Progress,
  ): AsyncGenerator<Token, void, undefined> {
    const user = this.dialogue.normalised(text);
    if (user === "") throw new InputError("the message is empty");
    const opening = before.position === 0 ? this.dialogue.opening(this.system) : [];
    const reply = this.generate(user, [...opening, ...this.dialogue.asked(user)], before, base, progress);
    this.active = reply;
    yield* reply;
  }

  /** One turn. It works on a decoder of its own, so that giving up at any point changes nothing. */
  private async *generate(
    user: string,
    ids: readonly number[],
    before: State,
    base: readonly Turn[],
    progress?: Progress,
  ): AsyncGenerator<Token, void, undefined> {
    const decoder = this.model.decoder(before);
    try {
      const started = performance.now();
      let logits = await decoder.prefill(ids, progress);
      let prefix = await decoder.state();
      const { thinking, begun } = this.begun();
      const opening = begun === "" ? [] : this.dialogue.begun(begun);
      if (opening.length > 0) logits = await decoder.prefill(opening);
      const kept = thinking?.kept === true;
      if (opening.length > 0 && kept) prefix = await decoder.state();
      const read = [...ids, ...opening];
      const stops = this.stops(thinking, begun);
      const reply = this.reply(decoder, logits, read, stops);
      const timing = { ...NONE, prompt_tokens: read.length, prompt_seconds: since(started) };
      const draft = new Draft({ user, before, base, decoder, prefix, reply, stops, kept }, timing);
      try {
        yield* this.stream(draft);
      } finally {
        if (draft.open && draft.ids.length > 0) await this.close(draft); // whoever took the tokens has left
      }
    } finally {
      decoder.close();
    }
  }

  private reply(decoder: Decoder, logits: Float32Array, after: readonly number[], stops: StopStrings): Reply {
    const sampler = new Sampler(this.sampling, this.random);
    const { max_tokens } = this;
    const ends = { stops, stop_ids: new Set<number>(), eos: eosTokenIds(this.format), max_tokens };
    return new Reply(decoder, logits, sampler, this.tokenizer, after, ends);
  }

  private stops(thinking: Thinking | null, begun: string): StopStrings {
    const { stops, within, ends } = this.dialogue;
    return thinking === null
      ? new StopStrings(stops, ends)
      : new ThoughtAndAnswer(thinking, begun, stops, within, ends);
  }

  /** How a thought is told, if there may be one, and what the reply is made to begin with. */
  private begun(): { thinking: Thinking | null; begun: string } {
    const thinking = this.format.thinking ?? (this.think === "on" ? USUAL_THINKING : null);
    if (thinking === null || this.think === "auto") return { thinking, begun: "" };
    return { thinking, begun: this.think === "on" ? thinking.open : thinking.skip };
  }

  private async *stream(draft: Draft): AsyncGenerator<Token, void, undefined> {
    const { reply, stops } = draft.beginning;
    let started = performance.now();
    try {
      for await (const token of reply) {
        const { timing } = draft;
        const generated_seconds = timing.generated_seconds + since(started);
        draft.timing = { ...timing, generated_tokens: timing.generated_tokens + 1, generated_seconds };
        // The space between "Assistant:" and the reply belongs to the reply's first token, not to what is shown.
        const text = draft.blank ? stripStart(token.text) : token.text;
        draft.ids.push(token.id);
        draft.answer += token.text;
        draft.blank = draft.blank && text === "";
        if (token.finish !== null) await this.close(draft);
        const thought = stops instanceof ThoughtAndAnswer ? stops.takeThought() : "";
        yield { ...token, text, thought };
        started = performance.now();
      }
    } catch (error) {
      draft.open = false; // an error leaves the conversation as it was
      throw error;
    }
  }

  /** End the turn with `turn_end`, feeding what the model has not written of it, and make it part of the chat. */
  private async close(draft: Draft): Promise<void> {
    const { user, before, base, prefix } = draft.beginning;
    draft.open = false;
    const whole = draft.text;
    const kept = draft.drops ? null : this.kept(draft);
    const text = kept?.text ?? stripEnd(whole.replace(/\ufffd+$/u, ""));
    const answered = (): number[] => this.dialogue.answered(draft.drops ? this.dialogue.led(stripStart(text)) : text);
    const ids = kept?.ids ?? answered();
    const decoder = kept === null ? this.model.decoder(prefix) : draft.beginning.decoder;
    try {
      if (ids.length > 0) await decoder.prefill(ids);
      const said = draft.answer.slice(0, Math.max(0, draft.answer.length - (whole.length - text.length)));
      const turns: Turn[] = [...base, { user, reply: strip(said), before }];
      const forgotten = turns[turns.length - UNDO_TURNS - 1];
      if (forgotten !== undefined) turns[turns.length - UNDO_TURNS - 1] = { ...forgotten, before: null };
      this.before = await decoder.state();
      this.past = turns;
      this.timing = draft.timing;
    } finally {
      if (kept === null) decoder.close();
    }
  }

  /** What is to be fed after the model's own tokens, and the reply's text; null if they cannot stay. */
  private kept(draft: Draft): { ids: readonly number[]; text: string } | null {
    const { text } = draft;
    const { reply } = draft.beginning;
    const pending = reply.pending === null ? [] : [reply.pending];
    const end = reply.endedWith(this.dialogue.ends);
    if (end !== null) return { ids: pending, text: withoutEnd(text, withoutEnd(end, reply.matched ?? "")) };
    const begun = this.dialogue.begunTurnEnd(pending.length > 0 ? draft.ids : draft.ids.slice(0, -1));
    const written = writtenText(begun, this.tokenizer);
    const beyond = reply.matched !== null && (reply.rest !== "" || reply.matched.length > written.length);
    if (beyond || !reply.whole || text !== stripEnd(text)) return null;
    const ids = [...pending, ...this.dialogue.turn_end_ids.slice(begun.length)];
    return { ids, text: withoutEnd(text, this.tokenizer.decode(begun)) };
  }
}

function dialogueOf(tokenizer: Tokenizer, format: ChatFormat, special: boolean): Dialogue {
  try {
    return new Dialogue(tokenizer, format, special);
  } catch (error) {
    if (!(error instanceof NoTokens)) throw error;
    throw new NoTokens("it is the chat format's: export with --chat and a chat.json in words that it has");
  }
}

function withoutEnd(text: string, end: string): string {
  return text.endsWith(end) ? text.slice(0, text.length - end.length) : text;
}

function since(started: number): number {
  return (performance.now() - started) / 1000;
}
