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
  const { id, kind, text, action } = notice;
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
      <IconButton icon="close" label="Dismiss" onClick={() => dismiss(id)} />
    </div>
  );
}
