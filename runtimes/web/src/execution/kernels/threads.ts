/**
 * Threads that share what a module of kernels computes: workers with `thread.ts`. How they share it is said in
 * `runtimes/native/src/wasm/team.h`.
 */

import { builtin } from "../../common/builtin.js";
import { brief } from "../../common/reading.js";
import { isIsolated } from "../../providers.js";
import type { ThreadStart } from "./thread.js";

const PAGE = 2 ** 16; // bytes
const FIRST = 2 ** 20 / PAGE; // as web_kernels.py says
const MOST = 2 ** 32 / PAGE - 1;
const LEAST = 2 ** 28 / PAGE;
const STACK = 2 ** 18;
const PATIENCE = 10_000; // milliseconds until a worker must be ready

/** Of a module's exports, what its threads take. */
export interface ThreadExports {
  readonly __tls_size: WebAssembly.Global<"i32">;
  allocate(bytes: number): number;
  team(threads: number): void;
  end(): void;
}

/** Whether memory may be shared with others here, and this thread may wait for them: a page's own must not. */
export function mayShare(): boolean {
  if (!isIsolated()) return false;
  try {
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0) === "not-equal";
  } catch {
    return false;
  }
}

/** Memory that may be shared, and grow to as much as there is room for. Throws what WebAssembly throws. */
export function sharedMemory(): WebAssembly.Memory {
  for (let maximum = MOST; ; maximum >>= 1) {
    try {
      return new WebAssembly.Memory({ initial: FIRST, maximum, shared: true });
    } catch (error) {
      if (maximum <= LEAST) throw error;
    }
  }
}

/** A worker under way. */
interface Helper {
  readonly ready: Promise<void>;
  end(): void;
}

/** The threads of a module beside the one that calls it. */
export class KernelThreads {
  private constructor(
    readonly count: number,
    private readonly exports: ThreadExports,
    private readonly helpers: readonly Helper[],
  ) {}

  /** `count` with the one that calls. folder: where `thread.js` is served; "": in this package. Rejects with Error. */
  static async start(
    count: number,
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    exports: ThreadExports,
    folder: string,
  ): Promise<KernelThreads> {
    exports.team(count);
    const helpers: Helper[] = [];
    const threads = new KernelThreads(count, exports, helpers);
    try {
      for (let i = 1; i < count; i++) {
        const stack = allocated(exports, STACK) + STACK;
        const variables = allocated(exports, exports.__tls_size.value);
        helpers.push(helper({ module, memory, stack, variables }, folder));
      }
      await Promise.all(helpers.map((one) => one.ready));
    } catch (error) {
      threads.end();
      exports.team(1);
      throw error;
    }
    return threads;
  }

  /** They end, whatever they do. */
  end(): void {
    this.exports.end(); // those that sleep, at once
    for (const one of this.helpers) one.end();
  }
}

function allocated(exports: ThreadExports, bytes: number): number {
  const at = exports.allocate(bytes);
  if (at === 0) throw new Error("there is no memory for a thread");
  return at;
}

function helper(told: ThreadStart, folder: string): Helper {
  const start = typeof Worker === "undefined" ? inNode : inBrowser;
  let end = (): void => undefined;
  let late: ReturnType<typeof setTimeout> | undefined;
  const ready = new Promise<void>((resolve, reject) => {
    const failed = (why: string): void => {
      reject(new Error(`a thread does not start: ${why}`));
    };
    late = setTimeout(failed, PATIENCE, "nothing is heard of it");
    end = start(told, folder, resolve, failed);
  }).finally(() => {
    clearTimeout(late);
  });
  ready.catch(() => undefined); // whoever waits for it is told
  return { ready, end };
}

type Start = (told: ThreadStart, folder: string, ready: () => void, failed: (why: string) => void) => () => void;

/** The same address twice, the first time as whoever packs a page finds it. */
const inBrowser: Start = (told, folder, ready, failed) => {
  const worker =
    folder === ""
      ? new Worker(new URL("./thread.js", import.meta.url), { type: "module" })
      : new Worker(new URL("thread.js", folder), { type: "module" });
  worker.onmessage = ready;
  worker.onerror = (event): void => {
    event.preventDefault(); // it is no error of this worker's
    failed((event as Partial<ErrorEvent>).message ?? "its file cannot be had");
  };
  worker.postMessage(told);
  return () => {
    worker.terminate();
  };
};

/** Of `node:worker_threads`. */
interface NodeWorker {
  on(event: "message" | "error" | "exit", listener: (what: unknown) => void): void;
  postMessage(message: unknown): void;
  unref(): void;
  terminate(): Promise<number>;
}

const inNode: Start = (told, _folder, ready, failed) => {
  const threads = builtin("node:worker_threads") as { Worker: new (address: URL) => NodeWorker } | null;
  if (threads === null) throw new Error("there are no workers here");
  const worker = new threads.Worker(new URL("./thread.js", import.meta.url));
  worker.on("message", () => {
    worker.unref(); // it keeps no program from its end
    ready();
  });
  worker.on("error", (error) => {
    failed(brief(error));
  });
  worker.on("exit", () => {
    failed("it ended");
  });
  worker.postMessage(told);
  return () => void worker.terminate();
};
