/**
 * The package `@huggingface/tokenizers`, where it gives what the Rust package gives, and mended where not:
 *
 * - cutting at white space, and byte-level: its classes are JavaScript's, with U+FEFF and without U+0085
 * - byte fallback: broken UTF-8 is a U+FFFD for each byte; a byte order mark is a character
 * - Metaspace: a first token loses all its marks or, with the scheme "never", none
 * - added tokens: they are found by `added_tokens.ts`, which knows where, and whether they must be words of their own
 * - byte-level tokens of other characters than the 256 stand for themselves
 * - WordLevel, which it lacks, is its WordPiece without pieces
 */

import { Tokenizer as Package } from "@huggingface/tokenizers";

import { brief, short } from "../common/reading.js";
import { NoTokens, TokenizerError } from "../errors.js";
import { BYTE_OF_CHARACTER, decodeBytes } from "./text_stream.js";
import type { TokenizerFields } from "./tokenizer_limits.js";

/** What is used of the package's Tokenizer. */
interface Library {
  readonly normalizer: { normalize(text: string): string } | null;
  readonly pre_tokenizer: PreTokenizer | null;
  readonly model: (words: readonly string[]) => readonly (string | undefined)[];
  readonly decoder: Decoder | null;
}

interface PreTokenizer {
  pre_tokenize(text: string, options: { section_index: number }): readonly string[];
  readonly tokenizers?: readonly (PreTokenizer | null)[];
  readonly byte_encoder?: unknown;
  pattern?: RegExp | null;
}

interface Decoder {
  decode(tokens: readonly string[]): string;
  decode_chain(tokens: readonly string[]): readonly string[];
  readonly config: { readonly type?: string; readonly replacement?: string; readonly prepend_scheme?: string };
  readonly decoders?: readonly Decoder[];
}

// GPT-2's, with Unicode's white space.
const BYTE_LEVEL =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const MODELS: readonly unknown[] = ["BPE", "Unigram", "WordPiece", "WordLevel"];
const CUTS: Readonly<Record<string, string>> = { Whitespace: "\\w+|[^\\w\\s]+", WhitespaceSplit: "\\S+" };
const NEVER_A_PIECE = "\uffff\uffff"; // no file of UTF-8 text that people wrote has it

/** A tokenizer's model, and what is around it but for added tokens. */
export class HuggingFace {
  /** Id to token, added tokens too. */
  readonly tokens = new Map<number, string>();
  /** The id that stands for what has no token of its own; null if there is none such. */
  readonly unknown: number | null;
  /** Whether tokens are bytes, each character one. */
  readonly byteLevel: boolean;
  readonly normalizes: boolean;
  private readonly ids = new Map<string, number>();
  private readonly library: Library;

  /** Throws TokenizerError. */
  constructor(fields: TokenizerFields) {
    try {
      this.library = opened(fields);
    } catch (error) {
      throw new TokenizerError(`not a usable tokenizer.json (${brief(error, 200)})`);
    }
    const { vocab, unk_token, unk_id } = fields.model as TokenizerFields["model"] & { readonly unk_id?: unknown };
    for (const { id, content } of fields.added_tokens) this.ids.set(content, id);
    for (const [token, id] of entries(vocab)) this.ids.set(token, id);
    for (const [token, id] of entries(vocab)) this.tokens.set(id, token);
    for (const { id, content } of fields.added_tokens) this.tokens.set(id, content);
    const unknown = typeof unk_token === "string" ? this.ids.get(unk_token) : unk_id;
    this.unknown = typeof unknown === "number" ? unknown : null;
    this.byteLevel = fields.decoder?.type === "ByteLevel";
    this.normalizes = this.library.normalizer !== null;
  }

  normalize(text: string): string {
    return this.library.normalizer?.normalize(text) ?? text;
  }

  /** Ids of normalized text without added tokens. first: nothing is before it. Throws TokenizerError, NoTokens. */
  encode(text: string, first: boolean): number[] {
    if (text === "") return [];
    let tokens: readonly (string | undefined)[];
    try {
      const { pre_tokenizer, model } = this.library;
      tokens = model(pre_tokenizer?.pre_tokenize(text, { section_index: first ? 0 : 1 }) ?? [text]);
    } catch (error) {
      throw new TokenizerError(`the tokenizer cannot encode this text (${brief(error, 200)})`);
    }
    return tokens.map((token) => {
      const id = token === undefined ? undefined : this.ids.get(token);
      if (id === undefined) throw new NoTokens();
      return id;
    });
  }

