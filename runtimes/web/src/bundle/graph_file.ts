/**
 * A look at a graph file before onnxruntime reads it: which other files it asks for, and how much would come of it.
 *
 * A bundle's hashes are right whoever made it, so they say nothing of what a graph does. Here its protobuf is walked:
 * every tensor's external data must be in a file that the manifest lists for the graph; tensors are never sparse, which
 * little data make large; and functions that call one another do not grow beyond any model. What the nodes compute when
 * they run is not bounded here.
 *
 * Field numbers: onnx.proto of https://github.com/onnx/onnx.
 */

import { DamagedBundle } from "../errors.js";
import { short } from "../common/reading.js";

/** Bytes without the weights, which are in files of their own; real ones have one MB at most. */
export const LARGEST_GRAPH = 16 * 2 ** 20;
const GROWN = 4 * 2 ** 20; // bytes with functions in place of their calls; quantized bundles have some twice their own
const MOST_NESTED = 32;
const LARGEST_KEY = 0x3ff; // ONNX has no field of a number over 26
const LENGTH = 2; // the wire type of fields with a length
const FIXED: Readonly<Record<number, number>> = { 1: 8, 5: 4 }; // bytes of the wire types of one size

type Handler = "external" | "sparse" | "called" | "graph" | "training" | "function";
/** What is of interest in a message: fields by the key before them, to be walked, or given to a method by name. */
type Kind = Map<number, Kind | Handler>;

const key = (number: number): number => (number << 3) | LENGTH;
const TENSOR: Kind = new Map([[key(13), "external"]]);
const ATTRIBUTE: Kind = new Map();
const NODE: Kind = new Map([[key(5), ATTRIBUTE]]);
const GRAPH: Kind = new Map<number, Kind | Handler>([
  [key(1), NODE],
  [key(5), TENSOR],
  [key(15), "sparse"],
]);
for (const [number, kind] of [
  [5, TENSOR],
  [10, TENSOR],
  [6, GRAPH],
  [11, GRAPH],
  [22, "sparse"],
  [23, "sparse"],
] as const) {
  ATTRIBUTE.set(key(number), kind);
}
const FUNCTION: Kind = new Map<number, Kind | Handler>([
  [key(1), "called"],
  [key(7), NODE],
  [key(11), ATTRIBUTE],
]);
const MODEL: Kind = new Map<number, Kind | Handler>([
  [key(7), "graph"],
  [key(20), "training"],
  [key(25), "function"],
]);

/**
 * Throws DamagedBundle naming the graph.
 *
 * @param data - the whole file
 * @param files - those that it may keep its tensors in
 */
export function checkGraph(data: Uint8Array, name: string, files: readonly string[]): void {
  try {
    if (data.length > LARGEST_GRAPH) throw new Refused("is larger than the graph of any model");
    new Walk(data, files).check();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new DamagedBundle(`${name}: ${error.message}; export the bundle again`);
  }
}

/** What is wrong, in words. */
class Refused extends Error {}

type Place = readonly [at: number, end: number];

class Walk {
  private readonly text: string; // a character a byte
  private readonly locations: ReadonlySet<string>;
  private readonly graphs: Place[] = [];
  private readonly functions = new Map<string, Place[]>();
  private name = "";
  private at = 0;

  constructor(
    private readonly data: Uint8Array,
    files: readonly string[],
  ) {
    this.text = latin1(data);
    const short_ones = files.filter((file) => file.length < 128);
    this.locations = new Set(short_ones.map((file) => `\n\blocation\x12${String.fromCharCode(file.length)}${file}`));
  }

  check(): void {
    this.message(0, this.data.length, MODEL, 0);
    this.checkCalls();
  }

  /** Every field of a message that ends there. */
  private message(start: number, end: number, kind: Kind, depth: number): void {
    if (depth > MOST_NESTED) throw new Refused(`its parts are nested more than ${MOST_NESTED} deep`);
    this.at = start;
    while (this.at < end) {
      const field = this.varint();
      const wire = field & 7;
      if (wire === LENGTH) {
        const size = this.varint();
        const from = this.at;
        const after = from + size;
        const what = kind.get(field);
        if (after <= end && what !== undefined) this.field(what, from, after, depth);
        this.at = after;
      } else if (wire === 0) this.varint();
      else this.at += FIXED[wire] ?? 0;
      if (this.at > end || field > LARGEST_KEY || !(wire === 0 || wire === LENGTH || wire in FIXED)) {
        throw new Refused("no ONNX graph (a field is not one of its own)");
      }
    }
  }

