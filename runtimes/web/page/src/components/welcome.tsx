import type { Info, LoadProgress } from "rrwkv-runtime/protocol";

import { describe, megabytes } from "../engine/describe.ts";
import { nameOf } from "../engine/places.ts";
import { cancelLoading, load, model, type Model } from "../model.ts";
import { send } from "../session.ts";
import { dialog } from "../state.ts";
import { Chooser } from "./chooser.tsx";

const SUGGESTIONS = ["Hi! How are you today?", "Tell me a story.", "What do you like to do?"];

/** What stands where no conversation is yet: the model that is there, or how to get one. */
export function Welcome() {
  const now = model.value;
  return (
    <section class="welcome">
      <Body now={now} />
    </section>
  );
}

function Body({ now }: { now: Model }) {
  switch (now.phase) {
    case "starting":
      return null;
    case "none":
    case "failed":
      return (
        <>
          <h2>Choose a model</h2>
          <p class="muted">It runs in this browser; nothing that you write leaves this device.</p>
          <Chooser />
        </>
      );
    case "offered":
      return (
        <>
          <h2>{nameOf(now.place)}</h2>
          <p class="muted">It is downloaded once, and runs in this browser.</p>
          <div class="row">
            <button type="button" class="filled-button" onClick={() => void load(now.place)}>
              Download {megabytes(now.offer.bytes)}
            </button>
            <button type="button" class="text-button" onClick={() => (dialog.value = "model")}>
              Another model
            </button>
          </div>
        </>
      );
    case "loading":
      return <Loading name={nameOf(now.place)} progress={now.progress} />;
    case "ready":
      return <Greeting info={now.info} />;
  }
}

function Greeting({ info }: { info: Info }) {
  return (
    <>
      <h2>What shall we talk about?</h2>
      <p class="muted">{describe(info)}, in this browser. Nothing that you write leaves this device.</p>
      <ul class="suggestions">
        {SUGGESTIONS.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => void send(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

const PHASES: Record<LoadProgress["phase"], string> = {
  fetch: "Downloading",
  read: "Reading",
  compile: "Preparing",
  check: "Checking WebGPU",
};

function Loading({ name, progress }: { name: string; progress: LoadProgress | null }) {
  const phase = progress ? PHASES[progress.phase] : "Starting";
  const counted = progress && progress.of > 0 && (progress.phase === "fetch" || progress.phase === "read");
  return (
    <>
      <h2>{name}</h2>
      <p id="loading" class="muted" role="status">
        {phase}
        {counted && ` ${megabytes(progress.bytes)} of ${megabytes(progress.of)}`}
      </p>
      <progress
        aria-labelledby="loading"
        {...(progress && progress.of > 0 ? { value: progress.bytes / progress.of, max: 1 } : {})}
      />
      <button type="button" class="text-button" onClick={cancelLoading}>
        Cancel
      </button>
    </>
  );
}
