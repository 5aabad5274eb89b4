/**
 * A loaded bundle: its graphs in sessions of an engine, run forward over token ids with the state carried along.
 *
 * `Model` knows no architecture: the manifest says which states there are, and they are carried from output to input.
 */

import { fetchFiles, type Fetched, findBundle } from "./bundle/found.js";
import { keptBundles } from "./bundle/kept.js";
import type { BundleSource, Source } from "./bundle/source.js";
import { checkThreads } from "./common/checks.js";
import { BundleError } from "./errors.js";
import type { Decoder, RunOptions } from "./execution/decoder.js";
import type { Engine } from "./execution/engine.js";
import { Engines } from "./execution/engines.js";
import { checkGraphs, content, makePlan, type Plan, releaseAll, weights } from "./execution/loading.js";
import { decoderOf, run, type Running } from "./execution/trial.js";
import { generate, type GenerateOptions, type LanguageModel, type Token } from "./generate.js";
import type { Manifest } from "./manifest.js";
import { checkProvider, type ProviderChoice, usableThreads } from "./providers.js";
import { State } from "./state.js";
import { openTokenizer, type Tokenizer } from "./tokenizer.js";

/**
 * How far loading is: `fetch`: files come from the network or from disk, and are hashed as they come; `read`: from what
 * this browser kept; `compile`: sessions are made of them, and `bytes` counts graphs; `check`: WebGPU is held against wasm.
 */
export interface LoadProgress {
  readonly phase: "fetch" | "read" | "compile" | "check";
  readonly bytes: number;
  readonly of: number;
}

/** How a bundle is loaded. */
export interface LoadOptions {
  /** `auto` by default. */
  provider?: ProviderChoice;
  /** Of wasm, whether our kernels run it or onnxruntime-web; by default as many as are worth it. */
  threads?: number;
  /** Keep the files in this browser, so that the next start needs no network; true by default. */
  keep?: boolean;
  /** Graphs that the bundle holds by this name, in place of those that run by default. */
  variant?: string;
  /** The address of the folder with onnxruntime's `.wasm` and `.mjs` files; by default where its package is. */
  wasm_files?: string;
  /**
   * Our kernels, which run quantized bundles on wasm: the address of the folder with `kernels.wasm` and its like, and
   * `thread.js` (by default where this package has them), a module of them, or false for onnxruntime-web.
   */
  kernels?: string | WebAssembly.Module | false;
  /** What computes the graphs, in place of onnxruntime-web; `provider`, `threads` and `wasm_files` are then its own. */
  engine?: Engine;
  progress?: (progress: LoadProgress) => void;
  /** Aborted while files come, it rejects with Cancelled. */
  signal?: AbortSignal;
}

/** A bundle ready to run. Make it with `Model.load`. */
export class Model implements LanguageModel {
  private constructor(
    private readonly plan: Plan,
    private readonly running: Running,
    readonly tokenizer: Tokenizer | null,
    /** Where the files came from, and whether they are kept. */
    readonly origin: Omit<Fetched, "files">,
  ) {}

  /** Load a bundle. Rejects with BundleError, TokenizerError, ProviderError, InputError or Cancelled. */
  static async load(place: BundleSource | Source, options: LoadOptions = {}): Promise<Model> {
    const { engine } = options;
    const provider = checkProvider(options.provider ?? "auto");
    const threads = options.threads === undefined ? usableThreads() : checkThreads(options.threads);
    const engines = new Engines({ ...options, threads });
    try {
      return await this.loadBy(engines, place, engine === undefined ? provider : "wasm", options);
    } catch (error) {
      await engines.close();
      throw error;
    }
  }

  private static async loadBy(
    engines: Engines,
    place: BundleSource | Source,
    provider: ProviderChoice,
    options: LoadOptions,
  ): Promise<Model> {
    const { plan, fetched, name } = await fetchPlan(place, engines, options);
    const { files, ...origin } = fetched;
    const { manifest } = plan;
    checkGraphs(plan, files, name);
    const tokenizer = manifest.tokenizer && openTokenizer(content(files, manifest.tokenizer.file), manifest);
    const running = await run(plan, files, provider, engines, (phase, bytes, of) =>
      options.progress?.({ phase, bytes, of }),
    );
    return new Model(plan, running, tokenizer, origin);
  }

