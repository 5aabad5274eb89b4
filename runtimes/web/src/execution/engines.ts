/** The engines that may run a bundle, each started when it is asked for. */

import type { Room } from "../bundle/held.js";
import { ProviderError } from "../errors.js";
import type { Engine } from "./engine.js";
import { type KernelFiles, startKernels } from "./kernels/start.js";
import type { Plan } from "./loading.js";
import { OnnxRuntime } from "./onnxruntime.js";

/** How they are started; see `LoadOptions`. */
export interface EngineOptions {
  readonly threads: number;
  readonly wasm_files?: string;
  readonly kernels?: KernelFiles | false;
  /** In place of all others. */
  readonly engine?: Engine;
}

export class Engines {
  private started: Promise<Engine | null> | null = null;

  constructor(private readonly options: EngineOptions) {}

  /** Our kernels, once; null where they are nothing for the bundle, are not wanted, or do not run here. */
  kernels({ manifest }: Plan): Promise<Engine | null> {
    const { kernels = "", threads, engine } = this.options;
    if (manifest.quantization === null || kernels === false || engine !== undefined) return Promise.resolve(null);
    this.started ??= startKernels(kernels, threads).catch((error: unknown) => {
      if (error instanceof ProviderError) return null;
      throw error;
    });
    return this.started;
  }

  /** Where weights may be read to before there are sessions; null: anywhere. */
  async room(plan: Plan): Promise<Room | null> {
    const first = this.options.engine ?? (await this.kernels(plan));
    return first?.room ?? null;
  }

  /** onnxruntime-web, or what was given in its place. Rejects with ProviderError where it does not start. */
  start(name: "wasm" | "webgpu"): Promise<Engine> {
    const { engine, threads, wasm_files = "" } = this.options;
    return engine ? Promise.resolve(engine) : OnnxRuntime.start(name, { threads, wasm_files });
  }

  /** The kernels, if they run. */
  async close(): Promise<void> {
    await (await this.started)?.close();
  }
}
