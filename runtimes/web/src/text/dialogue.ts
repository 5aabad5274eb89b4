/**
 * How a conversation is written: turns of a chat format, of trusted strings and people's text, as token ids.
 *
 * A format's own strings, and a system text, are the operator's: special tokens in them are tokens. What people say is
 * text like any other, whatever is written in it, unless `special` says otherwise.
 */

import { type ChatFormat, eosTokenIds } from "../bundle/chat_format.js";
import { isSpace, strip, stripEnd, withoutBlankLines } from "../common/white_space.js";
import { TokenizerError } from "../errors.js";
import type { Tokenizer } from "../tokenizer.js";
import type { Part } from "./plain_text.js";
import { writtenForms } from "./stopping.js";

/** A chat format and a tokenizer. */
export class Dialogue {
  /** `turn_end` as it may be written. */
  readonly ends: readonly string[];
  /** What ends a reply, likewise. */
  readonly stops: readonly string[];
  /**
   * What ends it in a thought: of white space alone only where the user's turn follows it, since a thought may have blank
   * lines.
   */
  readonly within: readonly string[];
  /** `turn_end` as it is tokenized where a turn follows it, as in the text the model was trained on. */
  readonly turn_end_ids: readonly number[];
  private readonly control: ReadonlySet<number>;
  private readonly plainEnd: string;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly format: ChatFormat,
    private readonly special = false,
  ) {
    this.control = controlIds(tokenizer, format);
    this.ends = writtenForms(format.turn_end === "" ? [] : [format.turn_end], tokenizer);
    const stops = writtenForms(
      format.stop.filter((stop) => stop !== ""),
      tokenizer,
    );
    this.stops = stops.length > 0 ? stops : this.ends;
    const following = stripEnd(format.user);
    this.within = this.stops.flatMap((stop) => {
      if (strip(stop) !== "") return [stop];
      return following === "" ? [] : [stop + following];
    });
    this.turn_end_ids = this.encodeTurnEnd();
    // A `turn_end` of characters would end a turn in anybody's text; one of tokens is none there.
    this.plainEnd = this.turn_end_ids.some((id) => this.control.has(id)) ? "" : format.turn_end;
  }

  /** What comes before the first turn. */
  opening(system: string): number[] {
    const { bos_token_id, user, assistant } = this.format;
    const bos = bos_token_id === null ? [] : [bos_token_id];
    const titles = [this.format.system, user, assistant].filter((title) => title !== "");
    const titled = system === "" || titles.some((title) => system.startsWith(title));
    const text = titled ? system : this.format.system + system;
    return text === "" ? bos : [...bos, ...this.tokenizer.encode(text, true), ...this.turn_end_ids];
  }

  /** A user's turn, up to where the model answers. */
  asked(user: string): number[] {
    const { format } = this;
    return this.compose([
      { text: format.user, trusted: true },
      { text: user, trusted: this.special },
      { text: format.turn_end + format.assistant, trusted: true },
    ]);
  }

  /** What a reply is made to begin with, tokenized as it is after `assistant`. */
  begun(reply: string): number[] {
    const { assistant } = this.format;
    const both = this.tokenizer.encode(assistant + reply, true);
    const before = this.tokenizer.encode(assistant, true);
    const begins = before.every((id, i) => both[i] === id);
    return begins ? both.slice(before.length) : this.tokenizer.encode(reply, true);
  }

  /** A reply, tokenized anew, and the end of its turn. */
  answered(reply: string): number[] {
    return [...this.compose([{ text: reply, trusted: false }]), ...this.turn_end_ids];
  }

  /** An answer as a reply: with the space that stands before one. */
  led(answer: string): string {
    if (answer === "") return "";
    return (isSpace(this.format.assistant.slice(-1)) ? "" : " ") + answer;
  }

  /**
   * The first of `turn_end_ids` that these ids end with, if there is a special token among them, else none.
   *
   * Without one, what the model wrote may be the reply's own: a line break, say, where the end is two of them.
   */
  begunTurnEnd(ids: readonly number[]): readonly number[] {
    const end = this.turn_end_ids;
    for (let length = Math.min(end.length, ids.length); length > 0; length--) {
      const begun = end.slice(0, length);
      const ends = begun.every((id, i) => ids[ids.length - length + i] === id);
      if (ends && begun.some((id) => this.tokenizer.special.has(id))) return begun;
    }
    return [];
  }

  /** A user's text without what would end its turn. */
  normalised(text: string): string {
    const end = this.plainEnd;
    let plain = tidied(text);
    if (isSpace(end)) plain = withoutBlankLines(plain);
    while (end !== "" && plain.includes(end)) plain = plain.split(end).join(end === "\n" ? " " : "\n");
    return strip(plain);
  }

  private compose(parts: readonly Part[]): number[] {
    return this.tokenizer.compose(parts, this.control);
  }

  private encodeTurnEnd(): number[] {
    const { turn_end: end, user } = this.format;
    const both = this.tokenizer.encode(end + user, true);
    const after = this.tokenizer.encode(user, true);
    const cut = both.length - after.length;
    const ends = cut >= 0 && after.every((id, i) => both[cut + i] === id);
    return ends ? both.slice(0, cut) : this.tokenizer.encode(end, true);
  }
}

/** A text with line feeds alone as line ends, and no white space around it. */
export function tidied(text: string): string {
  return strip(text.replaceAll("\r\n", "\n"));
}

/**
 * Tokens that mean something in this format beyond being text: what begins and ends texts, and its strings' tokens.
 *
 * The tokenizer's special tokens are so anyway. A token of white space alone is not, though it may end a text.
 */
export function controlIds(tokenizer: Tokenizer, format: ChatFormat): ReadonlySet<number> {
  const { system, user, assistant, turn_end, stop, thinking, bos_token_id } = format;
  const strings = [system, user, assistant, turn_end, ...stop];
  if (thinking !== null) strings.push(thinking.open, thinking.skip, thinking.begin, thinking.end);
  const used = strings.flatMap((string) => idsOf(tokenizer, string));
  const found = new Set(used.filter((id) => tokenizer.added.has(id) && id !== tokenizer.unknown));
  const roles = [...eosTokenIds(format), ...(bos_token_id === null ? [] : [bos_token_id])];
  for (const id of roles) if (tokenizer.special.has(id) || strip(tokenizer.decode([id])) !== "") found.add(id);
  return found;
}

/** None where it is written in what the tokenizer has no tokens for, as the usual strings to one of music. */
function idsOf(tokenizer: Tokenizer, string: string): number[] {
  try {
    return tokenizer.encode(string, true);
  } catch (error) {
    if (error instanceof TokenizerError) return [];
    throw error;
  }
}
