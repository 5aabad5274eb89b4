/** The page's side: a model in a worker, as promises and streams of tokens. */

import { errorOf } from "../errors.js";
import type {
  BundleSource,
  CallName,
  Calls,
  ChatOptions,
  ChatState,
  Ended,
  GenerateOptions,
  Info,
  KeptBundle,
  LoadOptions,
  LoadProgress,
  PromptProgress,
  Reply,
  Token,
  Turn,
  TurnEnded,
  TurnOptions,
} from "./protocol.js";

/** What is needed of a Worker, or of one end of a MessageChannel. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  /** Of a MessagePort, which delivers nothing before. */
  start?: () => void;
  /** Of a Worker. */
  terminate?: () => void;
  /** Of a MessagePort. */
  close?: () => void;
}

/** How a caller follows a call, and stops it. */
export interface Following<P> {
  /** Stops it when aborted: a text ends where it is, a load rejects with Cancelled. */
  signal?: AbortSignal;
  progress?: (progress: P) => void;
}

interface Pending {
  told: (what: unknown) => void;
  resolve: (what: unknown) => void;
  reject: (error: Error) => void;
}

/** Calls into a worker, each with an id; of those that are under way any may be told and answered at any time. */
class Calling {
  private readonly pending = new Map<number, Pending>();
  private next = 1;
  private gone: Error | null = null;

  constructor(private readonly port: Port) {
    port.addEventListener("message", (event: MessageEvent) => {
      this.take(event.data as Reply);
    });
    (port as EventTarget & Port).addEventListener("error" as "message", (event: Event) => {
      const said = (event as Partial<ErrorEvent>).message;
      this.end(errorOf({ name: "ProviderError", message: `the worker failed: ${said ?? "it did not start"}` }));
    });
    port.start?.();
  }

  call<N extends CallName>(
    name: N,
    takes: Calls[N]["takes"],
    told: (what: Calls[N]["tells"]) => void = () => undefined,
    signal?: AbortSignal,
  ): Promise<Calls[N]["gives"]> {
    const id = this.next++;
    if (this.gone !== null) return Promise.reject(this.gone);
    const stop = (): void => {
      this.port.postMessage({ id, call: "stop" }, []);
    };
    return new Promise<Calls[N]["gives"]>((resolve, reject) => {
      this.pending.set(id, {
        told: (what) => {
          told(what as Calls[N]["tells"]);
        },
        resolve: (what) => {
          resolve(what as Calls[N]["gives"]);
        },
        reject,
      });
      this.port.postMessage({ id, call: name, takes }, []);
      if (signal?.aborted === true) stop();
      else signal?.addEventListener("abort", stop);
    }).finally(() => signal?.removeEventListener("abort", stop));
  }

  end(error: Error): void {
    this.gone = error;
    for (const one of this.pending.values()) one.reject(error);
    this.pending.clear();
    this.port.terminate?.();
    this.port.close?.();
  }

  private take(reply: Reply): void {
    const one = this.pending.get(reply.id);
    if (one === undefined) return;
    if ("tells" in reply) {
      one.told(reply.tells);
      return;
    }
    this.pending.delete(reply.id);
    if ("gives" in reply) one.resolve(reply.gives);
    else one.reject(errorOf(reply.failed));
  }
}

/**
 * Tokens as they come, for `for await`. Leaving the loop stops the text; `ended` says how it ended.
 *
 * The worker does not wait for whoever reads. It can be read once.
 */
export class TokenStream<E extends Ended = Ended> implements AsyncIterable<Token> {
  /** Settles when the text is done and, in a chat, its turn a part of the conversation. Rejects as the loop throws. */
  readonly ended: Promise<E>;
  private readonly tokens: Token[] = [];
  private readonly stopping = new AbortController();
  private wake: () => void = () => undefined;
  private done = false;

  /** @internal */
  constructor(
    begin: (told: (what: { token: Token } | { prompt: PromptProgress }) => void, signal: AbortSignal) => Promise<E>,
    following: Following<PromptProgress>,
  ) {
    following.signal?.addEventListener("abort", this.stop);
    if (following.signal?.aborted === true) this.stop();
    this.ended = begin((what) => {
      if ("prompt" in what) following.progress?.(what.prompt);
      else this.tokens.push(what.token);
      this.wake();
    }, this.stopping.signal).finally(() => {
      this.done = true;
      following.signal?.removeEventListener("abort", this.stop);
      this.wake();
    });
    this.ended.catch(() => undefined); // whoever only reads tokens gets it from the loop
  }

  /** End the text where it is; while the prompt is still read, `ended` rejects with Cancelled. */
  readonly stop = (): void => {
    this.stopping.abort();
  };

  async *[Symbol.asyncIterator](): AsyncGenerator<Token, void, undefined> {
    try {
      for (;;) {
        const token = this.tokens.shift();
        if (token !== undefined) yield token;
        else if (this.done) break;
        else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
        }
      }
      await this.ended;
    } finally {
      this.stop();
      await this.ended.catch(() => undefined);
    }
  }
}

/** A conversation in the worker; see `Chat` for what each does. One reply at a time: a new one ends the one before. */
export class RemoteChat {
  /** @internal */
  constructor(
    private readonly calling: Calling,
    private readonly chat: number,
    private known: ChatState,
  ) {}

  /** As of the last call that is done. */
  get turns(): readonly Turn[] {
    return this.known.turns;
  }

