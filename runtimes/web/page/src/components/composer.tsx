import { useLayoutEffect, useRef } from "preact/hooks";

import { model, type Model } from "../model.ts";
import { send, stop } from "../session.ts";
import { busy, composed } from "../state.ts";
import { Icon } from "./icons.tsx";

const TALLEST = 200; // pixels; further lines are scrolled

const PLACEHOLDERS: Record<Model["phase"], string> = {
  starting: "The model is being loaded",
  loading: "The model is being loaded",
  ready: "Write a message",
  none: "Choose a model first",
  offered: "Choose a model first",
  failed: "Choose a model first",
};

/** The message box. Enter sends where there is a keyboard, Shift+Enter begins a line; Escape stops the reply. */
export function Composer() {
  const box = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => fit(box.current), [composed.value]);
  const ready = model.value.phase === "ready";
  const submit = () => {
    if (busy.value || !ready || !composed.value.trim()) return;
    const text = composed.value;
    composed.value = "";
    void send(text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && busy.value) stop();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    submit();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label class="sr-only" for="message">
        Message
      </label>
      <textarea
        id="message"
        ref={box}
        rows={1}
        placeholder={PLACEHOLDERS[model.value.phase]}
        value={composed.value}
        onInput={(event) => (composed.value = event.currentTarget.value)}
        onKeyDown={onKeyDown}
        autocomplete="off"
        enterkeyhint="enter"
      />
      {busy.value ? (
        <button type="button" class="round stop" aria-label="Stop" title="Stop (Esc)" onClick={stop}>
          <Icon name="stop" />
        </button>
      ) : (
        <button type="submit" class="round" aria-label="Send" title="Send" disabled={!ready || !composed.value.trim()}>
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}

function fit(box: HTMLTextAreaElement | null): void {
  if (!box) return;
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, TALLEST)}px`;
}
