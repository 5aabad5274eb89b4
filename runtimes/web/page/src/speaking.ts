/** What a screen reader hears of a reply: whole sentences as they come, and not each token. */

import { spoken } from "./state.ts";

const SENTENCE = /[.!?…:](?=\s)|\n/gu;

/** A function of the reply so far, and whether it is done; each call speaks what is new and whole. */
export function speakFrom(): (reply: string, done: boolean) => void {
  let said = 0;
  spoken.value = [];
  return (reply, done) => {
    let end = said;
    for (const match of reply.slice(said).matchAll(SENTENCE)) end = said + match.index + match[0].length;
    if (done) end = reply.length;
    const piece = plain(reply.slice(said, end)).trim();
    said = end;
    if (piece) spoken.value = [...spoken.value, piece];
  };
}

/** Without the signs of Markdown, which are tedious to hear. */
function plain(text: string): string {
  return text
    .replace(/!?\[([^\]]*)\]\([^)]*\)/gu, "$1")
    .replace(/^\s*(?:#+|>|```.*)\s*/gmu, "")
    .replace(/\*\*|__|`/gu, "");
}
