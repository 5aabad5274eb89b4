/** Bundles from strangers: what is refused, each with one line. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { zipSync } from "fflate";

import { computeBundleId } from "../src/manifest.js";
import { BundleError, DamagedBundle, Model, NewerFormat, OlderFormat, opened, RRWKVError } from "../src/index.js";
import { checkGraph } from "../src/bundle/graph_file.js";
import { tokenizerOf } from "../src/tokenizer.js";
import { CONFORMANCE } from "./bundles.js";

type Json = Record<string, unknown>;
const NAMES = ["manifest.json", "model.onnx", "decode.onnx", "segment_end.onnx", "model.onnx.data", "tokenizer.json"];
const FILES = new Map<string, Uint8Array>();
for (const name of NAMES) FILES.set(name, new Uint8Array(await readFile(`${CONFORMANCE}/bundle/${name}`)));
const MANIFEST = JSON.parse(new TextDecoder().decode(FILES.get("manifest.json"))) as Json;

/** The bundle with these files in place of its own; null: without. */
async function load(changes: Record<string, Uint8Array | string | null>): Promise<Model> {
  const data = new Map<string, Uint8Array | string | null>([...FILES, ...Object.entries(changes)]);
  const source = opened("bundle", (name) => {
    const found = data.get(name);
    return Promise.resolve(found === undefined || found === null ? null : new Blob([found as BlobPart]));
  });
  return Model.load(source, { provider: "wasm", threads: 1 });
}

