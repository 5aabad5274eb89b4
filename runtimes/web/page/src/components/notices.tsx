import { useLayoutEffect, useRef } from "preact/hooks";

import { dismiss, notices, type Notice } from "../state.ts";
import { IconButton } from "./icons.tsx";

/** Errors interrupt a screen reader, the rest waits its turn. */
export function Notices() {
  return (
    <div class="notices">
      {notices.value.map((notice) => (
        <Line key={notice.id} notice={notice} />
      ))}
    </div>
  );
}

function Line({ notice }: { notice: Notice }) {
  const { id, kind, text, action, asked } = notice;
  const run = () => {
    dismiss(id);
    action?.run();
  };
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : "status"} data-notice={id}>
      <p>{text}</p>
      {action && (
        <button type="button" class="text-button" onClick={run}>
          {action.label}
        </button>
      )}
      {asked && <Secret key={text} asked={asked} onUse={() => dismiss(id)} />}
      <IconButton icon="close" label="Dismiss" onClick={() => dismiss(id)} />
    </div>
  );
}

function Secret({ asked: { label, button, use }, onUse }: { asked: NonNullable<Notice["asked"]>; onUse: () => void }) {
  const box = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    if (document.activeElement === document.body) box.current?.focus(); // nobody is doing anything else
  }, []);
  return (
    <form
      class="secret"
      onSubmit={(event) => {
        event.preventDefault();
        onUse();
        use(box.current?.value ?? "");
      }}
    >
      <input ref={box} type="password" aria-label={label} placeholder={label} autocomplete="off" required />
      <button type="submit" class="text-button">
        {button}
      </button>
    </form>
  );
}
