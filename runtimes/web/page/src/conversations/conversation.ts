/** What a conversation is, as it is kept and exported. The model's states are kept beside it, not in it. */

import type { SamplingOptions as RuntimeSampling } from "rrwkv-runtime/protocol";

import { newId } from "../engine/capabilities.ts";

export type Think = "auto" | "on" | "off";

/** Options of sampling by the bundle format's names; what is absent is the bundle's, then neutral. */
export type SamplingOptions = Omit<RuntimeSampling, "logit_bias">;

export interface Settings {
  think: Think;
  /** Most tokens of a reply, its thought included. */
  maxTokens: number;
  /** Of one random stream for each reply; null: another each time. */
  seed: number | null;
  sampling: SamplingOptions;
}

export interface Turn {
  user: string;
  /** What the model wrote before its answer; "" if nothing. */
  thought: string;
  answer: string;
  /** Why the reply ended. */
  finish: "eos" | "stop" | "length" | "stopped";
  tokens: number;
  /** Tokens a second, of the reply alone; 0 where it was not measured. */
  rate: number;
}

export interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  /** Text put before the first turn; "" for none. */
  system: string;
  settings: Settings;
  turns: Turn[];
  /** Of the model that it was held with, and its name for people; null before the first reply. */
  model: { modelId: string; bundleId: string; name: string } | null;
}

export const DEFAULT_SETTINGS: Settings = { think: "auto", maxTokens: 512, seed: null, sampling: {} };

const TITLE_LENGTH = 48;

export function newConversation(like?: Conversation): Conversation {
  const now = Date.now();
  return {
    id: newId(),
    title: "",
    created: now,
    updated: now,
    system: like?.system ?? "",
    settings: structuredClone(like?.settings ?? DEFAULT_SETTINGS),
    turns: [],
    model: null,
  };
}

/** What a conversation is called in the list: its title, or how it begins. */
export function titleOf(conversation: Conversation): string {
  return conversation.title || shortened(conversation.turns[0]?.user ?? "") || "New conversation";
}

export function shortened(text: string, length = TITLE_LENGTH): string {
  const line = text.trim().replace(/\s+/gu, " ");
  const characters = Array.from(line);
  return characters.length <= length
    ? line
    : `${characters
        .slice(0, length - 1)
        .join("")
        .trimEnd()}…`;
}