  get manifest(): Manifest {
    return this.plan.manifest;
  }

  /** What runs it, by its provider's name. */
  get provider(): string {
    return this.running.engine.name;
  }

  /** Why that is not what one might expect, in one line; null if there is nothing to say. */
  get provider_note(): string | null {
    return this.running.note;
  }

  /** The table of our kernels that runs it; null where onnxruntime-web does. */
  get kernels(): string | null {
    return this.running.engine.kernels ?? null;
  }

  get threads(): number {
    return this.running.engine.threads;
  }

  /** Bytes of the files that are loaded. */
  get nbytes(): number {
    return this.plan.files.reduce((sum, file) => sum + file.bytes, 0);
  }

  /** Bytes of the engine's heap; null where it cannot be told. */
  get heap(): number | null {
    return this.running.engine.heap();
  }

  /** V: ids run from 0 to V - 1. */
  get vocab_size(): number {
    return this.manifest.vocab_size;
  }

  /** The state before the first token. */
  initialState(): State {
    return State.initial(this.manifest);
  }

  /** Read a saved state of this bundle, or one of any of the same model if that is allowed. Rejects with StateError. */
  loadState(file: ArrayBuffer, allow_other_quantization = false): Promise<State> {
    return State.load(file, this.manifest, allow_other_quantization);
  }

  /**
   * A moving copy of a state (by default, that before the first token); the given state is left as it was.
   *
   * Its values are checked here, once, and not again at every token. Throws StateError.
   */
  decoder(state?: State, allow_other_quantization = false): Decoder {
    const given = state?.fitted(this.manifest, allow_other_quantization) ?? this.initialState();
    return decoderOf(this.plan, this.running, given);
  }

  /**
   * Logits [N, V] of the last N = num_logits of T >= 1 ids, and the state after all of them.
   *
   * The given state is left as it was. Rejects with InputError, StateError, Cancelled.
   */
  async forward(
    ids: readonly number[],
    state?: State,
    options: RunOptions = {},
  ): Promise<{ logits: Float32Array; state: State }> {
    const decoder = this.decoder(state);
    try {
      const logits = await decoder.run(ids, options);
      return { logits, state: await decoder.state() };
    } finally {
      decoder.close();
    }
  }

  /** Stream tokens after a prompt; see `generate`. */
  generate(prompt: string | readonly number[], options: GenerateOptions = {}): AsyncGenerator<Token, void, undefined> {
    return generate(this, prompt, options);
  }

  /** Free it; no decoder of it may be used after this. */
  async close(): Promise<void> {
    await releaseAll(this.running.sessions);
    await this.running.engine.close();
  }
}

interface FetchedPlan {
  readonly plan: Plan;
  readonly fetched: Fetched;
  /** What messages call the bundle. */
  readonly name: string;
}

/** What is to run of a bundle, and its files; where what is kept of it is not whole, from where it is. */
async function fetchPlan(place: BundleSource | Source, engines: Engines, options: LoadOptions): Promise<FetchedPlan> {
  const { keep = true, variant = null, progress, signal } = options;
  const kept = await keptBundles();
  const found = await findBundle(place, kept, signal);
  const { manifest, source } = found;
  const plan = makePlan(manifest, variant);
  const room = await engines.room(plan);
  const phase = source.from === "kept" ? "read" : "fetch";
  try {
    const fetched = await fetchFiles(found, plan.files, keep ? kept : null, {
      progress: (bytes, of) => progress?.({ phase, bytes, of }),
      ...(signal && { signal }),
      ...(room && { room: { of: room, names: weights(plan) } }),
    });
    return { plan, fetched, name: source.name };
  } catch (error) {
    const again = source.from === "kept" && !("kept" in place) && error instanceof BundleError;
    if (!again) throw error;
    await kept?.forget(manifest.bundle_id);
    return fetchPlan(place, engines, options);
  }
}
