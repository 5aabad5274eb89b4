import { useState } from "preact/hooks";

import type { Settings, Think } from "../conversations/conversation.ts";
import { titleOf } from "../conversations/conversation.ts";
import { change, exportAll } from "../library.ts";
import { model } from "../model.ts";
import { preferences, type Preferences } from "../preferences.ts";
import { current, dialog } from "../state.ts";
import { Dialog } from "./dialog.tsx";
import { IconButton } from "./icons.tsx";
import { Sampling } from "./sampling.tsx";

/** What holds for this conversation, and what for this device. System text and title are taken over on leaving. */
export function SettingsDialog() {
  const { title, system, settings, turns } = current.value;
  const [texts, setTexts] = useState({ title, system });
  const close = () => {
    dialog.value = null;
    if (texts.title !== title || texts.system !== system) change(texts);
  };
  const set = (changed: Partial<Settings>) => change({ settings: { ...current.value.settings, ...changed } });
  return (
    <Dialog title="Settings" onClose={close}>
      <section aria-labelledby="of-conversation">
        <h3 id="of-conversation">This conversation</h3>
        <label>
          <span>Title</span>
          <input
            value={texts.title}
            placeholder={titleOf({ ...current.value, title: "" })}
            maxLength={120}
            onInput={({ currentTarget }) => setTexts({ ...texts, title: currentTarget.value.trim() })}
          />
        </label>
        <label>
          <span>System prompt</span>
          <textarea
            rows={3}
            value={texts.system}
            onInput={({ currentTarget }) => setTexts({ ...texts, system: currentTarget.value })}
          />
          {turns.length > 0 && texts.system !== system && (
            <small>The conversation is read again with it before the next reply.</small>
          )}
        </label>
        <Thinking value={settings.think} onChange={(think) => set({ think })} />
        <Sampling settings={settings} set={set} />
        {turns.length > 0 && <Export />}
      </section>
      <OfDevice />
    </Dialog>
  );
}

function Thinking({ value, onChange }: { value: Think; onChange: (think: Think) => void }) {
  const now = model.value;
  const thinks = now.phase !== "ready" || now.info.thinks;
  return (
    <label>
      <span>Thinking before an answer</span>
      <select value={value} onChange={({ currentTarget }) => onChange(currentTarget.value as Think)}>
        <option value="auto">As the model likes</option>
        <option value="on">Always</option>
        <option value="off">Never</option>
      </select>
      {!thinks && value === "on" && <small>This model was not taught to think; it may not do well.</small>}
    </label>
  );
}

function Export() {
  return (
    <div class="row">
      <IconButton icon="download" label="Export" shown onClick={() => void exportAll([current.value], false)} />
      <IconButton
        icon="download"
        label="Export with the model's state"
        shown
        onClick={() => void exportAll([current.value], true)}
      />
    </div>
  );
}

function OfDevice() {
  const { theme } = preferences.value;
  return (
    <section aria-labelledby="of-device">
      <h3 id="of-device">This device</h3>
      <label>
        <span>Colours</span>
        <select
          value={theme}
          onChange={({ currentTarget: { value } }) =>
            (preferences.value = { ...preferences.value, theme: value as Preferences["theme"] })
          }
        >
          <option value="auto">As the system has them</option>
          <option value="light">Light</option>
          <option value="dark">Dark</option>
        </select>
      </label>
    </section>
  );
}
