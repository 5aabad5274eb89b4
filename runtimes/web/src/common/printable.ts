/**
 * Text from files and models as a page or a terminal may show it: no character of it moves, hides or reorders others.
 *
 * What is meant are the control characters (C0 but for newline and tab, DEL, C1, and with them every escape sequence),
 * the line separators U+2028 and U+2029, and the embeddings, overrides and isolates of bidirectional text.
 */

// eslint-disable-next-line no-control-regex -- these are what is looked for
const CONTROLS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;

/** For messages: such characters are written out, as `\x1b`. Newlines and tabs stay. */
export function visible(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** `visible`, and white space of any kind is a single space. */
export function oneLine(text: string): string {
  return visible(text.trim().replace(/\s+/g, " "));
}

/** For a model's text as it comes: such characters are left out. */
export function withoutControls(text: string): string {
  return text.replace(CONTROLS, "");
}
