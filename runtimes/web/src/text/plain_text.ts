/**
 * Text of several origins: special tokens come out of trusted parts only.
 *
 * A tokenizer reads `<|im_end|>` as the token that ends a turn, whoever wrote it; a person who writes it could end turns
 * and forge others. So text is composed of parts: in a trusted one (a chat format's own strings) special tokens are
 * tokens; in others they are the characters they are written with. Parts are still encoded as one text, so that merges
 * across them stay: without special tokens in the others, the ids are those of the parts joined.
 */

import { stripEnd, stripStart } from "../common/white_space.js";
import { InputError } from "../errors.js";

/** Some text, and whether special tokens in it are meant. */
export interface Part {
  readonly text: string;
  readonly trusted: boolean;
}

/** A part, and where it is in the parts joined. */
interface Placed extends Part {
  readonly start: number;
}

/** Parts one after another, and who wrote which characters. */
export class Joined {
  /** Neighbours of one origin are one. */
  readonly parts: readonly Placed[];
  readonly text: string;

  constructor(parts: Iterable<Part>) {
    const joined: Placed[] = [];
    let text = "";
    for (const part of parts) {
      if (part.text === "") continue;
      const last = joined.at(-1);
      if (last?.trusted === part.trusted) joined[joined.length - 1] = { ...last, text: last.text + part.text };
      else joined.push({ ...part, start: text.length });
      text += part.text;
    }
    this.parts = joined;
    this.text = text;
  }

  get trusted(): boolean {
    return this.parts.every((part) => part.trusted);
  }

  /** Whether the characters start..end-1 are of one trusted part; white space around them may be of others. */
  trusts(start: number, end: number): boolean {
    const all = this.text.slice(start, end);
    const inner = stripStart(all);
    // Some special tokens take the white space beside them.
    const from = inner === "" ? start : end - inner.length;
    const to = inner === "" ? end : from + stripEnd(inner).length;
    const part = this.parts.find((one) => from < one.start + one.text.length);
    return part !== undefined && part.trusted && to <= part.start + part.text.length;
  }
}

/** Throws InputError for text that is not Unicode. */
export function checkUnicode(text: string): void {
  const at = text.search(/\p{Surrogate}/u);
  if (at >= 0) throw new InputError(`the text has a lone surrogate at character ${at}; it is not valid Unicode`);
}
