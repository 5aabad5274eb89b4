import { useLayoutEffect, useRef, useState } from "preact/hooks";

import type { Turn } from "../conversations/conversation.ts";
import { edit, retry, undo } from "../session.ts";
import { busy, current, draft, type Draft } from "../state.ts";
import { IconButton } from "./icons.tsx";
import { Markdown } from "./markdown.tsx";
import { Welcome } from "./welcome.tsx";

const NEAR_THE_END = 80; // pixels from the end that still follow the text

/** The turns. It follows the text unless somebody scrolled up; screen readers hear it from `Spoken`, in sentences. */
export function Transcript() {
  const view = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const { turns, id } = current.value;
  const writing = draft.value;
  useLayoutEffect(() => {
    follows.current = true;
  }, [id, writing === null]);
  useLayoutEffect(() => {
    const element = view.current;
    if (element && follows.current) element.scrollTop = element.scrollHeight;
  });
  const onScroll = () => {
    const element = view.current;
    if (element) follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_THE_END;
  };
  return (
    <div
      class="transcript"
      ref={view}
      onScroll={onScroll}
      role="log"
      aria-live="off"
      aria-label="Conversation"
      tabindex={0}
    >
      <div class="turns">
        {turns.length === 0 && !writing && <Welcome />}
        {turns.map((turn, index) => (
          <Turned key={`${id} ${index}`} turn={turn} index={index} last={index === turns.length - 1 && !writing} />
        ))}
        {writing && <Writing draft={writing} />}
      </div>
    </div>
  );
}

function Turned({ turn, index, last }: { turn: Turn; index: number; last: boolean }) {
  return (
    <article class="turn" aria-label={`Turn ${index + 1}`}>
      <Said text={turn.user} index={index} />
      <Reply thought={turn.thought} answer={turn.answer} open={false} />
      <div class="actions" role="group" aria-label="Reply">
        <Copy text={turn.answer} />
        {last && <IconButton icon="retry" label="Retry" onClick={() => void retry()} disabled={busy.value} />}
        {last && <IconButton icon="undo" label="Undo" onClick={undo} disabled={busy.value} />}
        <p class="facts">{facts(turn)}</p>
      </div>
    </article>
  );
}

function Writing({ draft: { user, thought, answer, reading, tokens, rate } }: { draft: Draft }) {
  return (
    <article class="turn writing" aria-label="Being written" aria-busy="true">
      <Said text={user} index={null} />
      {!thought && !answer && <Waiting reading={reading} />}
      <Reply thought={thought} answer={answer} open={!answer} />
      <p class="facts">{tokens > 0 && `${tokens} tokens · ${rate.toFixed(1)} tokens/s`}</p>
    </article>
  );
}

function Waiting({ reading }: { reading: Draft["reading"] }) {
  const { done, total } = reading ?? { done: 0, total: 0 };
  return (
    <p class="waiting">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {total > 256 ? `reading, ${Math.floor((100 * done) / total)} %` : <span class="sr-only">reading</span>}
    </p>
  );
}

/** What a person said: shown as typed, and editable where the reply is whole. */
function Said({ text, index }: { text: string; index: number | null }) {
  const [edited, setEdited] = useState<string | null>(null);
  if (edited !== null && index !== null) {
    const finish = () => {
      setEdited(null);
      void edit(index, edited);
    };
    return <Editor text={edited} onInput={setEdited} onSend={finish} onCancel={() => setEdited(null)} />;
  }
  return (
    <div class="said">
      {index !== null && (
        <IconButton icon="edit" label="Edit" onClick={() => setEdited(text)} disabled={busy.value} class="quiet" />
      )}
      <div class="bubble">{text}</div>
    </div>
  );
}

interface EditorProps {
  text: string;
  onInput: (text: string) => void;
  onSend: () => void;
  onCancel: () => void;
}

function Editor({ text, onInput, onSend, onCancel }: EditorProps) {
  const box = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    box.current?.focus();
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") onCancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.trim()) onSend();
  };
  return (
    <div class="editor">
      <textarea
        ref={box}
        aria-label="Edit the message"
        rows={Math.min(8, text.split("\n").length + 1)}
        value={text}
        onInput={(event) => onInput(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="row">
        <button type="button" class="text-button" onClick={onCancel}>
          Cancel
        </button>
        <button type="button" class="filled-button" onClick={onSend} disabled={!text.trim()}>
          Send again
        </button>
      </div>
    </div>
  );
}

function Reply({ thought, answer, open }: { thought: string; answer: string; open: boolean }) {
  return (
    <div class="reply">
      {thought && (
        <details class="thought" open={open}>
          <summary>{open ? "Thinking…" : "Thought"}</summary>
          <Markdown text={thought} />
        </details>
      )}
      {answer && <Markdown text={answer} />}
    </div>
  );
}

function Copy({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <IconButton
      icon={copied ? "check" : "copy"}
      label={copied ? "Copied" : "Copy"}
      onClick={() => void copy().catch(() => undefined)}
      disabled={!text}
    />
  );
}

function facts({ tokens, rate, finish }: Turn): string {
  const speed = rate > 0 ? ` · ${rate.toFixed(1)} tokens/s` : "";
  const ended = finish === "length" ? " · cut off at the most tokens" : finish === "stopped" ? " · stopped" : "";
  return tokens > 0 ? `${tokens} ${tokens === 1 ? "token" : "tokens"}${speed}${ended}` : "";
}
