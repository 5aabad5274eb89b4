/**
 * What an ONNX file says of its main graph: nodes, and constants with the place of their values. Functions' bodies and
 * graphs within nodes are skipped.
 *
 * Field numbers: onnx.proto of https://github.com/onnx/onnx. A file is held against `checkGraph` before, which bounds it.
 */

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** A constant's values: in the graph's own file (as bytes, or not as these), or in another from a byte on. */
export type Place = { readonly data: Uint8Array } | { readonly file: string; readonly offset: number };

/** dtype: ONNX's number of a type. */
export interface Constant {
  readonly name: string;
  readonly dtype: number;
  readonly shape: readonly number[];
  readonly place: Place;
}

export interface Node {
  readonly operator: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Numbers and texts; others are left out. */
  readonly attributes: ReadonlyMap<string, number | string>;
}

export interface Graph {
  readonly nodes: readonly Node[];
  readonly constants: ReadonlyMap<string, Constant>;
  /** Names of its inputs. */
  readonly inputs: ReadonlySet<string>;
}

/** Throws what is thrown where the bytes are no ONNX file. */
export function readGraph(content: Uint8Array): Graph {
  const graph = new Message(new Message(content).bytes(7));
  const constants = new Map<string, Constant>();
  for (const data of graph.all(5)) {
    const found = constant(new Message(data));
    if (constants.has(found.name)) throw new Error(`two constants are called ${found.name}`);
    constants.set(found.name, found);
  }
  return {
    nodes: graph.all(1).map((data) => node(new Message(data))),
    constants,
    inputs: new Set(graph.all(11).map((data) => new Message(data).text(1))),
  };
}

function node(from: Message): Node {
  const attributes = new Map<string, number | string>();
  for (const data of from.all(5)) {
    const attribute = new Message(data);
    const values = [undefined, attribute.numbers(2)[0], attribute.numbers(3)[0], attribute.text(4)];
    const value = values[attribute.numbers(20)[0] ?? 0]; // its kind: a float, a whole number, a text
    if (value !== undefined) attributes.set(attribute.text(1), value);
  }
  const [inputs = [], outputs = []] = [1, 2].map((number) => from.all(number).map(decoded));
  return { operator: from.text(4), domain: from.text(7), inputs, outputs, attributes };
}

function constant(from: Message): Constant {
  const elsewhere = new Map(
    from.all(13).map((data) => {
      const entry = new Message(data);
      return [entry.text(1), entry.text(2)];
    }),
  );
  const file = elsewhere.get("location");
  const place = file === undefined ? { data: from.bytes(9) } : { file, offset: Number(elsewhere.get("offset") ?? "0") };
  return { name: from.text(8), dtype: from.numbers(2)[0] ?? 0, shape: from.numbers(1), place };
}

/** Fields by their numbers, read once; of several where one is meant, the last. */
class Message {
  private readonly fields = new Map<number, (number | Uint8Array)[]>();

  constructor(data: Uint8Array) {
    const from = new BinaryReader(data);
    while (from.pos < from.len) {
      const [number, wire] = from.tag();
      const known = this.fields.get(number) ?? [];
      this.fields.set(number, known);
      if (wire === WireType.LengthDelimited) known.push(from.bytes());
      else if (wire === WireType.Varint) known.push(Number(from.int64()));
      else if (wire === WireType.Bit32) known.push(from.float());
      else from.skip(wire, number);
    }
  }

  all(number: number): Uint8Array[] {
    return this.of(number).filter((value) => typeof value !== "number");
  }

  bytes(number: number): Uint8Array {
    return this.all(number).at(-1) ?? new Uint8Array();
  }

  text(number: number): string {
    return decoded(this.bytes(number));
  }

  /** Whole numbers, or floats; packed or not. */
  numbers(number: number): number[] {
    return this.of(number).flatMap((value) => (typeof value === "number" ? [value] : unpacked(value)));
  }

  private of(number: number): readonly (number | Uint8Array)[] {
    return this.fields.get(number) ?? [];
  }
}

function unpacked(data: Uint8Array): number[] {
  const numbers: number[] = [];
  for (const from = new BinaryReader(data); from.pos < from.len;) numbers.push(Number(from.int64()));
  return numbers;
}

function decoded(data: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(data);
}
