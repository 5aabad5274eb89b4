/**
 * Conversations and their states in IndexedDB. Without it (private windows of some browsers, a full disk) everything
 * goes on in memory, and `kept` says so.
 */

import { openDB, type DBSchema, type IDBPDatabase } from "idb";

import type { Conversation } from "./conversation.ts";

/** The model's state after `turns` turns of a conversation, in the format of a saved state. */
export interface StoredState {
  conversation: string;
  turns: number;
  /** The system text that it was made with; of another one it is no state. */
  system: string;
  modelId: string;
  bundleId: string;
  bytes: Uint8Array<ArrayBuffer>;
}

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
  states: { key: [string, number]; value: StoredState };
  places: { key: string; value: unknown };
}

/** States of the last turns that are kept, so that undo and retry cost nothing after a reload either. */
const STATES_KEPT = 4;

export class Database {
  private constructor(private readonly db: IDBPDatabase<Schema>) {}

  /** Raises what the browser does where it keeps nothing. */
  static async open(): Promise<Database> {
    const db = await openDB<Schema>("rrwkv-chat", 1, {
      upgrade(made) {
        made.createObjectStore("conversations", { keyPath: "id" });
        made.createObjectStore("states", { keyPath: ["conversation", "turns"] });
        made.createObjectStore("places");
      },
    });
    return new Database(db);
  }

  async conversations(): Promise<Conversation[]> {
    const all = await this.db.getAll("conversations");
    return all.sort((a, b) => b.updated - a.updated);
  }

  async conversation(id: string): Promise<Conversation | undefined> {
    return this.db.get("conversations", id);
  }

  async put(conversation: Conversation): Promise<void> {
    await this.db.put("conversations", conversation);
  }

  /** The conversation and the state after its last turn, both or neither; older states than the last few go. */
  async putTurn(conversation: Conversation, state: StoredState | null): Promise<void> {
    const work = this.db.transaction(["conversations", "states"], "readwrite");
    const states = work.objectStore("states");
    const last = conversation.turns.length;
    const { id } = conversation;
    const puts: Promise<unknown>[] = [
      work.objectStore("conversations").put(conversation),
      states.delete(IDBKeyRange.bound([id, last + 1], [id, Infinity])),
    ];
    if (last >= STATES_KEPT) puts.push(states.delete(IDBKeyRange.bound([id, 0], [id, last - STATES_KEPT])));
    if (state) puts.push(states.put(state));
    void Promise.allSettled(puts); // of a transaction that fails, only the end says why
    await work.done;
  }

  async state(conversation: string, turns: number): Promise<StoredState | undefined> {
    return this.db.get("states", [conversation, turns]);
  }

  async remove(id: string): Promise<void> {
    const work = this.db.transaction(["conversations", "states"], "readwrite");
    await Promise.all([
      work.objectStore("conversations").delete(id),
      work.objectStore("states").delete(IDBKeyRange.bound([id, 0], [id, Infinity])),
      work.done,
    ]);
  }

  async place(name: string): Promise<unknown> {
    return this.db.get("places", name);
  }

  async putPlace(name: string, value: unknown): Promise<void> {
    await this.db.put("places", value, name);
  }
}

export function isFull(error: unknown): boolean {
  return error instanceof DOMException && (error.name === "QuotaExceededError" || error.name === "UnknownError");
}
