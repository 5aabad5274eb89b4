/** What the page shows. Components read it, `session.ts` and `model.ts` change it. */

import { computed, signal } from "@preact/signals";

import { newConversation, type Conversation } from "./conversations/conversation.ts";

/** A reply that is being written. */
export interface Draft {
  user: string;
  thought: string;
  answer: string;
  /** Reading the prompt comes first: tokens read, and how many there are. */
  reading: { done: number; total: number } | null;
  tokens: number;
  rate: number;
}

export interface Notice {
  id: string;
  kind: "error" | "warning" | "note";
  text: string;
  action?: { label: string; run: () => void };
  /** A secret that is asked for. */
  asked?: { label: string; button: string; use: (secret: string) => void };
}

/** Whether conversations are kept on this device; `full` and `absent`: in this page only. */
export type Keeping = "kept" | "full" | "absent";

export const conversations = signal<Conversation[]>([]);
export const current = signal<Conversation>(newConversation());
export const draft = signal<Draft | null>(null);
export const notices = signal<Notice[]>([]);
export const keeping = signal<Keeping>("kept");
export const drawer = signal(false);
export const dialog = signal<"settings" | "model" | null>(null);
/** Sentences of the reply, for screen readers. */
export const spoken = signal<string[]>([]);
/** Puts text into the message box. */
export const composed = signal("");

export const busy = computed(() => draft.value !== null);

/** A notice of an id takes the place of an earlier one. */
export function notify(notice: Notice): void {
  notices.value = [...notices.value.filter((other) => other.id !== notice.id), notice];
}

export function dismiss(id: string): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
