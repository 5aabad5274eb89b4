import { useRef } from "preact/hooks";

import { titleOf, type Conversation } from "../conversations/conversation.ts";
import { exportAll, importFile, open, openNew, remove } from "../library.ts";
import { conversations, current, drawer, notify } from "../state.ts";
import { IconButton } from "./icons.tsx";

/** The list of conversations; on a narrow screen a drawer, which cannot be reached while it is closed. */
export function Sidebar({ narrow }: { narrow: boolean }) {
  const shut = narrow && !drawer.value;
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") drawer.value = false;
  };
  return (
    <>
      {narrow && drawer.value && <div class="backdrop" onClick={() => (drawer.value = false)} />}
      <nav class={`sidebar${shut ? " shut" : ""}`} aria-label="Conversations" inert={shut} onKeyDown={onKeyDown}>
        <div class="row spread">
          <IconButton icon="plus" label="New conversation" shown class="wide" onClick={() => void openNew()} />
          {narrow && <IconButton icon="close" label="Close the list" onClick={() => (drawer.value = false)} />}
        </div>
        <ul class="conversations">
          {conversations.value.map((conversation) => (
            <Row key={conversation.id} conversation={conversation} />
          ))}
        </ul>
        <Exchange />
      </nav>
    </>
  );
}

function Row({ conversation }: { conversation: Conversation }) {
  const here = conversation.id === current.value.id;
  const title = titleOf(conversation);
  return (
    <li class={here ? "here" : ""}>
      <button
        type="button"
        class="title"
        aria-current={here ? "page" : undefined}
        onClick={() => void open(conversation)}
      >
        {title}
      </button>
      <IconButton icon="trash" label={`Delete “${title}”`} class="quiet" onClick={() => confirmRemoval(conversation)} />
    </li>
  );
}

function confirmRemoval(conversation: Conversation): void {
  notify({
    id: "removal",
    kind: "warning",
    text: `Delete “${titleOf(conversation)}” from this device?`,
    action: { label: "Delete", run: () => void remove(conversation) },
  });
  drawer.value = false;
}

function Exchange() {
  const input = useRef<HTMLInputElement>(null);
  const none = conversations.value.length === 0;
  return (
    <div class="row exchange">
      <IconButton icon="upload" label="Import" shown onClick={() => input.current?.click()} />
      <IconButton
        icon="download"
        label="Export all"
        shown
        disabled={none}
        onClick={() => void exportAll(conversations.value, false)}
      />
      <input
        ref={input}
        type="file"
        accept="application/json,.json"
        class="hidden"
        aria-label="A file of conversations"
        tabIndex={-1}
        onChange={({ currentTarget: box }) => {
          if (box.files?.[0]) void importFile(box.files[0]);
          box.value = "";
        }}
      />
    </div>
  );
}
