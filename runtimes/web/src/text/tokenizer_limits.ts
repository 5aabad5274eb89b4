/** What a `tokenizer.json` may ask for, checked before anything is allocated for it. */

import { brief, parseJson, short } from "../common/reading.js";
import { TokenizerError } from "../errors.js";

const MOST_TOKENS = 1 << 20; // as many as a manifest's vocabulary may have
const MOST_MERGES = 1 << 22;
const MOST_STEPS = 64; // of normalizing, cutting and decoding; real ones have up to a dozen
const LONGEST_PATTERN = 1 << 14;
const LARGEST_GROWTH = 4096; // times that replacements in a row may make a text longer
const STEPS = ["normalizer", "pre_tokenizer", "post_processor", "decoder"] as const;

type Fields = Readonly<Record<string, unknown>>;

/** An added token as the file has it. */
export interface AddedFields {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
  readonly normalized?: boolean;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
}

/** A tokenizer.json that is within the limits. */
export interface TokenizerFields {
  readonly model: Fields & { readonly type?: unknown; readonly vocab?: unknown; readonly unk_token?: unknown };
  readonly added_tokens: readonly AddedFields[];
  readonly normalizer?: Fields | null;
  readonly pre_tokenizer?: Fields | null;
  readonly post_processor?: Fields | null;
  readonly decoder?: Fields | null;
}

/** The file's content. Throws TokenizerError, in words that follow the file's name. */
export function checkTokenizerJson(text: string): TokenizerFields {
  let fields: unknown;
  try {
    fields = parseJson(text);
  } catch (error) {
    throw new TokenizerError(`not a usable tokenizer.json (${brief(error)})`);
  }
  const model = isObject(fields) ? fields.model : null;
  if (!isObject(fields) || !isObject(model)) throw new TokenizerError("not a usable tokenizer.json (it has no model)");
  const added = fields.added_tokens ?? [];
  checkCount("tokens", model.vocab, MOST_TOKENS);
  checkCount("added tokens", added, MOST_TOKENS);
  checkCount("merges", model.merges, MOST_MERGES);
  if (!Array.isArray(added)) throw new TokenizerError("not a usable tokenizer.json (its added tokens are no list)");
  if (isObject(model.vocab)) Object.values(model.vocab).forEach(checkId);
  added.forEach(checkAdded);
  for (const step of STEPS) checkSteps(step, fields[step]);
  return { ...fields, model, added_tokens: added as AddedFields[] };
}

function checkCount(what: string, value: unknown, most: number): void {
  const count = Array.isArray(value) ? value.length : isObject(value) ? Object.keys(value).length : 0;
  if (count > most) throw new TokenizerError(`${count.toLocaleString("en")} ${what} are more than any model has`);
}

function checkId(id: unknown): void {
  if (!Number.isInteger(id) || Number(id) < 0 || Number(id) >= MOST_TOKENS) {
    throw new TokenizerError(`the id ${short(id, 20)} of a token is not one of any model`);
  }
}

function checkAdded(token: unknown): void {
  if (!isObject(token) || typeof token.content !== "string" || token.content === "") {
    throw new TokenizerError("not a usable tokenizer.json (an added token has no content)");
  }
  checkId(token.id);
}

function checkSteps(where: string, value: unknown): void {
  const nodes = [...objects(value)];
  if (nodes.length > MOST_STEPS) {
    throw new TokenizerError(`its ${where} has ${nodes.length} parts, more than any tokenizer's`);
  }
  let growth = 1;
  for (const node of nodes) {
    for (const [name, item] of Object.entries(node)) {
      if (typeof item === "string" && item.length > LONGEST_PATTERN && name !== "precompiled_charsmap") {
        const length = item.length.toLocaleString("en");
        throw new TokenizerError(
          `its ${where} has a ${short(name)} of ${length} characters, longer than any tokenizer's`,
        );
      }
    }
    if (node.type === "Replace" || node.type === "Prepend") {
      const made = [node.content, node.prepend].filter((item) => typeof item === "string");
      growth *= made.reduce((most, item) => Math.max(most, item.length), 1);
    }
  }
  if (growth > LARGEST_GROWTH) {
    throw new TokenizerError(`its ${where} may make a text ${growth.toLocaleString("en")} times as long`);
  }
}

/** Every object within; of templates' tables of special tokens only the table. */
function* objects(value: unknown): Generator<Fields> {
  if (Array.isArray(value)) for (const item of value) yield* objects(item);
  else if (isObject(value)) {
    yield value;
    for (const [name, item] of Object.entries(value)) {
      if (!["single", "pair", "special_tokens"].includes(name)) yield* objects(item);
    }
  }
}

function isObject(value: unknown): value is Fields {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
