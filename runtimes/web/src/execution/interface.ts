/** Whether a session's inputs and outputs are what the manifest says of its graph. */

import type { GraphEntry } from "../bundle/graph_entry.js";
import { DamagedBundle } from "../errors.js";
import type { Manifest } from "../manifest.js";
import type { Session, ValueInfo } from "./engine.js";

interface Wanted {
  readonly name: string;
  /** null: not looked at, as it varies. */
  readonly value: { readonly dtype: string; readonly shape: readonly number[] } | null;
}

/** Throws DamagedBundle if the graph of this name differs from what the manifest says. */
export function checkInterface(session: Session, manifest: Manifest, name: string): void {
  const entry = manifest.graph(name);
  const [inputs, outputs] = entry.fixed_shape ? fixedShapes(entry, manifest) : states(entry, manifest);
  checkSide(name, session.inputs, inputs);
  checkSide(name, session.outputs, outputs);
}

type Sides = [inputs: Wanted[], outputs: Wanted[]];

function states(entry: GraphEntry, manifest: Manifest): Sides {
  const inputs: Wanted[] = [];
  const outputs: Wanted[] = [];
  if (entry.runs !== "none") {
    inputs.push({ name: "input_ids", value: null });
    outputs.push({ name: "logits", value: null });
  }
  if (entry.runs === "any") inputs.push({ name: "num_logits", value: null });
  for (const spec of manifest.states) {
    const { dtype, shape } = spec;
    if (entry.hasInput(spec.input)) {
      for (const part of spec.inputs(entry.takesApart(spec.input))) {
        inputs.push({ name: part.name, value: { dtype, shape: part.shape } });
      }
    }
    if (entry.hasOutput(spec.input)) outputs.push({ name: spec.output, value: { dtype, shape } });
  }
  return [inputs, outputs];
}

function fixedShapes(entry: GraphEntry, manifest: Manifest): Sides {
  const { tokens = 0, parts = [], derived = [] } = entry.fixed_shape ?? {};
  const float = (name: string, shape: readonly number[]): Wanted => ({ name, value: { dtype: "float32", shape } });
  return [
    [
      { name: "input_ids", value: { dtype: "int32", shape: [1, tokens] } },
      ...derived.map((one) => float(one.input, one.shape)),
      ...parts.map((part) => float(part.input, part.shape)),
    ],
    [...parts.map((part) => float(part.output, part.shape)), float("logits", [1, tokens, manifest.vocab_size])],
  ];
}

function checkSide(graph: string, found: readonly ValueInfo[], wanted: readonly Wanted[]): void {
  const names = wanted.map((one) => one.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new DamagedBundle(`manifest.json: the name '${twice}' is there twice among the graph's values`);
  }
  const there = new Map(found.map((one) => [one.name, one]));
  const odd = [
    ...names.filter((name) => !there.has(name)),
    ...[...there.keys()].filter((name) => !names.includes(name)),
  ];
  if (odd.length > 0) {
    const [first = ""] = odd.sort();
    throw new DamagedBundle(
      `the inputs and outputs of graph '${graph}' are not the manifest's (they differ in '${first}')`,
    );
  }
  for (const { name, value } of wanted) {
    const { dtype = "", shape = [] } = there.get(name) ?? {};
    if (value === null || (dtype === value.dtype && JSON.stringify(shape) === JSON.stringify(value.shape))) continue;
    throw new DamagedBundle(
      `'${name}' is ${dtype} [${shape.join(", ")}] in graph '${graph}', ${value.dtype} [${value.shape.join(", ")}] in ` +
        "the manifest; export the bundle again",
    );
  }
}
