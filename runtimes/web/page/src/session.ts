/** The conversation that is open: saying something, and what comes of it. */

import { DEFAULT_SAMPLING } from "rrwkv-runtime/defaults";
import type { Info, Token, TurnEnded, TurnOptions } from "rrwkv-runtime/protocol";

import type { Conversation, Settings, Turn } from "./conversations/conversation.ts";
import { database, keep } from "./keeping.ts";
import { nameOf } from "./engine/places.ts";
import { client, ready, refreshInfo } from "./model.ts";
import { Position } from "./position.ts";
import { listed, replace } from "./shelf.ts";
import { speakFrom } from "./speaking.ts";
import { composed, current, dismiss, draft, notify, type Draft } from "./state.ts";
import type { StoredState } from "./conversations/database.ts";

/** Milliseconds between two drawings of a reply that grows. */
const DRAWN_EVERY = 40;

let position: Position | null = null;
let stopping = new AbortController();
let running: Promise<void> = Promise.resolve();
/** States of the last turns, for where nothing can be kept. */
let recent: StoredState[] = [];
const RECENT = 8;

/** Say something at the conversation's end. */
export function send(text: string): Promise<void> {
  return begin(text, current.value.turns.length);
}

/** Answer the last message anew; until that is done, the old reply stands. */
export function retry(): Promise<void> {
  const { turns } = current.value;
  return begin(turns.at(-1)?.user ?? "", turns.length - 1);
}

/** Say something else in a turn, and go on from there; until that is done, all stays. */
export function edit(turn: number, text: string): Promise<void> {
  return begin(text, turn);
}

/** Take the last turn back; what was said is in the message box again. */
export function undo(): void {
  const { turns } = current.value;
  const last = turns.at(-1);
  if (!last || draft.value) return;
  composed.value = last.user;
  const changed = { ...current.value, turns: turns.slice(0, -1), updated: Date.now() };
  replace(changed);
  void keep((database) => database.putTurn(changed, null));
  document.getElementById("message")?.focus();
}

/** End the reply where it is; what there is of it stays. */
export function stop(): void {
  stopping.abort();
}

/** When the reply that is being written has ended. */
export async function settled(): Promise<void> {
  stop();
  await running;
}

/** Options of a turn, every one of them: what a worker is not told stays as it was. */
export function turnOptions(settings: Settings, info: Info): TurnOptions {
  const { logit_bias, ...preferred } = { ...DEFAULT_SAMPLING, ...info.sampling };
  const { think, maxTokens: max_tokens, seed, sampling } = settings;
  return { ...preferred, ...sampling, think, max_tokens, seed };
}

function begin(user: string, at: number): Promise<void> {
  if (draft.value || !ready() || at < 0) return Promise.resolve();
  stopping = new AbortController();
  draft.value = { user, thought: "", answer: "", reading: null, tokens: 0, rate: 0 };
  const conversation = current.value;
  running = running.then(() => answer(user, at, conversation)); // the turn before may still be on its way to the disk
  return running;
}

async function answer(user: string, at: number, conversation: Conversation): Promise<void> {
  const model = ready();
  if (!model) {
    draft.value = null;
    return;
  }
  const kept = conversation.turns.slice(0, at);
  dismiss("reply");
  if (at < conversation.turns.length) current.value = { ...conversation, turns: kept };
  try {
    const turn = await written(conversation, user, at, model.info);
    const { model_id: modelId, bundle_id: bundleId } = model.info;
    const changed: Conversation = {
      ...latest(conversation), // its settings may have changed meanwhile
      turns: [...kept, turn],
      updated: Date.now(),
      model: { modelId, bundleId, name: nameOf(model.place) },
    };
    replace(changed);
    draft.value = null;
    await keepTurn(changed, modelId, bundleId);
  } catch (error) {
    draft.value = null;
    if (current.value.id === conversation.id) current.value = listed(conversation.id) ?? conversation;
    if (at === conversation.turns.length && !composed.value) composed.value = user;
    position?.forget();
    if (!stopping.signal.aborted && ready()) tellFailure(error as Error);
  }
}

