/** Conversations as a JSON file, with their states or without; what is read back is a stranger's and checked. */

import type { Conversation, SamplingOptions, Settings, Turn } from "./conversation.ts";
import { DEFAULT_SETTINGS } from "./conversation.ts";
import { newId } from "../engine/capabilities.ts";
import type { StoredState } from "./database.ts";

const FORMAT = "rrwkv-conversations";
const VERSION = 1;
const MOST_CONVERSATIONS = 10_000;
const MOST_TURNS = 100_000;
const LONGEST_TEXT = 4_000_000;
export const LARGEST_FILE = 256 * 2 ** 20;

export interface Exchanged {
  conversation: Conversation;
  state: StoredState | null;
}

export class ImportError extends Error {}

export function toJson(conversations: readonly Exchanged[]): string {
  const written = conversations.map(({ conversation, state }) => ({
    ...conversation,
    ...(state && {
      state: { turns: state.turns, modelId: state.modelId, bundleId: state.bundleId, base64: toBase64(state.bytes) },
    }),
  }));
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations: written }, null, 1);
}

/** New ids, so that nothing that is there is overwritten. Raises ImportError, in words for a person. */
export function fromJson(text: string): Exchanged[] {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw new ImportError("this file is not JSON; choose one that was exported here");
  }
  const file = object(read, "the file");
  if (file.format !== FORMAT) throw new ImportError("this file holds no conversations; choose one exported here");
  if (file.version !== VERSION) throw new ImportError("this file was exported by another version of the page");
  return list(file.conversations, MOST_CONVERSATIONS, "conversations").map(oneOf);
}

function oneOf(value: unknown): Exchanged {
  const given = object(value, "a conversation");
  const id = newId();
  const turns = list(given.turns, MOST_TURNS, "turns").map(turnOf);
  const model = given.model == null ? null : modelOf(object(given.model, "model"));
  const conversation: Conversation = {
    id,
    title: string(given.title, "title"),
    created: number(given.created, "created"),
    updated: Date.now(),
    system: string(given.system, "system"),
    settings: settingsOf(object(given.settings, "settings")),
    turns,
    model,
  };
  return {
    conversation,
    state: given.state == null ? null : stateOf(object(given.state, "state"), conversation),
  };
}

function turnOf(value: unknown): Turn {
  const given = object(value, "a turn");
  const finish = given.finish;
  if (finish !== "eos" && finish !== "stop" && finish !== "length" && finish !== "stopped") throw wrong("finish");
  return {
    user: string(given.user, "user"),
    thought: string(given.thought, "thought"),
    answer: string(given.answer, "answer"),
    finish,
    tokens: number(given.tokens, "tokens"),
    rate: number(given.rate, "rate"),
  };
}

function settingsOf(given: Record<string, unknown>): Settings {
  const { think, maxTokens, seed } = given;
  if (think !== "auto" && think !== "on" && think !== "off") throw wrong("think");
  if (!Number.isSafeInteger(maxTokens) || (maxTokens as number) < 1) throw wrong("maxTokens");
  if (seed !== null && !(Number.isSafeInteger(seed) && (seed as number) >= 0)) throw wrong("seed");
  const sampling = object(given.sampling, "sampling");
  return {
    ...DEFAULT_SETTINGS,
    think,
    maxTokens: maxTokens as number,
    seed: seed as number | null,
    sampling: samplingOf(sampling),
  };
}

const SAMPLING: readonly (keyof SamplingOptions)[] = [
  "temperature",
  "top_k",
  "top_p",
  "min_p",
  "repetition_penalty",
  "presence_penalty",
  "frequency_penalty",
  "penalty_decay",
  "penalty_window",
];

function samplingOf(given: Record<string, unknown>): SamplingOptions {
  const read: SamplingOptions = {};
  for (const name of SAMPLING) if (given[name] !== undefined) read[name] = number(given[name], name);
  return read;
}

function modelOf(given: Record<string, unknown>): NonNullable<Conversation["model"]> {
  return {
    modelId: string(given.modelId, "modelId"),
    bundleId: string(given.bundleId, "bundleId"),
    name: string(given.name, "name"),
  };
}

function stateOf(given: Record<string, unknown>, conversation: Conversation): StoredState {
  if (given.turns !== conversation.turns.length) throw wrong("state");
  return {
    conversation: conversation.id,
    turns: conversation.turns.length,
    system: conversation.system,
    modelId: string(given.modelId, "modelId"),
    bundleId: string(given.bundleId, "bundleId"),
    bytes: fromBase64(given.base64),
  };
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(what);
  return value as Record<string, unknown>;
}

function list(value: unknown, most: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > most) throw wrong(what);
  return value;
}

function string(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length > LONGEST_TEXT) throw wrong(what);
  return value;
}

function number(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw wrong(what);
  return value;
}

function wrong(what: string): ImportError {
  return new ImportError(`this file is damaged (${what} is not what was exported); nothing was imported`);
}

function toBase64(bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += 0x6000) {
    pieces.push(btoa(String.fromCharCode(...bytes.subarray(at, at + 0x6000))));
  }
  return pieces.join("");
}

function fromBase64(value: unknown): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(value as string), (character) => character.charCodeAt(0));
  } catch {
    throw wrong("state");
  }
}
