/** Writing conversations to this device. Where that fails the page goes on and says that they are in it alone. */

import { Database, isFull } from "./conversations/database.ts";
import { dismiss, keeping, notify } from "./state.ts";

let db: Database | null = null;

export const database = (): Database | null => db;

export async function openDatabase(): Promise<void> {
  try {
    db = await Database.open();
  } catch {
    keeping.value = "absent";
    const text =
      "This browser keeps nothing for this page: conversations are gone when it is closed. Export those you want.";
    notify({ id: "keeping", kind: "warning", text });
  }
}

/** Do what writes; gives whether it was written. Space that is free again is used again. */
export async function keep(write: (database: Database) => Promise<void>): Promise<boolean> {
  if (!db) return false;
  try {
    await write(db);
  } catch (error) {
    keeping.value = isFull(error) ? "full" : "absent";
    const why = isFull(error) ? "This device's storage is full" : "This browser no longer keeps anything";
    const text = `${why}: what you write now is in this page alone. Delete conversations, or export this one.`;
    notify({ id: "keeping", kind: "warning", text });
    return false;
  }
  if (keeping.value !== "kept") {
    keeping.value = "kept";
    dismiss("keeping");
  }
  return true;
}
