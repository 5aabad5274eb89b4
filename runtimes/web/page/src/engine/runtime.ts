/** A worker with the runtime, and the news of its end. */

import { RuntimeClient } from "rrwkv-runtime/client";

import { newId } from "./capabilities.ts";
import { scriptUrl } from "./trusted.ts";

export interface Runtime {
  readonly client: RuntimeClient;
  /** End it; `onEnd` is not called. */
  close(): void;
}

/** onEnd: called if the worker ends by itself: the system ran out of memory, or somebody ended it. */
export function startRuntime(onEnd: () => void): Runtime {
  const name = `rrwkv-${newId()}`;
  const worker = new Worker(scriptUrl("worker.js"), { type: "module", name });
  const client = new RuntimeClient(worker);
  let open = true;
  const ended = () => {
    if (!open) return;
    open = false;
    client.close();
    onEnd();
  };
  worker.addEventListener("error", ended);
  if ("locks" in navigator) void whenFree(name, ended);
  return {
    client,
    close() {
      open = false;
      client.close();
    },
  };
}

/** Waits until the worker holds its lock, and then until it does not. */
async function whenFree(name: string, free: () => void): Promise<void> {
  const held = async () => (await navigator.locks.query()).held?.some((lock) => lock.name === name) ?? false;
  while (!(await held())) await new Promise((resolve) => setTimeout(resolve, 100));
  await navigator.locks.request(name, free);
}
