/** Added tokens, which are found in a text before the rest of it is cut: the longest of those that begin first. */

import { stripEnd, stripStart } from "../common/white_space.js";
import type { AddedFields } from "./tokenizer_limits.js";

/** A token in a text, with the white space beside it that it takes. */
export interface Span {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

export class AddedTokens {
  private readonly byFirst = new Map<string, AddedFields[]>();

  /** @param contentOf - as which the text has a token */
  constructor(tokens: Iterable<AddedFields>, contentOf: (token: AddedFields) => string = (token) => token.content) {
    for (const token of tokens) {
      const content = contentOf(token);
      const first = content.charAt(0);
      this.byFirst.set(first, [...(this.byFirst.get(first) ?? []), { ...token, content }]);
    }
    for (const alike of this.byFirst.values()) alike.sort((a, b) => b.content.length - a.content.length);
  }

  /** Those in a text, in their order; one that is not allowed is text, all of it. */
  find(text: string, allowed: (id: number) => boolean = () => true): Span[] {
    const spans: Span[] = [];
    let free = 0; // where the text begins that no token has taken
    for (let at = 0; this.byFirst.size > 0 && at < text.length; at++) {
      const token = this.byFirst.get(text.charAt(at))?.find(({ content }) => text.startsWith(content, at));
      if (token === undefined) continue;
      const next = at + token.content.length;
      if (allowed(token.id) && stands(token, text, at, next)) {
        const start = token.lstrip === true ? Math.max(free, stripEnd(text.slice(0, at)).length) : at;
        const end = token.rstrip === true ? text.length - stripStart(text.slice(next)).length : next;
        spans.push({ id: token.id, start: Math.max(start, free), end });
        free = end;
      }
      at = next - 1;
    }
    return spans;
  }
}

/** Whether it is a word of its own, if it must be one. */
function stands(token: AddedFields, text: string, start: number, end: number): boolean {
  if (token.single_word !== true) return true;
  const before = Array.from(text.slice(Math.max(0, start - 2), start)).at(-1) ?? "";
  const after = Array.from(text.slice(end, end + 2))[0] ?? "";
  return !WORD.test(before) && !WORD.test(after);
}
