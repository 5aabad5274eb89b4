/** The worker's side: a bundle at a time, its conversations, and what is under way. */

import { keptBundles } from "../bundle/kept.js";
import { Chat } from "../chat.js";
import { brief } from "../common/reading.js";
import { Cancelled, InputError, RRWKVError, TokenizerError } from "../errors.js";
import type { Token } from "../generate.js";
import { Model } from "../model.js";
import type { Port } from "./client.js";
import type { CallName, Calls, ChatState, Ended, Failure, Info, PromptProgress, Request, Timing } from "./protocol.js";

/** What a call may do while it runs. */
interface Context<N extends CallName> {
  readonly tell: (what: Calls[N]["tells"]) => void;
  readonly signal: AbortSignal;
}

type Handlers = {
  [N in CallName]: (takes: Calls[N]["takes"], context: Context<N>) => Calls[N]["gives"] | Promise<Calls[N]["gives"]>;
};

type Told = { token: Token } | { prompt: PromptProgress };

/** Answers what comes at a port. */
export function serve(port: Port): void {
  const service = new Service();
  const running = new Map<number, AbortController>();
  port.addEventListener("message", (event: MessageEvent) => {
    const request = event.data as Request;
    const { id } = request;
    if (request.call === "stop") {
      running.get(id)?.abort();
      return;
    }
    const stop = new AbortController();
    running.set(id, stop);
    const context = {
      signal: stop.signal,
      tell: (tells: unknown) => {
        port.postMessage({ id, tells }, []);
      },
    };
    const handler = service.handlers[request.call] as (takes: unknown, context: Context<CallName>) => unknown;
    Promise.resolve()
      .then(() => handler(request.takes, context))
      .then((gives) => ({ id, gives }))
      .catch((error: unknown) => ({ id, failed: failure(error) }))
      .then((reply) => {
        running.delete(id);
        const given = "gives" in reply ? reply.gives : null;
        port.postMessage(reply, given instanceof ArrayBuffer ? [given] : []);
      })
      .catch(() => undefined);
  });
  port.start?.();
}

function failure(error: unknown): Failure {
  if (error instanceof RRWKVError) return { name: error.name, message: error.message };
  if (error instanceof DOMException && error.name === "AbortError") return { name: "Cancelled", message: "stopped" };
  return { name: "RRWKVError", message: brief(error, 300) };
}

class Service {
  readonly handlers: Handlers;
  private model: Model | null = null;
  private readonly chats = new Map<number, Chat>();
  private readonly streams = new Set<Promise<unknown>>();
  private stopping = new AbortController();
  private opened = 0;
  private timing: Timing | null = null;

  constructor() {
    this.handlers = {
      load: (takes, context) => this.load(takes, context),
      info: () => this.info(),
      encode: ({ text, special }) => this.tokenizer().encode(text, special),
      decode: ({ ids }) => this.tokenizer().decode(ids),
      generate: (takes, context) => this.generate(takes, context),
      chat_open: ({ options }) => this.open(options),
      chat_turn: (takes, context) => this.turn(takes, context),
      chat_undo: async ({ chat }) => ({ user: await this.chat(chat).undo(), ...this.state(chat) }),
      chat_reset: async ({ chat, system }) => this.after(chat, this.chat(chat).reset(system)),
      chat_set: ({ chat, options }) => this.set(chat, options),
      chat_save: ({ chat }) => this.chat(chat).save(),
      chat_load: async ({ chat, state, allow_other_quantization, turns }) =>
        this.after(chat, this.chat(chat).load(state, allow_other_quantization, turns)),
      chat_read: (takes, context) => this.read(takes, context),
      chat_close: ({ chat }) => {
        this.chats.delete(chat);
        return null;
      },
      kept: async () => (await (await keptBundles())?.list()) ?? [],
      forget: async ({ bundle_id }) => (await (await keptBundles())?.forget(bundle_id), null),
      unload: async () => (await this.unload(), null),
    };
  }

  private async load({ source, options }: Calls["load"]["takes"], context: Context<"load">): Promise<Info> {
    await this.unload();
    let told = -Infinity;
    const model = await Model.load(source, {
      ...options,
      signal: context.signal,
      progress: (progress) => {
        const now = performance.now();
        if (progress.phase === "fetch" && progress.bytes < progress.of && now - told < 50) return; // a page needs no more
        told = now;
        context.tell(progress);
      },
    });
    if (context.signal.aborted) {
      await model.close();
      throw new Cancelled("stopped while the bundle was loaded");
    }
    this.model = model;
    return this.info();
  }

  private async unload(): Promise<void> {
    this.stopping.abort();
    this.stopping = new AbortController();
    await Promise.allSettled(this.streams);
    this.chats.clear();
    this.timing = null;
    await this.model?.close();
    this.model = null;
  }

