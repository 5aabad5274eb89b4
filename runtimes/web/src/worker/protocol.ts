/**
 * What a page and the worker say to one another. Everything heavy is in the worker, so that a page never freezes.
 *
 * A page uses `RuntimeClient` (`client.ts`), which speaks this; all of it can be cloned into messages. Options have the
 * names of the bundle format and of the Python runtime (`max_tokens`, `top_p` …).
 */

import type { KeptBundle } from "../bundle/kept.js";
import type { BundleSource } from "../bundle/source.js";
import type { ChatOptions, Think, TurnOptions } from "../chat.js";
import type { Finish, GenerateOptions as GenerateHere, Timing, Token } from "../generate.js";
import type { LoadOptions as LoadHere, LoadProgress } from "../model.js";
import type { ProviderChoice } from "../providers.js";
import type { SamplingOptions } from "../sampling.js";

export type { BundleSource, ChatOptions, Finish, KeptBundle, LoadProgress, ProviderChoice, SamplingOptions };
export type { Think, Timing, Token, TurnOptions };

/** How a bundle is loaded; see `Model.load`. */
export type LoadOptions = Omit<LoadHere, "engine" | "progress" | "signal">;

/** Tokens of the prompt that are read, of all. */
export interface PromptProgress {
  readonly done: number;
  readonly of: number;
}

/** How a text is made; see `generate`. */
export interface GenerateOptions extends Omit<GenerateHere, "state" | "progress" | "read"> {
  /** A saved state that the prompt follows. */
  state?: ArrayBuffer;
  /** Take a state of another quantization of the same model too. */
  allow_other_quantization?: boolean;
}

/** A text is done. `stopped`: whoever reads it stopped it. */
export interface Ended {
  readonly finish: Finish | "stopped";
  readonly timing: Timing;
}

/** One turn: what was said, and the answer without its thought. */
export interface Turn {
  readonly user: string;
  readonly reply: string;
}

export interface ChatState {
  /** Since the start, the last reset or the last load. */
  readonly turns: readonly Turn[];
  /** How many of the last turns can be undone or edited. */
  readonly undoable: number;
  /** Tokens in the conversation's state. */
  readonly position: number;
}

/** A reply is done; what there is of it is the turn, however it ended. */
export interface TurnEnded extends Ended, ChatState {}

/** What is loaded, where it runs, and what it takes. */
export interface Info {
  readonly bundle_id: string;
  readonly model_id: string;
  readonly architecture: string;
  readonly parameters: number;
  readonly vocab_size: number;
  /** Tokens of a segment, null without mediums. */
  readonly interval: number | null;
  /** The quantization's scheme; null: none. */
  readonly scheme: string | null;
  readonly has_tokenizer: boolean;
  /** Whether the model was taught to think before it answers. */
  readonly thinks: boolean;
  /** The chat format's own sampling options. */
  readonly sampling: SamplingOptions;
  /** What runs it: `wasm`, `webgpu`, or another engine's name. */
  readonly provider: string;
  /** Why it is not what one might expect (WebGPU is there, but wrong), in one line; null if there is nothing to say. */
  readonly provider_note: string | null;
  /** The table of our kernels that runs it; null where onnxruntime-web does. */
  readonly kernels: string | null;
  readonly threads: number;
  readonly cross_origin_isolated: boolean;
  /** Where the files came from this time. */
  readonly loaded_from: "network" | "kept" | "disk";
  /** Why the files are not kept for the next start, in one line; null: they are, or were not to be. */
  readonly keep_note: string | null;
  /** Bytes. */
  readonly memory: {
    /** All files of the bundle that are loaded. */
    readonly files: number;
    /** One state. */
    readonly state: number;
    /** Of onnxruntime's wasm; null where it cannot be told. */
    readonly heap: number | null;
  };
  /** Of the last text; null before any. */
  readonly timing: Timing | null;
}

/** Each call: what it takes, what it gives in the end, and what it tells meanwhile. */
export interface Calls {
  load: { takes: { source: BundleSource; options: LoadOptions }; gives: Info; tells: LoadProgress };
  info: { takes: object; gives: Info; tells: never };
  encode: { takes: { text: string; special: boolean }; gives: number[]; tells: never };
  decode: { takes: { ids: readonly number[] }; gives: string; tells: never };
  generate: {
    takes: { prompt: string | readonly number[]; options: GenerateOptions };
    gives: Ended;
    tells: { token: Token } | { prompt: PromptProgress };
  };
  chat_open: { takes: { options: ChatOptions }; gives: { chat: number } & ChatState; tells: never };
  /** A turn: `say` something, or `retry` the last, or `edit` what was said `turn` turns from the start. */
  chat_turn: {
    takes: { chat: number; turn: { say: string } | { retry: true } | { edit: number; say: string } };
    gives: TurnEnded;
    tells: { token: Token } | { prompt: PromptProgress };
  };
  chat_undo: { takes: { chat: number }; gives: { user: string } & ChatState; tells: never };
  chat_reset: { takes: { chat: number; system?: string }; gives: ChatState; tells: never };
  chat_set: { takes: { chat: number; options: TurnOptions }; gives: ChatState; tells: never };
  chat_save: { takes: { chat: number }; gives: ArrayBuffer; tells: never };
  chat_load: {
    takes: { chat: number; state: ArrayBuffer; allow_other_quantization: boolean; turns: readonly Turn[] };
    gives: ChatState;
    tells: never;
  };
  /** Start anew with turns that were had elsewhere. */
  chat_read: {
    takes: { chat: number; turns: readonly Turn[] };
    gives: ChatState;
    tells: { prompt: PromptProgress };
  };
  chat_close: { takes: { chat: number }; gives: null; tells: never };
  kept: { takes: object; gives: KeptBundle[]; tells: never };
  /** Without an id: all. */
  forget: { takes: { bundle_id?: string }; gives: null; tells: never };
  /** Free the model; the worker can load another. */
  unload: { takes: object; gives: null; tells: never };
}

export type CallName = keyof Calls;

/** From the page. `stop` ends what runs under that id: a text stays as far as it is, anything else is Cancelled. */
export type Request =
  | { [N in CallName]: { readonly id: number; readonly call: N; readonly takes: Calls[N]["takes"] } }[CallName]
  | { readonly id: number; readonly call: "stop" };

/** An error's name in `errors.ts`, and its one line. */
export interface Failure {
  readonly name: string;
  readonly message: string;
}

/** From the worker. */
export type Reply =
  | { readonly id: number; readonly tells: unknown }
  | { readonly id: number; readonly gives: unknown }
  | { readonly id: number; readonly failed: Failure };
