/** Which of the modules of kernels runs here, and where it comes from. */

import { builtin } from "../../common/builtin.js";
import { brief } from "../../common/reading.js";
import { ProviderError } from "../../errors.js";
import { KernelsEngine } from "./engine.js";
import { mayShare } from "./threads.js";

/** A module that is compiled already, or the address of the folder with all; "": where this package has them. */
export type KernelFiles = string | WebAssembly.Module;

// A function of one relaxed instruction; an engine that does not know it refuses the module.
// prettier-ignore
const RELAXED = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253,
  128, 2, 11,
);

type ModuleName = "kernels" | "kernels-relaxed" | "kernels-threads" | "kernels-relaxed-threads";

/**
 * The kernels as an engine of so many threads, or of one where they cannot share memory: with relaxed vectors where these
 * fuse products and sums, which gives the bits of our native kernels, else without. Rejects with ProviderError where
 * there are none.
 */
export async function startKernels(files: KernelFiles, threads = 1): Promise<KernelsEngine> {
  const shared = threads > 1 && mayShare();
  try {
    if (typeof files !== "string") return await KernelsEngine.of(files, shared ? threads : 1);
    if (!shared) return await inFolder(files, 1);
    return await inFolder(files, threads).catch(() => inFolder(files, 1));
  } catch (error) {
    throw new ProviderError(`our kernels do not start here (${brief(error)})`);
  }
}

async function inFolder(folder: string, threads: number): Promise<KernelsEngine> {
  const here = (globalThis as { location?: Location }).location?.href;
  const at = folder === "" ? "" : new URL(folder.endsWith("/") ? folder : `${folder}/`, here).href;
  const end = threads > 1 ? "-threads" : "";
  const open = async (name: ModuleName) => KernelsEngine.of(await compiled(addressOf(at, name)), threads, at);
  if (WebAssembly.validate(RELAXED)) {
    const engine = await open(`kernels-relaxed${end}`);
    if (engine.fused) return engine;
    await engine.close();
  }
  return open(`kernels${end}`);
}

/** Written out in full, so that whoever packs a page finds the files. */
function addressOf(folder: string, name: ModuleName): URL {
  if (folder !== "") return new URL(`${name}.wasm`, folder);
  const packaged: Readonly<Record<ModuleName, () => URL>> = {
    kernels: () => new URL("../../kernels/kernels.wasm", import.meta.url),
    "kernels-relaxed": () => new URL("../../kernels/kernels-relaxed.wasm", import.meta.url),
    "kernels-threads": () => new URL("../../kernels/kernels-threads.wasm", import.meta.url),
    "kernels-relaxed-threads": () => new URL("../../kernels/kernels-relaxed-threads.wasm", import.meta.url),
  };
  return packaged[name]();
}

async function compiled(address: URL): Promise<WebAssembly.Module> {
  if (address.protocol === "file:") return WebAssembly.compile(await onDisk(address));
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address.href}: status ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** A file in Node, which fetches none. */
async function onDisk(address: URL): Promise<BufferSource> {
  type Files = { readFile(path: URL): Promise<Uint8Array<ArrayBuffer>> } | null;
  const files = builtin("node:fs/promises") as Files;
  if (files === null) throw new Error("a page cannot read files");
  return files.readFile(address);
}
