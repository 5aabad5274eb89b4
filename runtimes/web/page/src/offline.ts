/**
 * The service worker: it keeps the page for when there is no network, and gives it the headers that isolate it on hosts
 * which send none. For these to hold, the page is loaded again once.
 */

import { scriptUrl } from "./engine/trusted.ts";
import { notify } from "./state.ts";

const TRIED = "rrwkv-isolation-tried";
const PATIENCE = 4000; // milliseconds for a first start; a page without a service worker works too

/** Gives true if the page is being loaded again. */
export async function startOffline(): Promise<boolean> {
  if (!("serviceWorker" in navigator)) return false;
  try {
    const registration = await navigator.serviceWorker.register(scriptUrl("service-worker.js"));
    watch(registration);
    await Promise.race([controlled(), new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  } catch {
    return false; // a browser that is told to keep nothing
  }
  if (window.crossOriginIsolated || !navigator.serviceWorker.controller || tried()) return false;
  location.reload();
  return true;
}

/** Once in a tab: a browser that does not isolate the page then never does. */
function tried(): boolean {
  try {
    if (sessionStorage.getItem(TRIED)) return true;
    sessionStorage.setItem(TRIED, "yes");
    return false;
  } catch {
    return true;
  }
}

async function controlled(): Promise<void> {
  if (navigator.serviceWorker.controller) return;
  await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
}

/** A newer page waits until it is asked for, so that nothing changes under a conversation. */
function watch(registration: ServiceWorkerRegistration): void {
  const offer = () => {
    const { waiting } = registration;
    if (!waiting || !navigator.serviceWorker.controller) return;
    const run = () => {
      navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
      waiting.postMessage("take over");
    };
    notify({
      id: "newer",
      kind: "note",
      text: "A newer version of this page is there.",
      action: { label: "Use it", run },
    });
  };
  offer();
  registration.addEventListener("updatefound", () => {
    registration.installing?.addEventListener("statechange", offer);
  });
}
