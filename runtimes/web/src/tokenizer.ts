/**
 * Text to token ids and back. Two kinds of tokenizer: Hugging Face `tokenizer.json` and the RWKV World vocabulary.
 *
 * `openTokenizer` gives the bundle's. `Tokenizer.stream()` turns ids into text one by one and never splits a character.
 */

import { decodeUtf8 } from "./common/reading.js";
import { InputError, TokenizerError } from "./errors.js";
import type { Manifest } from "./manifest.js";
import { JsonComposer } from "./text/composer.js";
import { HuggingFace } from "./text/hugging_face.js";
import { checkUnicode, Joined, type Part } from "./text/plain_text.js";
import { ByteStream, decodeBytes, type TextStream, WindowStream } from "./text/text_stream.js";
import { checkTokenizerJson, type TokenizerFields } from "./text/tokenizer_limits.js";
import { parseWorldVocabulary } from "./text/world_vocabulary.js";

/** Bytes of a tokenizer's file that are read at most. */
export const LARGEST_TOKENIZER = 64 << 20;

/** Text to ids and back; `encode` adds no beginning or end token. */
export interface Tokenizer {
  /** Every id that `encode` gives is below this. */
  readonly vocab_size: number;
  /** What special tokens are written as: those that `decode` gives no text for, and `encode` gives if asked to. */
  readonly special: ReadonlyMap<number, string>;
  /** Ids of tokens that were added to the vocabulary, special or not, and are found before the text is cut. */
  readonly added: ReadonlySet<number>;
  /** The id that stands for what has no token of its own; null if there is none such. */
  readonly unknown: number | null;
  /**
   * Ids of a text. special: special tokens written out in it become their ids, else they are text like any other.
   *
   * Throws InputError for text that is not Unicode (lone surrogates), TokenizerError where it has no tokens.
   */
  encode(text: string, special?: boolean): number[];
  /** Ids of parts joined. Special tokens, and the ids of `control`, come out of trusted parts only. */
  compose(parts: readonly Part[], control?: ReadonlySet<number>): number[];
  /** Broken UTF-8 becomes U+FFFD; unknown ids and special tokens become nothing. */
  decode(ids: Iterable<number>): string;
  /**
   * A new stream for text that goes on after these ids, which are whole characters.
   *
   * Its pieces joined are what `decode` gives for `after` and the ids pushed, less what it gives for `after` alone.
   */
  stream(after?: readonly number[]): TextStream;
}

/** The bundle's tokenizer, of its file's bytes. Throws TokenizerError. */
export function openTokenizer(data: Uint8Array, manifest: Manifest): Tokenizer {
  const { type = "", file = "" } = manifest.tokenizer ?? {};
  const tokenizer = tokenizerOf(type, data, file);
  if (tokenizer.vocab_size > manifest.vocab_size) {
    throw new TokenizerError(`${file}: has ${tokenizer.vocab_size} ids, but the model only ${manifest.vocab_size}`);
  }
  return tokenizer;
}

/** A tokenizer file by its type in the manifest. owner: what messages call it. Throws TokenizerError. */
export function tokenizerOf(type: string, data: Uint8Array, owner: string): Tokenizer {
  if (data.length > LARGEST_TOKENIZER) {
    throw new TokenizerError(`${owner}: larger than ${LARGEST_TOKENIZER >> 20} MiB, the most that is read`);
  }
  let text: string;
  try {
    text = decodeUtf8(data, owner);
  } catch (error) {
    throw error instanceof InputError ? new TokenizerError(error.message) : error;
  }
  if (type === "rwkv-world") return new WorldTokenizer(parseWorldVocabulary(text, owner));
  if (type !== "tokenizer.json") {
    throw new TokenizerError(`unknown tokenizer type '${type}'; known: tokenizer.json, rwkv-world`);
  }
  try {
    return new JsonTokenizer(checkTokenizerJson(text));
  } catch (error) {
    throw error instanceof TokenizerError ? new TokenizerError(`${owner}: ${error.message}`) : error;
  }
}

/** A `tokenizer.json`, by the package `@huggingface/tokenizers`. */
export class JsonTokenizer implements Tokenizer {
  readonly vocab_size: number;
  readonly special: ReadonlyMap<number, string>;
  readonly added: ReadonlySet<number>;
  readonly unknown: number | null;
  private readonly model: HuggingFace;
  private readonly composer: JsonComposer;

