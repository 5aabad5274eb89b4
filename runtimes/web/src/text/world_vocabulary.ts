/**
 * The RWKV World vocabulary, as id to bytes; a line has `<id> <Python literal> <length>`.
 *
 * Token 0 ends a text and has none of its own: where a file names it (`<s>`), that name is left out, so that no text can
 * write it.
 */

import { brief } from "../common/reading.js";
import { TokenizerError } from "../errors.js";

const LONGEST_LINE = 4096;
const LARGEST_ID = 2 ** 24;
const LINE = /^([0-9]{1,8}) (.+) ([0-9]{1,4})$/s;
const LITERAL = /^([bB]?)(["'])(.*)\2$/s;
const ESCAPE = /\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\s\S]?)/g;
const MEANING: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "\\": "\\", "'": "'", '"': '"' };

/** id to bytes. owner: what messages call the file. Throws TokenizerError naming the line. */
export function parseWorldVocabulary(text: string, owner: string): Map<number, Uint8Array> {
  const vocabulary = new Map<number, Uint8Array>();
  const seen = new Set<string>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "" || line === "\r") continue;
    const fail = (why: string): never => {
      throw new TokenizerError(`${owner}: line ${index + 1}: ${why}`);
    };
    const { id, token } = parsed(line.replace(/\r$/, ""), fail);
    const key = token.join();
    if (vocabulary.has(id) || seen.has(key)) fail("the id or the token appears a second time");
    if (id >= LARGEST_ID) fail(`the id ${id} is out of range`);
    if (id !== 0 || token.length === 1) {
      vocabulary.set(id, token);
      seen.add(key);
    }
  }
  for (let byte = 0; byte < 256; byte++) {
    if (!seen.has(String(byte)))
      throw new TokenizerError(`${owner}: no token for the byte ${byte}; every byte needs one`);
  }
  if (vocabulary.has(0)) {
    throw new TokenizerError(`${owner}: token 0 is one of the bytes, but it ends a text; the first byte has id 1`);
  }
  return vocabulary;
}

function parsed(line: string, fail: (why: string) => never): { id: number; token: Uint8Array } {
  const [, id, literal, length] = (line.length <= LONGEST_LINE ? LINE.exec(line) : null) ?? [];
  if (id === undefined || literal === undefined) return fail("not of the form `<id> <literal> <length>`");
  try {
    const token = bytesOf(literal);
    if (token.length !== Number(length)) fail(`the literal is not text or bytes of length ${length ?? ""}`);
    if (token.length === 0) fail("a token is empty");
    return { id: Number(id), token };
  } catch (error) {
    if (error instanceof TokenizerError) throw error;
    return fail(brief(error));
  }
}

/** What a Python literal of text or bytes stands for, text in UTF-8. */
function bytesOf(literal: string): Uint8Array {
  const [, prefix, quote = "", inner] = LITERAL.exec(literal) ?? [];
  if (inner === undefined) throw new Error("not a literal of text or bytes");
  if (new RegExp(`(?<!\\\\)(?:\\\\\\\\)*${quote}`).test(inner))
    throw new Error("a literal that ends before the line does");
  const isBytes = prefix !== "";
  const text = inner.replace(ESCAPE, (whole, escape: string) => {
    if (/^[xuU]./.test(escape) && !(isBytes && !escape.startsWith("x"))) {
      return String.fromCodePoint(parseInt(escape.slice(1), 16));
    }
    const meaning = MEANING[escape];
    if (meaning === undefined) throw new Error(`an escape that a vocabulary has not, ${whole}`);
    return meaning;
  });
  if (isBytes) {
    if (/[^\0-\xff]/.test(text)) throw new Error("bytes that are none");
    return Uint8Array.from(text, (character) => character.charCodeAt(0));
  }
  if (/\p{Surrogate}/u.test(text)) throw new Error("half a surrogate pair");
  return new TextEncoder().encode(text);
}
