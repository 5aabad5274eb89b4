/** What this browser and this page's address allow. `support.js` has turned away browsers that cannot run it at all. */

export interface Limits {
  /** Why the model runs on one thread; null: it need not. */
  oneThread: string | null;
  /** Why nothing can be kept for the next visit; null: it can. */
  nothingKept: string | null;
}

export function limits(): Limits {
  const secure = window.isSecureContext;
  const remedy = "open it by https:// or on localhost";
  let oneThread: string | null = null;
  if (!window.crossOriginIsolated) {
    const why = secure ? "this page's host does not isolate it" : `this address is not secure (${remedy})`;
    oneThread = `The model runs on one thread, as ${why}: replies come more slowly.`;
  }
  const { storage } = navigator as { storage?: Partial<StorageManager> }; // none where the page is not secure
  const nothingKept = storage?.getDirectory
    ? null
    : `The model is not kept for the next visit${secure ? "" : ` (${remedy})`}.`;
  return { oneThread, nothingKept };
}

/** randomUUID, which pages without https do not have. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
