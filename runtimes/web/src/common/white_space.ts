/**
 * White space as the bundle format means it: what Unicode calls White_Space, and U+001C to U+001F.
 *
 * JavaScript's own (`\s`, `trim`) has U+FEFF, and lacks U+0085 and U+001C to U+001F.
 */

const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING = new RegExp(`^[${SPACE}]+`);
const ALL = new RegExp(`^[${SPACE}]+$`);
const IS_SPACE = new RegExp(`[${SPACE}]`);
const BLANK_LINES = new RegExp(`\\n(?:[${SPACE.replace("\\t-\\r", "\\t\\v-\\r")}]*\\n)+`, "g");

/** A text without white space at its beginning. */
export function stripStart(text: string): string {
  return text.replace(LEADING, "");
}

/** A text without white space at its end. */
export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && IS_SPACE.test(text.charAt(end - 1))) end--; // a regular expression would try each run of spaces
  return text.slice(0, end);
}

/** A text without white space around it. */
export function strip(text: string): string {
  return stripEnd(stripStart(text));
}

/** Whether there is a text, and it is white space alone. */
export function isSpace(text: string): boolean {
  return ALL.test(text);
}

/** A text in which a line feed followed by blank lines is one line feed. */
export function withoutBlankLines(text: string): string {
  return text.replace(BLANK_LINES, "\n");
}
