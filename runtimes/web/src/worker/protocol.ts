/**
 * What a page and the worker say to one another. Everything heavy is in the worker, so that a page never freezes.
 *
 * A page uses `RuntimeClient` (`client.ts`), which speaks this; all of it can be cloned into messages. Options have the
 * names of the bundle format and of the Python runtime (`max_tokens`, `top_p` …).
 */

/**
 * Where a bundle is.
 *
 * - `url`        a folder's address, or that of a bundle in one file (it ends with `.zip`, query aside)
 * - `archive`    a bundle in one file that a person chose or dropped
 * - `files`      what a directory picker gave (`<input webkitdirectory>`), `webkitRelativePath` and all
 * - `directory`  what the File System Access API gave (`showDirectoryPicker`)
 */
export type BundleSource =
  | { readonly url: string }
  | { readonly archive: Blob }
  | { readonly files: readonly File[] }
  | { readonly directory: FileSystemDirectoryHandle };

/** `auto`: WebGPU where it is there and gives wasm's logits, else wasm. */
export type ProviderChoice = "auto" | "wasm" | "webgpu";

export interface LoadOptions {
  /** What runs it; `auto` by default. */
  provider?: ProviderChoice;
  /** Threads of wasm; by default as many as are worth it. One where the page is not cross-origin isolated. */
  threads?: number;
  /** Keep the files in this browser, so that the next start needs no network; true by default. */
  keep?: boolean;
  /** Graphs that the bundle holds by this name, in place of those that run by default. */
  variant?: string;
  /** The address of the folder with onnxruntime's `.wasm` and `.mjs` files; by default where its package is. */
  wasm_files?: string;
}

/**
 * How far loading is.
 *
 * - `fetch`    files come from the network or from disk, and are hashed as they come
 * - `read`     they are read from what this browser kept
 * - `compile`  onnxruntime makes sessions of them; `bytes` counts graphs, not bytes
 * - `check`    WebGPU is held against wasm
 */
export interface LoadProgress {
  readonly phase: "fetch" | "read" | "compile" | "check";
  readonly bytes: number;
  readonly of: number;
}

/** Tokens of the prompt that are read, of all. */
export interface PromptProgress {
  readonly done: number;
  readonly of: number;
}

/** How tokens are chosen; `docs/bundle-format.md`, Sampling. */
export interface SamplingOptions {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  penalty_decay?: number;
  penalty_window?: number;
  logit_bias?: Readonly<Record<number, number>>;
}

export interface GenerateOptions extends SamplingOptions {
  /** A saved state that the prompt follows. */
  state?: ArrayBuffer;
  /** Take a state of another quantization of the same model too. */
  allow_other_quantization?: boolean;
  /** null: no limit. 256 by default. */
  max_tokens?: number | null;
  seed?: number | null;
  stop?: string | readonly string[];
  stop_ids?: readonly number[];
  ignore_eos?: boolean;
  /** Special tokens written out in the prompt are tokens. */
  special?: boolean;
  top_logprobs?: number;
}

/** `auto`: as it comes; `on`, `off`: the model is made to think before it answers, or not to. */
export type Think = "auto" | "on" | "off";

/** What may be changed between turns. */
export interface TurnOptions extends SamplingOptions {
  think?: Think;
  /** null: no limit. 512 by default. */
  max_tokens?: number | null;
  /** Setting it starts the stream of random numbers again; null: a new random one. */
  seed?: number | null;
}

export interface ChatOptions extends TurnOptions {
  /** The program's own text before the first turn; special tokens in it are tokens. */
  system?: string;
  /** Special tokens in what people say are tokens too. */
  special?: boolean;
}

/** Why a text ended; `stopped`: whoever reads it stopped it. */
export type Finish = "eos" | "stop" | "length";

/** One generated token. `text` and `thought` are what may be shown with it, often not exactly its own text. */
export interface Token {
  readonly id: number;
  readonly text: string;
  /** Natural logarithm of its probability under the model itself, before any sampling option. */
  readonly logprob: number;
  /** From 0. */
  readonly index: number;
  /** Null until the last token. */
  readonly finish: Finish | null;
  /** The likeliest tokens in its place, as many as `top_logprobs` asked for. */
  readonly top: readonly (readonly [id: number, logprob: number])[];
  /** In a chat, what may be shown of the model's thought, which comes before its answer. */
  readonly thought: string;
}

/** What was computed, and the seconds it took. */
export interface Timing {
  readonly prompt_tokens: number;
  readonly prompt_seconds: number;
  readonly generated_tokens: number;
  readonly generated_seconds: number;
}

/** A text is done. */
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

/** A bundle that this browser keeps. */
export interface KeptBundle {
  readonly bundle_id: string;
  readonly bytes: number;
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