async function refused(
  changes: Record<string, Uint8Array | string | null>,
  kind: typeof RRWKVError,
  says: RegExp,
): Promise<void> {
  await assert.rejects(load(changes), (error: unknown) => {
    assert.ok(error instanceof kind, String(error));
    assert.match(error.message, says);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
}

/** A manifest with the id that belongs to it. */
async function manifest(change: (fields: Json) => void): Promise<{ "manifest.json": string }> {
  const fields = structuredClone(MANIFEST);
  change(fields);
  fields.bundle_id = await computeBundleId(fields).catch(() => "0".repeat(64));
  return { "manifest.json": JSON.stringify(fields) };
}

const graph = (fields: Json, name: string): Json => (fields.graphs as Record<string, Json>)[name] ?? {};
const first = (fields: Json, list: string): Json => (fields[list] as Json[])[0] ?? {};

const MANIFESTS: [name: string, change: (fields: Json) => void, kind: typeof RRWKVError, says: RegExp][] = [
  ["a newer format", (f) => (f.format_version = 3), NewerFormat, /newer than this runtime's, 2; upgrade it/],
  ["an older format", (f) => (f.format_version = 1), OlderFormat, /older than this runtime's.*export/],
  ["another format", (f) => (f.format = "zip"), BundleError, /not the manifest of an rrwkv bundle/],
  ["an unknown member", (f) => (f.more = 1), DamagedBundle, /more is not a known field/],
  ["an unknown member within", (f) => (graph(f, "main").x = 1), DamagedBundle, /graphs\.main\.x is not a known field/],
  ["a missing member", (f) => delete f.states, DamagedBundle, /states is missing/],
  ["a path out of the folder", (f) => (graph(f, "main").file = "../model.onnx"), DamagedBundle, /not acceptable/],
  ["a file that is not listed", (f) => (graph(f, "main").file = "other.onnx"), DamagedBundle, /not listed under files/],
  ["a size of nothing", (f) => (first(f, "files").bytes = -1), DamagedBundle, /out of range/],
  ["a state of terabytes", (f) => (first(f, "states").shape = [1048576, 1048576]), DamagedBundle, /larger than any/],
  ["two positions", (f) => (first(f, "states").role = "other"), DamagedBundle, /not one state has the role/],
  ["a number too large", (f) => (f.config = { ...(f.config as Json), x: 1e308 * 10 }), DamagedBundle, /./],
  ["no graph of any length", (f) => (graph(f, "main").runs = "one"), DamagedBundle, /graphs run 'one'|no graph runs/],
];

for (const [name, change, kind, says] of MANIFESTS) {
  test(`a manifest with ${name}`, async () => {
    await refused(await manifest(change), kind, says);
  });
}

test("a manifest that was changed", async () => {
  const text = JSON.stringify({ ...MANIFEST, model_id: "0".repeat(64) });
  await refused({ "manifest.json": text }, DamagedBundle, /does not match its bundle id/);
});

test("a manifest that is none", async () => {
  await refused({ "manifest.json": null }, BundleError, /not a bundle, it has no manifest.json/);
  await refused({ "manifest.json": "{" }, DamagedBundle, /not valid JSON/);
  await refused({ "manifest.json": `${"[".repeat(100)}${"]".repeat(100)}` }, DamagedBundle, /nested more than 64 deep/);
  await refused({ "manifest.json": Uint8Array.of(0xff, 0xfe, 0) }, DamagedBundle, /not UTF-8 text/);
  await refused({ "manifest.json": " ".repeat(2 ** 22 + 1) }, DamagedBundle, /larger than 4 MiB/);
});

test("files that are missing, or others", async () => {
  const weights = FILES.get("model.onnx.data") ?? new Uint8Array();
  await refused({ "model.onnx.data": null }, DamagedBundle, /model.onnx.data is missing/);
  await refused({ "model.onnx.data": weights.subarray(1) }, DamagedBundle, /has 49151 bytes instead of 49152/);
  await refused({ "model.onnx.data": weights.map((byte) => byte ^ 1) }, DamagedBundle, /its sha256 differs/);
});

test("graphs that read other files, or are none", () => {
  const data = FILES.get("model.onnx") ?? new Uint8Array();
  checkGraph(data, "model.onnx", ["model.onnx.data"]);
  assert.throws(() => {
    checkGraph(data, "model.onnx", []);
  }, /has weights in "model.onnx.data", which the manifest/);
  assert.throws(() => {
    checkGraph(data.subarray(0, -3), "model.onnx", ["model.onnx.data"]);
  }, DamagedBundle);
  assert.throws(() => {
    checkGraph(new TextEncoder().encode("hello there"), "x", []);
  }, DamagedBundle);
  const nested = (depth: number): Uint8Array => {
    let body = new Uint8Array();
    // An attribute with a graph, within a node, within the graph.
    for (let i = 0; i < depth; i++) body = field(1, field(5, field(6, body)));
    return field(7, body);
  };
  assert.throws(() => {
    checkGraph(nested(40), "x", []);
  }, /nested more than 32 deep/);
});

/** A field of protobuf with a length. */
function field(number: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const length: number[] = [];
  for (let left = body.length; ; left = Math.floor(left / 128)) {
    length.push((left % 128) | (left >= 128 ? 128 : 0));
    if (left < 128) break;
  }
  return Uint8Array.from([(number << 3) | 2, ...length, ...body]);
}

test("archives that are none, or compressed", async () => {
  const archive = (files: Record<string, Uint8Array>, level: 0 | 6): Promise<Model> =>
    Model.load({ archive: new Blob([zipSync(files, { level })]) }, { provider: "wasm", threads: 1 });
  const files = Object.fromEntries(FILES);
  await assert.rejects(archive(files, 6), /is not stored as it is/);
  const { "manifest.json": last, ...others } = files;
  await assert.rejects(
    archive({ ...others, "manifest.json": last ?? new Uint8Array() }, 0),
    /the manifest is the first/,
  );
  const without = Object.fromEntries(Object.entries(files).filter(([name]) => name !== "model.onnx.data"));
  await assert.rejects(archive(without, 0), DamagedBundle);
  await assert.rejects(Model.load({ archive: new Blob(["no zip at all"]) }), BundleError);
  const cut = zipSync(files, { level: 0 }).subarray(0, 60_000);
  await assert.rejects(Model.load({ archive: new Blob([cut]) }), DamagedBundle);
});

test("tokenizers that are none", () => {
  const open = (text: string, type = "tokenizer.json") => tokenizerOf(type, new TextEncoder().encode(text), "file");
  assert.throws(() => open("{}"), /file: not a usable tokenizer.json \(it has no model\)/);
  assert.throws(() => open('{"model":{"type":"BPE","vocab":{"a":99999999},"merges":[]}}'), /not one of any model/);
  assert.throws(() => open('{"model":{"type":"Odd","vocab":{}}}'), RRWKVError);
  assert.throws(() => open("1 'a' 2\n", "rwkv-world"), /line 1: the literal is not text or bytes of length 2/);
  assert.throws(() => open("1 __import__('os') 2\n", "rwkv-world"), /line 1: not a literal/);
  assert.throws(() => open("1 'a' 1\n2 'a' 1\n", "rwkv-world"), /a second time/);
  assert.throws(() => open("1 'a' 1\n", "rwkv-world"), /no token for the byte 0/);
});