  private field(what: Kind | Handler, at: number, end: number, depth: number): void {
    if (typeof what !== "string") {
      this.message(at, end, what, depth + 1);
      return;
    }
    switch (what) {
      case "external":
        this.external(at, end);
        return;
      case "called":
        this.name = this.text.slice(at, end);
        return;
      case "graph":
        this.graphs.push([at, end]);
        this.message(at, end, GRAPH, 1);
        return;
      case "function":
        this.function(at, end);
        return;
      case "sparse":
        throw new Refused("has sparse tensors, which no bundle has");
      case "training":
        throw new Refused("is a graph for training");
    }
  }

  private varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.data[this.at++];
      if (byte === undefined) throw new Refused("no ONNX graph (it ends within a field)");
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Refused("no ONNX graph (a number is too long)");
  }

  private function(at: number, end: number): void {
    this.name = "";
    this.message(at, end, FUNCTION, 1);
    if (this.name.length === 0 || this.name.length >= 128) {
      throw new Refused("has a function without a name, or with a long one");
    }
    this.functions.set(this.name, [...(this.functions.get(this.name) ?? []), [at, end]]);
  }

  /** An entry of a tensor's external data: a key and a value, written as every encoder of protobuf does. */
  private external(at: number, end: number): void {
    const entry = this.text.slice(at, end);
    const number = /^\n\x06(?:offset|length)\x12([\s\S])/.exec(entry); // eslint-disable-line no-control-regex
    const isNumber = number?.[1]?.charCodeAt(0) === entry.length - 10;
    if (this.locations.has(entry) || isNumber) return;
    const place = entry.startsWith("\n\blocation\x12") ? entry.slice(12) : entry.slice(1);
    throw new Refused(`has weights in ${short(place.slice(0, 80), 90)}, which the manifest does not list as its data`);
  }

  /**
   * onnxruntime puts functions in the place of their calls, within one another too: so many bytes come of it.
   *
   * A call is taken to be wherever the name stands as a string does, so there are never more.
   */
  private checkCalls(): void {
    const known = new Map<string, number>();
    const grown = ([at, end]: Place, above: readonly string[]): number => {
      let size = end - at;
      for (const [name, places] of this.functions) {
        // A string's length may be written at greater length, and ends with a zero then.
        const found = [String.fromCharCode(name.length), "\0"].map((before) => this.count(before + name, at, end));
        const calls = found.reduce((sum, n) => sum + n, above.at(-1) === name ? -1 : 0); // its own name is not a call
        if (calls === 0) continue;
        if (above.includes(name) || above.length > MOST_NESTED) {
          throw new Refused("its functions call themselves, or are nested too deep");
        }
        const each = known.get(name) ?? Math.max(...places.map((place) => grown(place, [...above, name])));
        known.set(name, each);
        size += calls * each;
      }
      return size;
    };
    if (this.functions.size === 0) return;
    const size = this.graphs.reduce((sum, place) => sum + grown(place, []), 0);
    if (size > GROWN) {
      throw new Refused(`comes to ${size} bytes with its functions in place of their calls, and no model does`);
    }
  }

  private count(what: string, at: number, end: number): number {
    let found = 0;
    for (let next = this.text.indexOf(what, at); next >= 0 && next + what.length <= end; found++) {
      next = this.text.indexOf(what, next + what.length);
    }
    return found;
  }
}

/** A character a byte. (The decoder that is called latin1 is windows-1252, which is something else.) */
function latin1(data: Uint8Array): string {
  const pieces: string[] = [];
  for (let at = 0; at < data.length; at += 0x8000) pieces.push(String.fromCharCode(...data.subarray(at, at + 0x8000)));
  return pieces.join("");
}
