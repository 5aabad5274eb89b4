import { useEffect, useState } from "preact/hooks";

import { titleOf } from "../conversations/conversation.ts";
import { engine } from "../engine/describe.ts";
import { openNew } from "../library.ts";
import { model } from "../model.ts";
import { current, dialog, drawer, spoken } from "../state.ts";
import { Composer } from "./composer.tsx";
import { Icon, IconButton } from "./icons.tsx";
import { ModelDialog } from "./model-dialog.tsx";
import { Notices } from "./notices.tsx";
import { SettingsDialog } from "./settings.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Transcript } from "./transcript.tsx";

const NARROW = "(max-width: 760px)";

export function App() {
  const narrow = useMedia(NARROW);
  return (
    <div class="app">
      <a class="skip" href="#message">
        Go to the message box
      </a>
      <Sidebar narrow={narrow} />
      <main inert={narrow && drawer.value}>
        <Header narrow={narrow} />
        <Notices />
        <Transcript />
        <Composer />
      </main>
      <Spoken />
      {dialog.value === "settings" && <SettingsDialog />}
      {dialog.value === "model" && <ModelDialog />}
    </div>
  );
}

function Header({ narrow }: { narrow: boolean }) {
  return (
    <header class="bar">
      {narrow && <IconButton icon="menu" label="Conversations" onClick={() => (drawer.value = true)} />}
      <h1>{titleOf(current.value)}</h1>
      <button type="button" class="chip" aria-label={`Model: ${status()}`} onClick={() => (dialog.value = "model")}>
        <Icon name="chip" />
        <span>{status()}</span>
      </button>
      <IconButton icon="settings" label="Settings" onClick={() => (dialog.value = "settings")} />
      {narrow && <IconButton icon="plus" label="New conversation" onClick={() => void openNew()} />}
    </header>
  );
}

function status(): string {
  const now = model.value;
  switch (now.phase) {
    case "none":
    case "offered":
      return "none";
    case "starting":
    case "loading":
      return "loading…";
    case "failed":
      return "failed";
    case "ready":
      return engine(now.info);
  }
}

/** Read out when it suits, piece by piece; nobody sees it. */
function Spoken() {
  return (
    <div class="sr-only" aria-live="polite" aria-atomic="false">
      {spoken.value.map((sentence, index) => (
        <p key={index}>{sentence}</p>
      ))}
    </div>
  );
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const change = () => setMatches(list.matches);
    list.addEventListener("change", change);
    return () => list.removeEventListener("change", change);
  }, [query]);
  return matches;
}