  private info(): Info {
    const model = this.loaded();
    const { manifest } = model;
    return {
      bundle_id: manifest.bundle_id,
      model_id: manifest.model_id,
      architecture: manifest.config.architecture,
      parameters: manifest.parameters,
      vocab_size: manifest.vocab_size,
      interval: manifest.interval,
      scheme: manifest.quantization?.scheme ?? null,
      has_tokenizer: model.tokenizer !== null,
      thinks: manifest.chat.thinking !== null,
      sampling: manifest.chat.sampling,
      provider: model.provider,
      provider_note: model.provider_note,
      kernels: model.kernels,
      threads: model.threads,
      cross_origin_isolated: (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true,
      loaded_from: model.origin.from,
      keep_note: model.origin.keep_note,
      memory: { files: model.nbytes, state: model.initialState().nbytes, heap: model.heap },
      timing: this.timing,
    };
  }

  private async generate(
    { prompt, options }: Calls["generate"]["takes"],
    context: Context<"generate">,
  ): Promise<Ended> {
    const model = this.loaded();
    const { state: file, allow_other_quantization = false, ...rest } = options;
    const state = file && (await model.loadState(file, allow_other_quantization));
    let read = { prompt_tokens: 0, prompt_seconds: 0 };
    const signal = this.ending(context.signal);
    const tokens = model.generate(prompt, {
      ...rest,
      ...(state && { state }),
      progress: progressOf(context, signal),
      read: (prompt_tokens, prompt_seconds) => {
        read = { prompt_tokens, prompt_seconds };
      },
    });
    return this.streamed(
      shown(tokens, context, signal).then(({ finish, generated_tokens, generated_seconds }) => {
        this.timing = { ...read, generated_tokens, generated_seconds };
        return { finish, timing: this.timing };
      }),
    );
  }

  private turn(
    { chat: number, turn }: Calls["chat_turn"]["takes"],
    context: Context<"chat_turn">,
  ): Promise<Calls["chat_turn"]["gives"]> {
    const signal = this.ending(context.signal);
    const run = async (): Promise<Calls["chat_turn"]["gives"]> => {
      const chat = this.chat(number);
      const progress = progressOf(context, signal);
      const tokens =
        "retry" in turn
          ? chat.retry(progress)
          : "edit" in turn
            ? chat.edit(turn.edit, turn.say, progress)
            : chat.send(turn.say, progress);
      const { finish } = await shown(tokens, context, signal);
      this.timing = chat.timing;
      return { finish, timing: chat.timing, ...this.state(number) };
    };
    return this.streamed(run());
  }

  private async read({ chat, turns }: Calls["chat_read"]["takes"], context: Context<"chat_read">): Promise<ChatState> {
    const progress = progressOf(context, this.ending(context.signal));
    return this.streamed(Promise.resolve().then(() => this.after(chat, this.chat(chat).read(turns, progress))));
  }

  /** Stopped by whoever asked for it, or because the model goes. */
  private ending(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.stopping.signal]);
  }

  private async streamed<T>(stream: Promise<T>): Promise<T> {
    this.streams.add(stream);
    try {
      return await stream;
    } finally {
      this.streams.delete(stream);
    }
  }

  private open(options: Calls["chat_open"]["takes"]["options"]): Calls["chat_open"]["gives"] {
    const chat = ++this.opened;
    this.chats.set(chat, new Chat(this.loaded(), options));
    return { chat, ...this.state(chat) };
  }

  private set(chat: number, options: Calls["chat_set"]["takes"]["options"]): ChatState {
    this.chat(chat).set(options);
    return this.state(chat);
  }

  private async after(chat: number, work: Promise<void>): Promise<ChatState> {
    await work;
    return this.state(chat);
  }

  private state(number: number): ChatState {
    const { turns, undoable, position } = this.chat(number);
    return { turns, undoable, position };
  }

  private chat(number: number): Chat {
    const chat = this.chats.get(number);
    if (chat === undefined) throw new InputError("that conversation is closed");
    return chat;
  }

  private loaded(): Model {
    if (this.model === null) throw new InputError("no bundle is loaded");
    return this.model;
  }

  private tokenizer(): NonNullable<Model["tokenizer"]> {
    const { tokenizer } = this.loaded();
    if (tokenizer === null) throw new TokenizerError("this bundle has no tokenizer");
    return tokenizer;
  }
}

interface Shown {
  readonly finish: Ended["finish"];
  readonly generated_tokens: number;
  readonly generated_seconds: number;
}

/** Tokens, told as they come, until they end or are stopped. */
async function shown(
  tokens: AsyncIterable<Token>,
  { tell }: { tell: (told: Told) => void },
  signal: AbortSignal,
): Promise<Shown> {
  let finish: Ended["finish"] = "stopped";
  let generated_tokens = 0;
  let started: number | null = null;
  let ended = 0;
  for await (const token of tokens) {
    ended = performance.now();
    started ??= ended; // the first is there with the prompt's end
    generated_tokens++;
    tell({ token });
    if (token.finish !== null) finish = token.finish;
    await nextTask();
    if (signal.aborted) break;
  }
  return { finish, generated_tokens, generated_seconds: (ended - (started ?? ended)) / 1000 };
}

function progressOf({ tell }: { tell: (told: { prompt: PromptProgress }) => void }, signal: AbortSignal) {
  return async (done: number, of: number): Promise<boolean> => {
    tell({ prompt: { done, of } });
    await nextTask();
    return !signal.aborted;
  };
}

/** Let messages come in: what computes on the processor never waits of itself. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = (): void => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Only in a worker of one's own; threads of onnxruntime may be made of the same file. */
const scope = globalThis as { name?: string; DedicatedWorkerGlobalScope?: unknown };
if (scope.DedicatedWorkerGlobalScope !== undefined && scope.name?.startsWith("em-pthread") !== true) {
  serve(globalThis as unknown as Port);
}
