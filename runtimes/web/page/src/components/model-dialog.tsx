import { useEffect, useState } from "preact/hooks";
import type { Info, ProviderChoice } from "rrwkv-runtime/protocol";

import { limits } from "../engine/capabilities.ts";
import { describe, engine, measuredMemory, megabytes } from "../engine/describe.ts";
import { nameOf } from "../engine/places.ts";
import { load, model } from "../model.ts";
import { preferences } from "../preferences.ts";
import { dialog } from "../state.ts";
import { Chooser } from "./chooser.tsx";
import { Dialog } from "./dialog.tsx";

/** The model that is loaded, what runs it, and another one. */
export function ModelDialog() {
  const now = model.value;
  return (
    <Dialog title="Model" onClose={() => (dialog.value = null)}>
      {now.phase === "ready" && <Facts name={nameOf(now.place)} info={now.info} />}
      <Engine />
      <section aria-labelledby="another">
        <h3 id="another">Another model</h3>
        <Chooser />
      </section>
    </Dialog>
  );
}

function Facts({ name, info }: { name: string; info: Info }) {
  const { memory, timing, provider_note: note } = info;
  const { oneThread, nothingKept } = limits();
  const used = useMemory();
  const rate = timing && timing.generated_seconds > 0 ? timing.generated_tokens / timing.generated_seconds : null;
  const read = timing && timing.prompt_seconds > 0 ? timing.prompt_tokens / timing.prompt_seconds : null;
  return (
    <section aria-labelledby="loaded">
      <h3 id="loaded">{name}</h3>
      <dl class="facts-list">
        <Fact name="Model" value={describe(info)} />
        <Fact name="Runs on" value={engine(info)} />
        <Fact name="Kernels" value={info.kernels === null ? "onnxruntime's" : `ours (${info.kernels})`} />
        <Fact name="Files" value={megabytes(memory.files)} />
        <Fact name="State of a conversation" value={megabytes(memory.state)} />
        <Fact name="Memory of this page" value={used === null ? "not told by this browser" : megabytes(used)} />
        {memory.heap !== null && <Fact name="Of it, the engine" value={megabytes(memory.heap)} />}
        {rate !== null && <Fact name="Last reply" value={`${rate.toFixed(1)} tokens/s`} />}
        {read !== null && <Fact name="Last message read" value={`${read.toFixed(0)} tokens/s`} />}
      </dl>
      {[note, oneThread, nothingKept].map((text) => text && <p class="muted">{text}</p>)}
    </section>
  );
}

/** Bytes, once they are measured; null before, and where they are not. */
function useMemory(): number | null {
  const [used, setUsed] = useState<number | null>(null);
  useEffect(() => {
    void measuredMemory().then(setUsed);
  }, []);
  return used;
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

const MOST_THREADS = 16;

function Engine() {
  const { provider, threads } = preferences.value;
  const set = (changed: Partial<typeof preferences.value>) => {
    preferences.value = { ...preferences.value, ...changed };
    const now = model.value;
    if (now.phase === "ready" || now.phase === "failed") void load(now.place);
  };
  const most = Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
  return (
    <section aria-labelledby="engine">
      <h3 id="engine">Engine</h3>
      <div class="row">
        <label class="grow">
          <span>Runs on</span>
          <select
            value={provider}
            onChange={({ currentTarget }) => set({ provider: currentTarget.value as ProviderChoice })}
          >
            <option value="auto">What suits this device</option>
            <option value="wasm">WebAssembly</option>
            <option value="webgpu">WebGPU</option>
          </select>
        </label>
        <label class="grow">
          <span>Threads</span>
          <select
            value={String(threads)}
            disabled={!window.crossOriginIsolated}
            onChange={({ currentTarget }) => set({ threads: Number(currentTarget.value) })}
          >
            <option value="0">As many as are worth it</option>
            {Array.from({ length: most }, (_, index) => (
              <option key={index} value={String(index + 1)}>
                {index + 1}
              </option>
            ))}
          </select>
        </label>
      </div>
    </section>
  );
}
