/**
 * What a model writes, as Markdown. marked makes HTML of it and DOMPurify lets through what is listed here: no raw HTML,
 * no images, no forms, no styles. A block that is whole keeps its elements while the text below it grows.
 */

import DOMPurify from "dompurify";
import { Marked, type Token } from "marked";
import { useMemo } from "preact/hooks";
import { memo } from "preact/compat";

const TAGS =
  "a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr input li ol p pre span strong table tbody td th thead tr ul";
const ATTRIBUTES = "align checked class disabled href rel start target type tabindex";

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ text, href }) => escaped(text || href),
    code: ({ text, lang }) => {
      const language = /^[\w+#.-]{1,24}/u.exec(lang ?? "")?.[0] ?? "";
      const named = language ? `<span class="language">${escaped(language)}</span>` : "";
      return `<div class="code">${named}<pre tabindex="0"><code>${escaped(text)}</code></pre></div>`;
    },
  },
});

const purify = DOMPurify(window);
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "INPUT" && (node.getAttribute("type") !== "checkbox" || !node.hasAttribute("disabled"))) {
    node.remove(); // a list of tasks has boxes that are only shown
  }
});

const CLEANED = {
  ALLOWED_TAGS: TAGS.split(" "),
  ALLOWED_ATTR: ATTRIBUTES.split(" "),
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/iu,
  RETURN_TRUSTED_TYPE: true,
} as const;

function escaped(text: string): string {
  return text.replace(/[&<>"']/gu, (character) => `&#${character.codePointAt(0)};`);
}

/** Safe HTML of a block of Markdown. */
function toHtml(token: Token): string {
  return purify.sanitize(marked.parser([token]), CLEANED) as unknown as string; // or a TrustedHTML, which does as well
}

const Block = memo(
  function Block({ token }: { token: Token }) {
    const html = toHtml(token);
    return <div class="block" dangerouslySetInnerHTML={{ __html: html }} />;
  },
  (before, after) => before.token.raw === after.token.raw && before.token.type === after.token.type,
);

export function Markdown({ text }: { text: string }) {
  const tokens = useMemo(() => marked.lexer(text).filter((token) => token.type !== "space"), [text]);
  return (
    <div class="markdown">
      {tokens.map((token, index) => (
        <Block key={index} token={token} />
      ))}
    </div>
  );
}
