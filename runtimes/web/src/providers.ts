/** Providers by the names people use, and which of them there is here. */

import { InputError } from "./errors.js";
import { short } from "./common/reading.js";

/** `auto`: WebGPU where it is there, gives wasm's logits and is faster, else wasm. */
export type ProviderChoice = "auto" | "wasm" | "webgpu";

/** All that may be asked for. */
export const NAMES: readonly ProviderChoice[] = ["auto", "wasm", "webgpu"];

/** The largest error of logits, over the largest logit, with which WebGPU is still right. */
export const TOLERANCE = 1e-3;
/** The same for quantized bundles, where the smallest difference decides how an activation rounds. */
export const TOLERANCE_QUANTIZED = 5e-2;

const MOST_THREADS = 8; // beyond this, waiting for the others costs a token more than their help saves

/** Throws InputError. */
export function checkProvider(name: unknown): ProviderChoice {
  const found = NAMES.find((known) => known === name);
  if (found === undefined) throw new InputError(`unknown provider ${short(name)}; known are ${NAMES.join(", ")}`);
  return found;
}

/** Why WebGPU cannot be had, in words; null where it can. */
export async function webgpuMissing(): Promise<string | null> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  if (gpu === undefined) return "this browser has no WebGPU here";
  try {
    return (await gpu.requestAdapter()) === null ? "WebGPU finds no adapter here" : null;
  } catch {
    return "WebGPU does not start here";
  }
}

/** Whether wasm may have threads: they share memory, which a page must be isolated for. */
export function isIsolated(): boolean {
  return (
    typeof SharedArrayBuffer !== "undefined" &&
    (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated !== false
  );
}

/** Threads of wasm: half of the logical processors, since two often share a core; one where it may have none. */
export function usableThreads(): number {
  const processors = (globalThis.navigator as Navigator | undefined)?.hardwareConcurrency ?? 1;
  return isIsolated() ? Math.max(1, Math.min(MOST_THREADS, Math.ceil(processors / 2))) : 1;
}
