/**
 * Which engine runs a bundle: WebGPU is held against wasm before it is trusted, and only taken where it is faster.
 *
 * Drivers and browsers are wrong in ways that nobody sees in a text: what both compute for a few tokens is compared, read
 * together and one by one.
 */

import type { Held } from "../bundle/held.js";
import { ProviderError, RRWKVError } from "../errors.js";
import { type ProviderChoice, TOLERANCE, TOLERANCE_QUANTIZED, webgpuMissing } from "../providers.js";
import { State } from "../state.js";
import { AnyLengthDecoder } from "./any_length_decoder.js";
import type { Decoder } from "./decoder.js";
import type { Engine, Session } from "./engine.js";
import type { Engines } from "./engines.js";
import { FixedShapeDecoder } from "./fixed_shape_decoder.js";
import { openSessions, type Plan, releaseAll } from "./loading.js";

const READ = 24; // tokens that are read together
const STEPS = 8; // and one by one

/** An engine with its sessions. */
export interface Running {
  readonly engine: Engine;
  readonly sessions: ReadonlyMap<string, Session>;
  /** Why it is this engine, where one might have expected another, in one line. */
  readonly note: string | null;
}

/** What is told while sessions are made, and while engines are held against each other. */
export type Told = (phase: "compile" | "check", done: number, of: number) => void;

/** Rejects with ProviderError or DamagedBundle. */
export async function run(
  plan: Plan,
  files: Held,
  choice: ProviderChoice,
  engines: Engines,
  told: Told,
): Promise<Running> {
  const missing = choice === "wasm" ? "" : await webgpuMissing();
  if (choice === "webgpu" && missing !== null) throw new ProviderError(`${missing}; take provider "wasm"`);
  const wasm =
    (await openKernels(plan, files, engines, told)) ?? (await open(plan, files, await engines.start("wasm"), told));
  if (missing !== null) return { ...wasm, note: missing === "" ? null : `wasm: ${missing}` };
  const expected = await measured(plan, wasm);
  let webgpu: Running | null = null;
  let fault: string | null;
  try {
    webgpu = await open(plan, files, await engines.start("webgpu"), told);
    told("check", 0, 1);
    const found = await measured(plan, webgpu);
    fault = wrong(found, expected, plan) ?? (choice === "auto" ? slower(found, expected) : null);
    told("check", 1, 1);
  } catch (error) {
    if (!(error instanceof RRWKVError)) throw error;
    fault = error.message;
  }
  const chosen = webgpu !== null && fault === null ? webgpu : wasm;
  const other = chosen === wasm ? webgpu : wasm;
  if (other !== null) await close(other);
  if (fault !== null && choice === "webgpu") {
    await close(wasm);
    throw new ProviderError(`provider "webgpu" is not to be trusted here: ${fault}; take provider "wasm"`);
  }
  return { ...chosen, note: fault === null ? null : `wasm: ${fault}` };
}

/** A decoder over these sessions; see `Model.decoder`. */
export function decoderOf({ manifest }: Plan, { engine, sessions }: Running, state: State): Decoder {
  const anyLength = manifest.graphThatRuns("any", sessions.keys()) !== null;
  return new (anyLength ? AnyLengthDecoder : FixedShapeDecoder)(sessions, manifest, engine, state);
}

async function open(plan: Plan, files: Held, engine: Engine, told: Told): Promise<Running> {
  const sessions = await openSessions(plan, files, engine, (done, of) => {
    told("compile", done, of);
  });
  return { engine, sessions, note: null };
}

/** By our kernels; null where they do not take the bundle, or do not run here. */
async function openKernels(plan: Plan, files: Held, engines: Engines, told: Told): Promise<Running | null> {
  const engine = await engines.kernels(plan);
  if (engine === null) return null;
  try {
    return await open(plan, files, engine, told);
  } catch (error) {
    await engine.close();
    if (error instanceof ProviderError) return null;
    throw error;
  }
}

async function close({ engine, sessions }: Running): Promise<void> {
  await releaseAll(sessions);
  await engine.close();
}

interface Measured {
  readonly logits: readonly Float32Array[];
  /** Seconds of the fastest step. */
  readonly step: number;
}

async function measured(plan: Plan, running: Running): Promise<Measured> {
  const decoder = decoderOf(plan, running, State.initial(plan.manifest));
  const V = plan.manifest.vocab_size;
  const id = (i: number): number => (i * 7919 + 11) % V; // any tokens, far apart
  const logits = [
    await decoder.run(
      Array.from({ length: READ }, (_, i) => id(i)),
      { num_logits: READ },
    ),
  ];
  let step = Infinity;
  for (let i = READ; i < READ + STEPS; i++) {
    const started = performance.now();
    const row = await decoder.step(id(i));
    step = Math.min(step, performance.now() - started);
    logits.push(row.slice());
  }
  decoder.close();
  return { logits, step };
}

/** What is wrong with the logits, in words; null: nothing. */
function wrong(found: Measured, expected: Measured, { manifest }: Plan): string | null {
  const most = manifest.quantization === null ? TOLERANCE : TOLERANCE_QUANTIZED;
  let error = 0;
  expected.logits.forEach((row, i) => {
    const largest = row.reduce((size, logit) => Math.max(size, Math.abs(logit)), 0);
    row.forEach((logit, at) => {
      const off = Math.abs((found.logits[i]?.[at] ?? NaN) - logit) / largest;
      error = off <= error ? error : off; // also where it is NaN
    });
  });
  if (error <= most) return null;
  return `WebGPU gives other logits here (off by ${error.toPrecision(2)} of the largest)`;
}

function slower(found: Measured, expected: Measured): string | null {
  if (found.step <= expected.step) return null;
  return `WebGPU is slower here (${found.step.toPrecision(2)} ms a token, wasm ${expected.step.toPrecision(2)})`;
}