  /** Throws TokenizerError. */
  constructor(fields: TokenizerFields) {
    const { added_tokens: added } = fields;
    this.model = new HuggingFace(fields);
    this.composer = new JsonComposer(this.model, added);
    this.added = new Set(added.map((token) => token.id));
    this.special = new Map(added.flatMap(({ id, content, special }) => (special === true ? [[id, content]] : [])));
    this.unknown = this.model.unknown;
    this.vocab_size = [...this.model.tokens.keys()].reduce((most, id) => Math.max(most, id + 1), 0);
  }

  encode(text: string, special = false): number[] {
    return this.compose([{ text, trusted: special }]);
  }

  compose(parts: readonly Part[], control: ReadonlySet<number> = new Set()): number[] {
    for (const part of parts) checkUnicode(part.text);
    return this.composer.encode(parts, control);
  }

  decode(ids: Iterable<number>): string {
    return this.model.decode(Array.from(ids).filter((id) => !this.special.has(id)));
  }

  stream(after: readonly number[] = []): TextStream {
    if (!this.model.byteLevel) return new WindowStream((ids) => this.decode(ids), after);
    return new ByteStream((id) => (this.special.has(id) ? new Uint8Array() : this.model.bytes(id)));
  }
}

/**
 * The RWKV World tokenizer: at each byte, the longest token that matches.
 *
 * Source: `TRIE_TOKENIZER` in `rwkv_tokenizer.py` of https://github.com/BlinkDL/ChatRWKV. Here one map holds all tokens,
 * a character a byte, and each pair of bytes knows the lengths that tokens starting with it have, the longest first.
 */
export class WorldTokenizer implements Tokenizer {
  readonly vocab_size: number;
  readonly special: ReadonlyMap<number, string> = new Map();
  readonly added: ReadonlySet<number> = new Set();
  readonly unknown = null;
  private readonly ids = new Map<string, number>();
  private readonly lengths = new Map<string, number[]>();

  constructor(private readonly bytes: ReadonlyMap<number, Uint8Array>) {
    let highest = -1;
    for (const [id, token] of bytes) {
      this.ids.set(String.fromCharCode(...token), id);
      highest = Math.max(highest, id);
    }
    this.vocab_size = highest + 1;
    for (const token of this.ids.keys()) {
      const found = this.lengths.get(token.slice(0, 2)) ?? [];
      if (token.length > 1 && !found.includes(token.length))
        this.lengths.set(token.slice(0, 2), [...found, token.length]);
    }
    for (const found of this.lengths.values()) found.sort((a, b) => b - a);
  }

  encode(text: string): number[] {
    checkUnicode(text);
    return this.cut(bytesAsText(text), () => true);
  }

  compose(parts: readonly Part[], control: ReadonlySet<number> = new Set()): number[] {
    const ids = this.encode(parts.map((part) => part.text).join(""));
    if (!ids.some((id) => control.has(id))) return ids;
    // Shorter tokens in place of those of `control` that are not of trusted parts alone.
    const joined = new Joined(parts.map(({ text, trusted }) => ({ text: bytesAsText(text), trusted })));
    return this.cut(joined.text, (id, at, end) => !control.has(id) || joined.trusts(at, end));
  }

  decode(ids: Iterable<number>): string {
    return decodeBytes(Uint8Array.from(Array.from(ids).flatMap((id) => Array.from(this.bytes.get(id) ?? []))));
  }

  stream(): TextStream {
    const none = new Uint8Array();
    return new ByteStream((id) => this.bytes.get(id) ?? none);
  }

  /** The longest tokens that are allowed, from the left; a byte that is no token alone is left out. */
  private cut(data: string, allowed: (id: number, at: number, end: number) => boolean): number[] {
    const ids: number[] = [];
    for (let at = 0; at < data.length;) {
      let next = at + 1;
      for (const length of [...(this.lengths.get(data.slice(at, at + 2)) ?? []), 1]) {
        const id = at + length <= data.length ? this.ids.get(data.slice(at, at + length)) : undefined;
        if (id === undefined || !allowed(id, at, at + length)) continue;
        ids.push(id);
        next = at + length;
        break;
      }
      at = next;
    }
    return ids;
  }
}

/** The UTF-8 of a text, a character a byte. */
function bytesAsText(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}
