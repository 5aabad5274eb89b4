/** The model that is loaded: one worker, one bundle. */

import { signal } from "@preact/signals";
import type { Info, LoadProgress, ProviderChoice } from "rrwkv-runtime/protocol";

import { limits } from "./engine/capabilities.ts";
import { headersFor, isOwn, useKey } from "./engine/key.ts";
import { nameOf, offerAt, placeBeside, sourceOf, type Offer, type Place } from "./engine/places.ts";
import { startRuntime, type Runtime } from "./engine/runtime.ts";
import { database } from "./keeping.ts";
import { preferences } from "./preferences.ts";
import { dismiss, notify } from "./state.ts";

export type Model =
  | { phase: "starting" }
  | { phase: "none" }
  | { phase: "offered"; place: Place; offer: Offer }
  | { phase: "loading"; place: Place; progress: LoadProgress | null }
  | { phase: "ready"; place: Place; info: Info }
  | { phase: "failed"; place: Place; why: string };

/** More than this is not downloaded without being asked for. */
const ASKED_FROM = 100e6;

export const model = signal<Model>({ phase: "starting" });
let runtime: Runtime | null = null;
let loading = new AbortController();

export const ready = (): (Model & { phase: "ready" }) | null => (model.value.phase === "ready" ? model.value : null);

/** The client of the model that is ready. */
export function client(): Runtime["client"] {
  if (!runtime) throw new Error("no model is loaded");
  return runtime.client;
}

/** What was used last, or what lies beside the page. */
export async function loadFirst(): Promise<void> {
  const asked = new URLSearchParams(location.search).get("bundle");
  const last = asked ? null : await lastPlace();
  const place: Place = asked ? { kind: "url", url: new URL(asked, document.baseURI).href } : (last ?? placeBeside());
  return openAt(place, { offered: asked !== null, expected: asked !== null || last !== null });
}

/** Load what failed once more, with another key. */
export function unlock(): void {
  if (model.value.phase === "failed") void openAt(model.value.place, { offered: false, expected: true });
}

/**
 * Load what is at a place, or offer it.
 *
 * - `offered`   however small it is, as where a link names it
 * - `expected`  that nothing is there is an error
 */
async function openAt(place: Place, { offered, expected }: { offered: boolean; expected: boolean }): Promise<void> {
  if (place.kind !== "url" || isArchive(place.url)) return load(place);
  const offer = await offerAt(place.url);
  if (offer === null && !expected) {
    model.value = { phase: "none" };
    return;
  }
  if (offer !== null && offer !== "unreachable" && (offered || offer.bytes > ASKED_FROM)) {
    if (!(await isKept(offer.bundleId))) {
      model.value = { phase: "offered", place, offer };
      return;
    }
  }
  return load(place);
}

/** Load a bundle in place of the one that is loaded; what goes wrong is shown. */
export async function load(place: Place): Promise<void> {
  loading.abort();
  const { signal: stopped } = (loading = new AbortController());
  runtime?.close();
  runtime = startRuntime(() => onEnd(place));
  dismiss("model");
  model.value = { phase: "loading", place, progress: null };
  try {
    const info = await runtime.client.load(sourceOf(place), {
      ...options(),
      signal: stopped,
      progress: (progress) => {
        if (!stopped.aborted) model.value = { phase: "loading", place, progress };
      },
    });
    if (stopped.aborted) return;
    model.value = { phase: "ready", place, info };
    tell(info);
    await remember(place, info);
  } catch (error) {
    if (stopped.aborted || ended()) return;
    runtime.close();
    if ((error as Error).name === "AccessDenied" && place.kind === "url" && isOwn(place.url)) askForKey(place);
    else failed(place, (error as Error).message);
  }
}

export function cancelLoading(): void {
  loading.abort();
  runtime?.close();
  runtime = null;
  model.value = { phase: "none" };
}

export async function refreshInfo(): Promise<void> {
  const now = ready();
  if (!now) return;
  const info = await client().info();
  if (model.value === now) model.value = { ...now, info };
}

function options(): { provider: ProviderChoice; threads?: number; wasm_files: string; kernels: string } {
  const { provider, threads } = preferences.value;
  const files = new URL("runtime/", document.baseURI).href;
  return {
    provider,
    ...(threads && { threads }),
    wasm_files: files,
    kernels: files,
  };
}

function tell(info: Info): void {
  dismiss("keep");
  const { nothingKept } = limits();
  if (info.keep_note) notify({ id: "keep", kind: "warning", text: `The model is not kept: ${info.keep_note}` });
  else if (nothingKept) notify({ id: "keep", kind: "note", text: nothingKept });
  if (!info.has_tokenizer) {
    notify({ id: "model", kind: "error", text: "This bundle has no tokenizer, and a chat needs one." });
  }
}

/** Whether the worker's end was told already. */
function ended(): boolean {
  return model.value.phase === "failed";
}

function onEnd(place: Place): void {
  failed(place, "it stopped, perhaps for want of memory; your conversation is kept");
}

function failed(place: Place, why: string): void {
  model.value = { phase: "failed", place, why };
  const again = preferences.value.provider === "webgpu" ? onWasm(place) : startAgain(place);
  notify({ id: "model", kind: "error", text: `The model ${nameOf(place)} cannot be used: ${why}`, action: again });
}

/** Of this page's own server: the key goes to no other. */
function askForKey(place: Place & { kind: "url" }): void {
  const refused = Object.keys(headersFor(place.url)).length > 0;
  useKey(null);
  const text = refused ? "That is not this server's key." : "This server asks for a key.";
  model.value = { phase: "failed", place, why: text };
  const use = (key: string) => {
    useKey(key);
    unlock();
  };
  notify({ id: "model", kind: refused ? "error" : "note", text, asked: { label: "Key", button: "Open", use } });
}

function startAgain(place: Place): { label: string; run: () => void } {
  return { label: "Start again", run: () => void load(place) };
}

function onWasm(place: Place): { label: string; run: () => void } {
  const run = () => {
    preferences.value = { ...preferences.value, provider: "wasm" };
    void load(place);
  };
  return { label: "Use WebAssembly", run };
}

function isArchive(url: string): boolean {
  return new URL(url).pathname.endsWith(".zip");
}

async function isKept(bundleId: string): Promise<boolean> {
  const asking = startRuntime(() => undefined);
  try {
    return (await asking.client.kept()).some((kept) => kept.bundle_id === bundleId);
  } catch {
    return false;
  } finally {
    asking.close();
  }
}

async function lastPlace(): Promise<Place | null> {
  const place = (await database()?.place("last")) as Place | undefined;
  if (place?.kind !== "directory") return place ?? null;
  const permission = await place.handle.queryPermission?.({ mode: "read" });
  return permission === "granted" ? place : null;
}

/** An address and a folder are opened again; files that were picked cannot be, but what was kept of them. */
async function remember(place: Place, info: Info): Promise<void> {
  const beside = place.kind === "url" && place.url === (placeBeside() as { url: string }).url;
  const picked = place.kind === "files" || place.kind === "archive";
  const kept: Place = { kind: "kept", bundleId: info.bundle_id, name: nameOf(place) };
  const last = beside || (picked && info.keep_note) ? undefined : picked ? kept : place;
  await database()
    ?.putPlace("last", last)
    .catch(() => undefined);
}
