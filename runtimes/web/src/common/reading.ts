/** What every reader of other people's files shares: a bound before the work, UTF-8, and one kind of error out of it. */

import { InputError, RRWKVError } from "../errors.js";
import { oneLine } from "./printable.js";

/** Bytes of JSON that are read at most. */
export const LARGEST_JSON = 4 * 2 ** 20;
const DEEPEST = 64;

/** UTF-8 as text, less a byte order mark. what: names it in messages. Throws InputError. */
export function decodeUtf8(data: Uint8Array, what: string): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    throw new InputError(`${what}: not UTF-8 text; convert it first, with an editor`);
  }
  const at = text.indexOf("\0");
  if (at >= 0) throw new InputError(`${what}: a NUL at character ${at}, so it is not UTF-8 text but something binary`);
  return text;
}

/** JSON as a file may hold it: nested at most 64 deep. Throws what is not of this project. */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) throw new Error(`nested more than ${DEEPEST} deep`);
    level = level.flatMap((each): unknown[] => (each !== null && typeof each === "object" ? Object.values(each) : []));
  }
  return value;
}

type ErrorKind = new (message: string) => RRWKVError;

/**
 * Whatever parsing a stranger's data throws within becomes `kind("message (reason)")`; errors of this project go through.
 * To be put around the parsing alone: a mistake in code further on should be seen as what it is.
 */
export function boundary<T>(kind: ErrorKind, message: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RRWKVError) throw error;
    throw new kind(`${message} (${brief(error)})`);
  }
}

/** A JSON file. Throws `kind`, naming it, if it is too large or no JSON. */
export function readJson(data: Uint8Array, what: string, kind: ErrorKind): unknown {
  if (data.length > LARGEST_JSON)
    throw new kind(`${what}: larger than ${LARGEST_JSON >> 20} MiB, the most that is read`);
  try {
    const text = decodeUtf8(data, what);
    return boundary(kind, `${what}: not valid JSON`, () => parseJson(text));
  } catch (error) {
    throw error instanceof InputError ? new kind(error.message) : error;
  }
}

/** A foreign error in one short line. */
export function brief(error: unknown, limit = 120): string {
  if (error instanceof RangeError && /call stack/i.test(error.message)) return "nested too deeply";
  const said = error instanceof Error ? error.message || error.name : String(error);
  const text = oneLine(said.trim().split("\n", 1)[0] ?? "");
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

/** A value for a message: its beginning in one line, whatever it is. */
export function short(value: unknown, limit = 60): string {
  const text = oneLine(written(value));
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

function written(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  try {
    const text: unknown = JSON.stringify(value);
    return typeof text === "string" ? text : String(value);
  } catch {
    return typeof value;
  }
}