  /** The text of tokens by their ids; of unknown ids none. */
  decode(ids: readonly number[]): string {
    if (this.byteLevel) return decodeBytes(Uint8Array.from(ids.flatMap((id) => Array.from(this.bytes(id)))));
    const tokens = ids.flatMap((id) => this.tokens.get(id) ?? []);
    try {
      return tokens.length === 0 ? "" : (this.library.decoder?.decode(tokens) ?? tokens.join(" "));
    } catch (error) {
      throw new TokenizerError(`the tokenizer cannot decode these ids (${brief(error, 200)})`);
    }
  }

  /** Of a byte-level token: its bytes; one of other characters than the 256 stands for itself. */
  bytes(id: number): Uint8Array {
    const token = this.tokens.get(id) ?? "";
    const bytes = Array.from(token, (character) => BYTE_OF_CHARACTER.get(character));
    const known = bytes.filter((byte) => byte !== undefined);
    return known.length === bytes.length ? Uint8Array.from(known) : new TextEncoder().encode(token);
  }
}

function* entries(vocab: unknown): Generator<[token: string, id: number]> {
  if (Array.isArray(vocab)) {
    for (const [id, pair] of vocab.entries()) yield [String((pair as unknown[])[0]), id];
  } else for (const [token, id] of Object.entries(vocab ?? {})) yield [token, Number(id)];
}

function opened(fields: TokenizerFields): Library {
  const { normalizer = null, pre_tokenizer = null, decoder = null } = fields;
  // The package takes others for what they look like.
  if (!MODELS.includes(fields.model.type)) throw new Error(`a model of type ${short(fields.model.type)}`);
  const model =
    fields.model.type === "WordLevel"
      ? {
          ...fields.model,
          type: "WordPiece",
          continuing_subword_prefix: NEVER_A_PIECE,
          max_input_chars_per_word: 2 ** 31,
        }
      : fields.model;
  const parts = {
    normalizer,
    pre_tokenizer: withUnicode(pre_tokenizer),
    decoder,
    model,
    post_processor: null,
    added_tokens: [],
  };
  const open = Package as unknown as new (parts: object, config: object) => Library;
  const library = new open(parts, {});
  mendPreTokenizer(library.pre_tokenizer);
  mendDecoder(library.decoder);
  return library;
}

/** The steps of cutting, those of white space as what the package takes for a pattern, with Unicode's classes. */
function withUnicode(step: TokenizerFields["pre_tokenizer"] | null): TokenizerFields["pre_tokenizer"] {
  if (!step) return null;
  const { type, pretokenizers } = step as { type?: unknown; pretokenizers?: unknown };
  if (Array.isArray(pretokenizers)) {
    return { ...step, pretokenizers: (pretokenizers as TokenizerFields["pre_tokenizer"][]).map(withUnicode) };
  }
  const pattern = typeof type === "string" ? CUTS[type] : undefined;
  return pattern === undefined
    ? step
    : { type: "Split", pattern: { Regex: pattern }, behavior: "Removed", invert: true };
}

function mendPreTokenizer(one: PreTokenizer | null): void {
  one?.tokenizers?.forEach(mendPreTokenizer);
  if (one?.byte_encoder !== undefined) one.pattern = BYTE_LEVEL;
}

function mendDecoder(one: Decoder | null): void {
  if (one === null) return;
  one.decoders?.forEach(mendDecoder);
  if (one.config.type === "ByteFallback") one.decode_chain = withoutBytes;
  if (one.config.type === "Metaspace") {
    const { replacement = "\u2581", prepend_scheme = "always" } = one.config;
    one.decode_chain = (tokens) =>
      tokens.map((token, i) => token.replaceAll(replacement, i === 0 && prepend_scheme !== "never" ? "" : " "));
  }
}

/** Tokens in which those of bytes, as `<0x0A>`, are text. */
function withoutBytes(tokens: readonly string[]): string[] {
  const found: string[] = [];
  let bytes: number[] = [];
  const end = (): void => {
    if (bytes.length > 0) found.push(textOf(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9a-fA-F]{2})>$/.exec(token)?.[1];
    if (byte !== undefined) bytes.push(parseInt(byte, 16));
    else {
      end();
      found.push(token);
    }
  }
  end();
  return found;
}

function textOf(bytes: readonly number[]): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}
