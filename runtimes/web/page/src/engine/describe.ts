import type { Info } from "rrwkv-runtime/protocol";

const ARCHITECTURES: Record<string, string> = {
  rwkv4: "RWKV-4",
  rrwkv: "RRWKV",
  rwkv5: "RWKV-5",
  rwkv6: "RWKV-6",
  rwkv7: "RWKV-7",
};

/** "RWKV-7 with 13.5M parameters in int8" */
export function describe({ architecture, parameters, scheme }: Info): string {
  const name = ARCHITECTURES[architecture] ?? architecture;
  return `${name} with ${millions(parameters)} parameters${scheme ? ` in ${scheme}` : ""}`;
}

/** "wasm, 2 threads" */
export function engine({ provider, threads }: Info): string {
  if (provider === "webgpu") return "WebGPU";
  const name = provider === "wasm" ? "WebAssembly" : provider;
  return `${name}, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

export function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function millions(count: number): string {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)}B` : `${(count / 1e6).toFixed(1)}M`;
}

/** Bytes of this page and its workers; null where the browser does not measure them. */
export async function measuredMemory(): Promise<number | null> {
  try {
    return (await performance.measureUserAgentSpecificMemory?.())?.bytes ?? null;
  } catch {
    return null; // the page is not isolated
  }
}
