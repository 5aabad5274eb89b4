/** The list of conversations, and which of them is open. */

import type { Conversation } from "./conversations/conversation.ts";
import { conversations, current } from "./state.ts";

export function listed(id: string): Conversation | undefined {
  return conversations.value.find((conversation) => conversation.id === id);
}

/** A conversation as it is now, in the list and on the page; whoever changes it keeps it. */
export function replace(changed: Conversation): void {
  const others = conversations.value.filter(({ id }) => id !== changed.id);
  conversations.value = [changed, ...others].sort((a, b) => b.updated - a.updated);
  if (current.value.id === changed.id) current.value = changed;
  point();
}

/** The address names what is open, so that a reload shows it again. */
export function point(): void {
  const { id } = current.value;
  const url = new URL(location.href);
  url.hash = listed(id) ? `c=${id}` : "";
  history.replaceState(null, "", url);
}
