/** The page starts: what is kept is shown, then the service worker (which may take a reload), then the model. */

import { render } from "preact";

import { App } from "./components/app.tsx";
import { limits } from "./engine/capabilities.ts";
import { takeKey } from "./engine/key.ts";
import { openDatabase } from "./keeping.ts";
import { openLibrary } from "./library.ts";
import { loadFirst, unlock } from "./model.ts";
import { startOffline } from "./offline.ts";
import { notify } from "./state.ts";

async function start(): Promise<void> {
  takeKey();
  window.addEventListener("hashchange", () => takeKey() && unlock());
  await openDatabase();
  await openLibrary();
  render(<App />, document.getElementById("app") ?? document.body);
  if (await startOffline()) return; // the page loads again, isolated this time
  const { oneThread } = limits();
  if (oneThread) notify({ id: "isolation", kind: "note", text: oneThread });
  await loadFirst();
}

if (!("unsupported" in window)) void start();
