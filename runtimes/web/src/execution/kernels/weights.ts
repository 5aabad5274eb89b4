/** Weights in the memory of the kernels' module: files are read into it, or copied, each once. */

import type { Room, Taken } from "../../bundle/held.js";
import { DamagedBundle } from "../../errors.js";
import type { GraphSource } from "../engine.js";
import { elements } from "../tensor.js";
import type { KernelCall } from "./call.js";
import type { KernelModule, Pointer } from "./module.js";
import type { Constant } from "./onnx.js";

/** A file in the module's memory. */
interface Placed {
  readonly at: Pointer;
  readonly bytes: number;
}

const BYTES: Readonly<Record<number, number>> = { 1: 4, 2: 1, 3: 1, 7: 8, 10: 2 }; // of ONNX's types

export class Weights implements Room {
  /** Those that were copied. */
  private readonly copies = new Map<string, Pointer>();

  constructor(private readonly module: KernelModule) {}

  take(bytes: number): Taken | null {
    const { module } = this;
    const at = module.room(bytes);
    if (at === null) return null;
    return {
      get data() {
        return module.bytes(at, bytes);
      },
      release: () => {
        module.release(at);
      },
    };
  }

  /** The call of a graph as the module is told of it. Throws DamagedBundle where a constant is not in its file. */
  described(graph: GraphSource, call: KernelCall): Pointer {
    const files = this.files(graph);
    const told = this.module.call();
    for (const name of call.inputs) this.module.input(told, name);
    for (const [name, value] of call.attributes) this.module.attribute(told, name, value);
    for (const [name, constant] of call.constants) {
      const { at, bytes } = this.placed(constant, files, graph.entry.file);
      this.module.constant(told, name, constant.dtype, constant.shape, at, bytes);
    }
    return told;
  }

  /** The files of a graph; where they are is asked before the memory grows. */
  private files(graph: GraphSource): ReadonlyMap<string, Placed> {
    const files = [...graph.data].map(([name, data]) => {
      return { name, data, bytes: data.length, at: this.module.pointerTo(data) };
    });
    return new Map(files.map(({ name, data, bytes, at }) => [name, { at: at ?? this.copied(name, data), bytes }]));
  }

  private copied(name: string, data: Uint8Array): Pointer {
    const known = this.copies.get(name);
    if (known !== undefined) return known;
    const at = this.copy(data);
    this.copies.set(name, at);
    return at;
  }

  private copy(data: Uint8Array): Pointer {
    const at = this.module.allocate(data.length);
    this.module.bytes(at, data.length).set(data);
    return at;
  }

  /** Where a constant's values lie. */
  private placed({ name, dtype, shape, place }: Constant, files: ReadonlyMap<string, Placed>, graph: string): Placed {
    if ("data" in place) return { at: this.copy(place.data), bytes: place.data.length };
    const file = files.get(place.file);
    const bytes = (BYTES[dtype] ?? 0) * elements(shape);
    const end = place.offset + bytes;
    if (file === undefined || !(bytes > 0) || !(place.offset >= 0) || !Number.isSafeInteger(end) || end > file.bytes) {
      throw new DamagedBundle(`${graph}: ${name} does not lie in ${place.file}; export the bundle again`);
    }
    return { at: file.at + place.offset, bytes };
  }
}
