/** What ends a text: strings, looked for in what the model writes, special tokens included. */

import { InputError } from "../errors.js";
import { short } from "../common/reading.js";
import type { Tokenizer } from "../tokenizer.js";

/**
 * Stop strings as a model may write them.
 *
 * Throws InputError for an empty one, or any where there is no text to look for it in.
 */
export function checkStops(stop: unknown, tokenizer: Tokenizer | null): readonly string[] {
  const stops: unknown[] = Array.isArray(stop) ? stop : [stop];
  if (!stops.every((one): one is string => typeof one === "string")) {
    throw new InputError(`stop must be a string or several, not ${short(stop)}`);
  }
  if (stops.includes("")) throw new InputError("a stop string is empty; it would stop at once");
  if (stops.length > 0 && tokenizer === null) {
    throw new InputError("stop strings need a tokenizer, and this bundle has none; give token ids (stop_ids)");
  }
  return tokenizer === null ? [] : writtenForms(stops, tokenizer);
}

/**
 * The strings, and those that hold special tokens also as the model writes them: without the white space that a
 * tokenizer leaves out beside such a token.
 */
export function writtenForms(stops: Iterable<string>, tokenizer: Tokenizer): readonly string[] {
  const forms = new Set<string>();
  for (const stop of stops) {
    forms.add(stop);
    const ids = tokenizer.encode(stop, true);
    if (ids.some((id) => tokenizer.special.has(id))) forms.add(writtenText(ids, tokenizer));
  }
  return [...forms];
}

/** The text of ids, special tokens' own included. */
export function writtenText(ids: Iterable<number>, tokenizer: Tokenizer): string {
  const stream = tokenizer.stream();
  let text = "";
  for (const id of ids) text += stream.push(id) + (tokenizer.special.get(id) ?? "");
  return text + stream.flush();
}

/** Which of the strings begins first in a text, of those the longest, and where; null if none is in it. */
export function first(text: string, strings: Iterable<string>): { at: number; string: string } | null {
  let found: { at: number; string: string } | null = null;
  for (const string of strings) {
    const at = text.indexOf(string);
    const better = found === null || at < found.at || (at === found.at && string.length > found.string.length);
    if (at >= 0 && better) found = { at, string };
  }
  return found;
}

/** How long the beginning of a text is, in which none of the strings is, that cannot be the beginning of one. */
export function certain(text: string, strings: readonly string[]): number {
  const longest = strings.reduce((most, string) => Math.max(most, string.length), 1);
  let held = Math.min(text.length, longest - 1);
  while (held > 0 && !strings.some((string) => string.startsWith(text.slice(-held)))) held--;
  return text.length - held;
}

/**
 * Lets text through up to the first stop string, however it is cut into pieces; O(longest stop) memory.
 *
 * Some text is shown, some (special tokens' own) is not: stop strings are looked for in all of it.
 */
export class StopStrings {
  /** The last characters of all text, as many as the longest string of `remember` has. */
  tail = "";
  /** The stop string found. */
  matched: string | null = null;
  /** Text that came after it in the same piece. */
  rest = "";
  /** Whether text to be shown is in either. */
  cut = false;
  /** What is held, and which of its UTF-16 units are shown. */
  protected text = "";
  protected shown: boolean[] = [];
  private readonly remembered: number;

  constructor(
    protected readonly stops: readonly string[],
    remember: readonly string[] = [],
  ) {
    this.remembered = remember.reduce((most, string) => Math.max(most, string.length), 0);
  }

  /** Text to be shown that may be part of a stop string. */
  get held(): string {
    return this.visible(this.text);
  }

  /**
   * Take a piece of text and, after it, one that is not shown.
   *
   * Gives text to be shown that is certainly not part of a stop string.
   */
  push(piece: string, hidden = ""): string {
    this.take(piece, hidden);
    return this.scan();
  }

  flush(): string {
    return this.letThrough(this.text.length);
  }

  protected take(piece: string, hidden: string): void {
    this.text += piece + hidden;
    this.shown.push(...new Array<boolean>(piece.length).fill(true), ...new Array<boolean>(hidden.length).fill(false));
    if (this.remembered > 0) this.tail = (this.tail + piece + hidden).slice(-this.remembered);
  }

  protected scan(): string {
    const found = first(this.text, this.stops);
    return found === null ? this.letThrough(certain(this.text, this.stops)) : this.end(found.at, found.string);
  }

  protected end(at: number, stop: string): string {
    this.matched = stop;
    this.rest = this.text.slice(at + stop.length);
    const through = this.letThrough(at);
    this.cut = this.shown.includes(true);
    this.text = "";
    this.shown = [];
    return through;
  }

  protected letThrough(count: number): string {
    const through = this.visible(this.text.slice(0, count));
    this.text = this.text.slice(count);
    this.shown = this.shown.slice(count);
    return through;
  }

  /** What is shown of the beginning of the text that is held. */
  protected visible(beginning: string, from = 0): string {
    let text = "";
    for (let i = from; i < beginning.length; i++) if (this.shown[i] === true) text += beginning.charAt(i);
    return text;
  }
}