  /** How many of the last turns can be undone or edited. */
  get undoable(): number {
    return this.known.undoable;
  }

  /** Tokens in the conversation's state. */
  get position(): number {
    return this.known.position;
  }

  /** Say something, and stream the reply. Stopped, what there is of the reply stays as the turn. */
  send(text: string, following: Following<PromptProgress> = {}): TokenStream<TurnEnded> {
    return this.turn({ say: text }, following);
  }

  /** Answer the last user text anew; until that is done, the old reply stands. */
  retry(following: Following<PromptProgress> = {}): TokenStream<TurnEnded> {
    return this.turn({ retry: true }, following);
  }

  /** Say something else in a turn (from 0) and go on from there; until that is done, all stays as it is. */
  edit(turn: number, text: string, following: Following<PromptProgress> = {}): TokenStream<TurnEnded> {
    return this.turn({ edit: turn, say: text }, following);
  }

  /** Go back to before the last turn; gives its user text. */
  async undo(): Promise<string> {
    const { user } = await this.keep(this.calling.call("chat_undo", { chat: this.chat }));
    return user;
  }

  /** Start anew; without a system text the present one stays, "" removes it. */
  async reset(system?: string): Promise<void> {
    await this.keep(
      this.calling.call("chat_reset", system === undefined ? { chat: this.chat } : { chat: this.chat, system }),
    );
  }

  /** Change options for the turns to come; what is not given stays. */
  async set(options: TurnOptions): Promise<void> {
    await this.keep(this.calling.call("chat_set", { chat: this.chat, options }));
  }

  /** The conversation's state as a file, which any runtime reads. */
  save(): Promise<ArrayBuffer> {
    return this.calling.call("chat_save", { chat: this.chat });
  }

  /**
   * Continue from a saved state.
   *
   * @param more - `turns`: what to list of before it, for show; they cannot be undone.
   */
  async load(
    state: ArrayBuffer,
    more: { allow_other_quantization?: boolean; turns?: readonly Turn[] } = {},
  ): Promise<void> {
    const { allow_other_quantization = false, turns = [] } = more;
    await this.keep(this.calling.call("chat_load", { chat: this.chat, state, allow_other_quantization, turns }));
  }

  /** Start anew with turns that were had elsewhere; their text is read. */
  async read(turns: readonly Turn[], following: Following<PromptProgress> = {}): Promise<void> {
    const told = ({ prompt }: { prompt: PromptProgress }): void => following.progress?.(prompt);
    await this.keep(this.calling.call("chat_read", { chat: this.chat, turns }, told, following.signal));
  }

  async close(): Promise<void> {
    await this.calling.call("chat_close", { chat: this.chat });
  }

  private turn(
    turn: Calls["chat_turn"]["takes"]["turn"],
    following: Following<PromptProgress>,
  ): TokenStream<TurnEnded> {
    return new TokenStream(
      (told, signal) => this.keep(this.calling.call("chat_turn", { chat: this.chat, turn }, told, signal)),
      following,
    );
  }

  private async keep<S extends ChatState>(calling: Promise<S>): Promise<S> {
    const state = await calling;
    this.known = state;
    return state;
  }
}

/** A worker that runs one bundle at a time. */
export class RuntimeClient {
  private readonly calling: Calling;

  /** @param port - the worker; by default a new one of this package's `worker.js`. */
  constructor(port?: Port) {
    this.calling = new Calling(port ?? new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
  }

  /** Load a bundle in place of the one that is loaded. Rejects with BundleError, ProviderError, InputError, Cancelled. */
  load(source: BundleSource, options: LoadOptions & Following<LoadProgress> = {}): Promise<Info> {
    const { signal, progress, ...rest } = options;
    return this.calling.call("load", { source, options: rest }, progress, signal);
  }

  info(): Promise<Info> {
    return this.calling.call("info", {});
  }

  /** Ids of a text. special: special tokens written out in it become their ids. */
  encode(text: string, special = false): Promise<number[]> {
    return this.calling.call("encode", { text, special });
  }

  /** The text of ids, without special tokens. */
  decode(ids: readonly number[]): Promise<string> {
    return this.calling.call("decode", { ids });
  }

  /** Continue a prompt, a text or token ids. */
  generate(prompt: string | readonly number[], options: GenerateOptions & Following<PromptProgress> = {}): TokenStream {
    const { signal, progress, ...rest } = options;
    return new TokenStream((told, stop) => this.calling.call("generate", { prompt, options: rest }, told, stop), {
      ...(signal && { signal }),
      ...(progress && { progress }),
    });
  }

  /** Begin a conversation; there may be several. */
  async chat(options: ChatOptions = {}): Promise<RemoteChat> {
    const { chat, ...state } = await this.calling.call("chat_open", { options });
    return new RemoteChat(this.calling, chat, state);
  }

  /** The bundles that this browser keeps. */
  kept(): Promise<KeptBundle[]> {
    return this.calling.call("kept", {});
  }

  /** Keep one of them no longer, or, without an id, none. */
  async forget(bundle_id?: string): Promise<void> {
    await this.calling.call("forget", bundle_id === undefined ? {} : { bundle_id });
  }

  /** Free the model; another can be loaded. */
  async unload(): Promise<void> {
    await this.calling.call("unload", {});
  }

  /** End the worker, and with it all that is under way. */
  close(): void {
    this.calling.end(errorOf({ name: "Cancelled", message: "the runtime was closed" }));
  }
}
