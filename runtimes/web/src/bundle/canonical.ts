/**
 * JSON in the one form of RFC 8785 (JSON Canonicalization Scheme), so that every language hashes the same text.
 *
 * Numbers and strings are as JavaScript writes them, and its strings compare by their UTF-16 code units.
 */

/** The text of a value as `JSON.parse` gives it. Throws for what has no such form: infinity, half a surrogate pair. */
export function canonicalJson(value: unknown): string {
  if (typeof value === "string") return string(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new Error("a number that is not finite");
    return JSON.stringify(value);
  }
  if (value === null || typeof value === "boolean") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object") throw new Error(`${typeof value} has no place in JSON`);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, item]) => `${string(name)}:${canonicalJson(item)}`).join(",")}}`;
}

function string(text: string): string {
  if (/\p{Surrogate}/u.test(text)) throw new Error("half a surrogate pair");
  return JSON.stringify(text);
}
