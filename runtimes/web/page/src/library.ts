/** All conversations: opening, changing, deleting, exporting and importing them. */

import { newConversation, shortened, titleOf, type Conversation } from "./conversations/conversation.ts";
import { fromJson, LARGEST_FILE, toJson, type Exchanged } from "./conversations/exchange.ts";
import { database, keep } from "./keeping.ts";
import { findState, settled } from "./session.ts";
import { listed, point, replace } from "./shelf.ts";
import { composed, conversations, current, drawer, notify, spoken } from "./state.ts";

export async function openLibrary(): Promise<void> {
  conversations.value =
    (await database()
      ?.conversations()
      .catch(() => [])) ?? [];
  const id = new URLSearchParams(location.hash.slice(1)).get("c");
  const there = id ? listed(id) : undefined;
  if (there) current.value = there;
}

/** Show another conversation; a reply that is being written ends. */
export async function open(conversation: Conversation): Promise<void> {
  await settled();
  current.value = listed(conversation.id) ?? conversation;
  drawer.value = false;
  composed.value = "";
  spoken.value = [];
  point();
  document.getElementById("message")?.focus();
}

export function openNew(): Promise<void> {
  return open(newConversation(current.value));
}

/** Change what is open, but for its turns. One without turns is kept from its first turn on. */
export function change(changed: Partial<Pick<Conversation, "title" | "system" | "settings">>): void {
  const conversation = { ...current.value, ...changed };
  if (!listed(conversation.id)) {
    current.value = conversation;
    return;
  }
  replace(conversation);
  void keep((database) => database.put(conversation));
}

export async function remove(conversation: Conversation): Promise<void> {
  if (current.value.id === conversation.id) await open(newConversation(conversation));
  conversations.value = conversations.value.filter(({ id }) => id !== conversation.id);
  await keep((database) => database.remove(conversation.id));
}

export async function removeAll(): Promise<void> {
  for (const conversation of conversations.value) await remove(conversation);
}

/** A download of conversations, each with the state after its last turn if that is wanted. */
export async function exportAll(chosen: readonly Conversation[], withStates: boolean): Promise<void> {
  const found = async (conversation: Conversation): Promise<Exchanged> => ({
    conversation,
    state: withStates ? ((await findState(conversation.id, conversation.turns.length)) ?? null) : null,
  });
  const json = toJson(await Promise.all(chosen.map(found)));
  const [first] = chosen;
  const name = chosen.length === 1 && first ? fileName(titleOf(first)) : "conversations";
  download(new Blob([json], { type: "application/json" }), `${name}.json`);
}

export async function importFile(file: File): Promise<void> {
  try {
    if (file.size > LARGEST_FILE) throw new Error("this file is too large to be one that was exported here");
    const read = fromJson(await file.text());
    for (const { conversation, state } of read) {
      replace(conversation);
      await keep((database) => database.putTurn(conversation, state));
    }
    const count = read.length === 1 ? "1 conversation" : `${read.length} conversations`;
    notify({ id: "import", kind: "note", text: `Imported ${count}.` });
    if (read[0]) await open(read[0].conversation);
  } catch (error) {
    notify({ id: "import", kind: "error", text: `${file.name}: ${(error as Error).message}` });
  }
}

function fileName(title: string): string {
  return shortened(title.replace(/[^\p{L}\p{N} _-]/gu, "").trim(), 40).replaceAll(" ", "-") || "conversation";
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
