/** The page starts: isolation first, as it may take a reload, then what is kept, then the model. */

import { render } from "preact";

import { App } from "./components/app.tsx";
import { limits } from "./engine/capabilities.ts";
import { openDatabase } from "./keeping.ts";
import { openLibrary } from "./library.ts";
import { loadFirst } from "./model.ts";
import { startOffline } from "./offline.ts";
import { notify } from "./state.ts";

async function start(): Promise<void> {
  if (await startOffline()) return; // the page loads again, isolated this time
  await openDatabase();
  await openLibrary();
  render(<App />, document.getElementById("app")!);
  const { oneThread } = limits();
  if (oneThread) notify({ id: "isolation", kind: "note", text: oneThread });
  await loadFirst();
}

if (!("unsupported" in window)) void start();