/** One reply, drawn as it comes. */
async function written(conversation: Conversation, user: string, at: number, info: Info): Promise<Turn> {
  const { signal } = stopping;
  const progress = ({ done, of }: { done: number; of: number }) => change({ reading: { done, total: of } });
  if (position?.client !== client()) position = new Position(client(), info, findState);
  const chat = await position.after(at, conversation, { signal, progress });
  await chat.set(turnOptions(conversation.settings, info));
  const stream = chat.send(user, { signal, progress });
  const pieces = new Drawn();
  for await (const token of stream) pieces.add(token);
  return pieces.turn(user, await stream.ended);
}

/** What there is of a reply, put on the page now and then. */
class Drawn {
  private thought = "";
  private answer = "";
  private tokens = 0;
  private began = 0;
  private timer = 0;
  private readonly speak = speakFrom();

  add(token: Token): void {
    if (this.tokens++ === 0) this.began = performance.now();
    this.thought += token.thought;
    this.answer += token.text;
    this.timer ||= window.setTimeout(() => this.draw(), DRAWN_EVERY);
  }

  turn(user: string, { finish, timing }: TurnEnded): Turn {
    clearTimeout(this.timer);
    const { generated_tokens: tokens, generated_seconds: seconds } = timing;
    const answer = this.answer.trim();
    this.speak(answer, true);
    return { user, thought: this.thought.trim(), answer, finish, tokens, rate: seconds > 0 ? tokens / seconds : 0 };
  }

  private draw(): void {
    this.timer = 0;
    const seconds = (performance.now() - this.began) / 1000;
    const { thought, answer, tokens } = this;
    change({ thought, answer, tokens, rate: tokens > 1 ? (tokens - 1) / seconds : 0, reading: null });
    this.speak(answer, false);
  }
}

function change(changed: Partial<Draft>): void {
  if (draft.value) draft.value = { ...draft.value, ...changed };
}

/** The conversation and the state after its last turn. Does not reject: a worker that ends now leaves the text. */
async function keepTurn(conversation: Conversation, modelId: string, bundleId: string): Promise<void> {
  const bytes = await savedAfter(conversation).catch(() => null);
  const now = latest(conversation);
  if (now.turns !== conversation.turns) return; // undone, or deleted, meanwhile
  const { id, system, turns } = conversation;
  const state = bytes && { conversation: id, turns: turns.length, system, modelId, bundleId, bytes };
  const others = recent.filter((other) => other.conversation !== id || other.turns < turns.length);
  recent = [...(state ? [state] : []), ...others].slice(0, RECENT);
  if (!(await keep((database) => database.putTurn(now, state)))) {
    await keep((database) => database.put(now)); // its text may fit where its state does not
  }
  await refreshInfo().catch(() => undefined);
}

async function savedAfter(conversation: Conversation): Promise<Uint8Array<ArrayBuffer> | null> {
  const following = { signal: new AbortController().signal, progress: () => undefined };
  const chat = await position?.after(conversation.turns.length, conversation, following);
  return chat ? new Uint8Array(await chat.save()) : null;
}

/** A conversation as it is on the page now; without turns where it was deleted. */
function latest(conversation: Conversation): Conversation {
  if (current.value.id === conversation.id && !listed(conversation.id)) return current.value;
  return listed(conversation.id) ?? { ...conversation, turns: [] };
}

export async function findState(conversation: string, turns: number): Promise<StoredState | undefined> {
  const here = recent.find((state) => state.conversation === conversation && state.turns === turns);
  return (
    here ??
    (await database()
      ?.state(conversation, turns)
      .catch(() => undefined))
  );
}

function tellFailure(error: Error): void {
  notify({ id: "reply", kind: "error", text: `No reply: ${error.message}` });
}
