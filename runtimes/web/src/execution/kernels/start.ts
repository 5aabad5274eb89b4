/** Which of the modules of kernels runs here, and where it comes from. */

import { brief } from "../../common/reading.js";
import { ProviderError } from "../../errors.js";
import { KernelsEngine } from "./engine.js";

/** A module that is compiled already, or the address of the folder with both; "": where this package has them. */
export type KernelFiles = string | WebAssembly.Module;

// A function of one relaxed instruction; an engine that does not know it refuses the module.
// prettier-ignore
const RELAXED = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253,
  128, 2, 11,
);

/**
 * The kernels as an engine: with relaxed vectors where these fuse products and sums, which gives the bits of our native
 * kernels, else without. Rejects with ProviderError where there are none.
 */
export async function startKernels(files: KernelFiles): Promise<KernelsEngine> {
  try {
    if (typeof files !== "string") return await KernelsEngine.of(files);
    if (WebAssembly.validate(RELAXED)) {
      const engine = await KernelsEngine.of(await compiled(addressOf(files, "kernels-relaxed.wasm")));
      if (engine.fused) return engine;
    }
    return await KernelsEngine.of(await compiled(addressOf(files, "kernels.wasm")));
  } catch (error) {
    throw new ProviderError(`our kernels do not start here (${brief(error)})`);
  }
}

/** Written out in full, so that whoever packs a page finds the files. */
function addressOf(folder: string, name: "kernels.wasm" | "kernels-relaxed.wasm"): URL {
  if (folder !== "") return new URL(name, folder.endsWith("/") ? folder : `${folder}/`);
  return name === "kernels.wasm"
    ? new URL("../../kernels/kernels.wasm", import.meta.url)
    : new URL("../../kernels/kernels-relaxed.wasm", import.meta.url);
}

async function compiled(address: URL): Promise<WebAssembly.Module> {
  if (address.protocol === "file:") return WebAssembly.compile(await onDisk(address));
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address.href}: status ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** A file in Node, which fetches none; asked for so that whoever packs a page does not look for it. */
async function onDisk(address: URL): Promise<BufferSource> {
  type Files = { readFile(path: URL): Promise<Uint8Array<ArrayBuffer>> } | undefined;
  const { process } = globalThis as { process?: { getBuiltinModule?(name: string): unknown } };
  const files = process?.getBuiltinModule?.("node:fs/promises") as Files;
  if (files === undefined) throw new Error("a page cannot read files");
  return files.readFile(address);
}
