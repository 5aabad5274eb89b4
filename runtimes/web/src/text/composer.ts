/** Encodes parts with a `tokenizer.json`: special tokens, and control tokens of a chat format, of trusted ones only. */

import { strip, stripEnd, stripStart } from "../common/white_space.js";
import { AddedTokens } from "./added_tokens.js";
import type { HuggingFace } from "./hugging_face.js";
import { Joined, type Part } from "./plain_text.js";
import type { AddedFields } from "./tokenizer_limits.js";

/** A token, and where it is in the text: exactly if it is an added one, else within these characters. */
interface Found {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

type Allowed = (id: number) => boolean;

export class JsonComposer {
  private readonly special: ReadonlySet<number>;
  private readonly added: ReadonlyMap<number, AddedFields>;
  private readonly verbatim: AddedTokens; // found in the text as it is
  private readonly normalized: AddedTokens; // found in normalized text

  constructor(
    private readonly model: HuggingFace,
    added: readonly AddedFields[],
  ) {
    this.special = new Set(added.flatMap((token) => (token.special === true ? [token.id] : [])));
    this.added = new Map(added.map((token) => [token.id, token]));
    const isNormalized = (token: AddedFields): boolean =>
      model.normalizes && (token.normalized ?? token.special !== true);
    this.verbatim = new AddedTokens(added.filter((token) => !isNormalized(token)));
    this.normalized = new AddedTokens(added.filter(isNormalized), (token) => model.normalize(token.content));
  }

  /** Ids of the parts joined; those of special tokens, and of `control`, out of trusted parts only. */
  encode(parts: readonly Part[], control: ReadonlySet<number>): number[] {
    const joined = new Joined(parts);
    const found = this.found(joined.text, 0, () => true);
    const ids = found.map(({ id }) => id);
    // What stands for unknown words is no control token by being special, or no unknown word could be written.
    const forbidden = new Set(control);
    for (const id of this.special) if (id !== this.model.unknown) forbidden.add(id);
    if (joined.trusted || !ids.some((id) => forbidden.has(id))) return ids;
    if (this.placed(joined.text, found, forbidden).every(({ start, end }) => joined.trusts(start, end))) return ids;
    return this.plain(joined, forbidden);
  }

  /** The tokens of a text that begins at `offset`; added ones that are not allowed are text. */
  private found(text: string, offset: number, allowed: Allowed): Found[] {
    const found: Found[] = [];
    let at = 0;
    for (const span of [...this.verbatim.find(text, allowed), null]) {
      const end = span?.start ?? text.length;
      if (at < end) found.push(...this.section(text.slice(at, end), offset + at, allowed));
      if (span === null) break;
      found.push({ id: span.id, start: offset + span.start, end: offset + span.end });
      at = span.end;
    }
    return found;
  }

  private section(text: string, offset: number, allowed: Allowed): Found[] {
    const normal = this.model.normalize(text);
    const place = { start: offset, end: offset + text.length };
    const ids: number[] = [];
    let at = 0;
    for (const span of [...this.normalized.find(normal, allowed), null]) {
      ids.push(...this.model.encode(normal.slice(at, span?.start), offset === 0 && at === 0));
      if (span === null) break;
      ids.push(span.id);
      at = span.end;
    }
    return ids.map((id) => ({ id, ...place }));
  }

  /** Those of these ids, with their places as exactly as can be told: a token of the model by its text. */
  private placed(text: string, found: readonly Found[], ids: ReadonlySet<number>): Found[] {
    let seen = 0; // up to where tokens of a section were found
    return found.flatMap((one) => {
      if (!ids.has(one.id)) return [];
      const written = this.written(one.id);
      const from = Math.max(seen, one.start);
      const at = written === "" ? -1 : text.indexOf(written, from);
      if (at < 0 || at + written.length > one.end) return [one];
      seen = at + written.length;
      return [{ id: one.id, start: at, end: seen }];
    });
  }

  private written(id: number): string {
    const token = this.added.get(id)?.content;
    return token ?? (this.model.byteLevel ? this.model.decode([id]) : (this.model.tokens.get(id) ?? ""));
  }

  /** Ids in which forbidden ones are of trusted parts; where others write them they are characters. */
  private plain(joined: Joined, forbidden: ReadonlySet<number>): number[] {
    const ids: number[] = [];
    let at = 0;
    for (const meant of [...this.meant(joined, forbidden), null]) {
      const end = meant?.start ?? joined.text.length;
      if (at < end) ids.push(...this.text(joined.text.slice(at, end), at, forbidden));
      if (meant === null) break;
      ids.push(meant.id);
      at = Math.max(at, meant.end);
    }
    return ids;
  }

  /** The forbidden tokens of trusted parts, with the white space beside them that they take. */
  private meant(joined: Joined, forbidden: ReadonlySet<number>): Found[] {
    return joined.parts.flatMap((part) => {
      if (!part.trusted) return [];
      const found = this.found(part.text, 0, () => true);
      return this.placed(part.text, found, forbidden).flatMap(({ id, start, end }) => {
        const content = strip(part.text.slice(start, end)) || part.text.slice(start, end);
        if (content !== this.written(id)) return []; // of what came out of the whole section nobody can tell which
        const from = part.start + part.text.indexOf(content, start);
        return [this.stretched(joined.text, id, from, from + content.length)];
      });
    });
  }

  private stretched(text: string, id: number, start: number, end: number): Found {
    const { lstrip = false, rstrip = false } = this.added.get(id) ?? {};
    const from = lstrip ? stripEnd(text.slice(0, start)).length : start;
    return { id, start: from, end: rstrip ? text.length - stripStart(text.slice(end)).length : end };
  }

  /** Ids of text without forbidden ones: a word of the model that is one is encoded in pieces. */
  private text(text: string, offset: number, forbidden: ReadonlySet<number>): number[] {
    const found = this.found(text, offset, (id) => !forbidden.has(id));
    return found.flatMap(({ id }) => (forbidden.has(id) ? this.inPieces(this.written(id), forbidden) : [id]));
  }

  /** Ids of a word that must not be one token; what is one whatever is done is left out. */
  private inPieces(word: string, forbidden: ReadonlySet<number>): number[] {
    const [head = "", ...tail] = Array.from(word);
    const halves = tail.length > 0 ? [head, tail.join("")] : [];
    return halves.flatMap((half) => {
      const found = this.found(half, 0, (id) => !forbidden.has(id));
      return found.flatMap(({ id }) => (forbidden.has(id) ? [] : [id]));
    });
  }
}
