/**
 * The key that this page's server may ask for (`rrwkv serve --api-key`): from the address, `#key=…`, which is then without
 * it, or from a person. It is kept as long as the tab is open, and sent for files of this page's own origin alone.
 */

const NAME = "rrwkv-key";
const IN_ADDRESS = /(?:^|&)key=([^&]*)/u;

let key = kept();

/** Take the key out of the address; whether there was one. */
export function takeKey(): boolean {
  const url = new URL(location.href);
  const found = IN_ADDRESS.exec(url.hash.slice(1));
  if (!found) return false;
  url.hash = url.hash.slice(1).replace(IN_ADDRESS, "").replace(/^&/u, "");
  history.replaceState(null, "", url);
  useKey(decoded(found[1] ?? ""));
  return true;
}

/** null: no longer any. */
export function useKey(given: string | null): void {
  key = given?.replace(/\p{Cc}/gu, "").trim() ?? ""; // no header holds a control character
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch {
    // it holds for this page alone
  }
}

export function isOwn(url: string): boolean {
  return new URL(url).origin === location.origin;
}

/** What requests to an address carry: the key, to this page's own server. */
export function headersFor(url: string): Record<string, string> {
  return key && isOwn(url) ? { Authorization: `Bearer ${bytes(key)}` } : {};
}

/** Its UTF-8, a character for each byte, as headers take it. */
function bytes(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function kept(): string {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
