/**
 * What our kernels compute of a graph, and the tokens' embedding before it; `docs/bundle-format.md` has calls.
 *
 *     input_ids ──embedding──▶ x ──call──▶ logits, states
 */

import { type Constant, type Graph, type Node, readGraph } from "./onnx.js";

/** That a graph is nothing for the kernels: why. */
export class NoCall extends Error {}

/** A call with all that it reads. */
export interface KernelCall {
  /** `Prefill` … */
  readonly operator: string;
  readonly attributes: ReadonlyMap<string, number>;
  /** Constants by the names that kernels know, the embedding's among them. */
  readonly constants: ReadonlyMap<string, Constant>;
  /** Other inputs: `x`, and the graph's inputs that are called so too. */
  readonly inputs: ReadonlySet<string>;
  /** Names of the graph's outputs in the operator's order. */
  readonly outputs: readonly string[];
}

const OWN = "rrwkv"; // the domain of calls
const FLOAT32 = 1;
const FLOAT16 = 10;

/** The call of a graph for any number of tokens. Throws NoCall, or what is thrown where the bytes are no ONNX file. */
export function callOf(content: Uint8Array): KernelCall {
  const graph = readGraph(content);
  const [call, ...more] = graph.nodes.filter((node) => node.domain === OWN);
  if (call === undefined || more.length > 0 || !call.operator.startsWith("Prefill")) {
    throw new NoCall("its graph is not one call");
  }
  const [constants, inputs] = named(graph, call);
  const x = call.inputs[namesOf(call).indexOf("x")] ?? "";
  for (const [name, constant] of embedding(graph, x)) constants.set(`embedding.${name}`, constant);
  const attributes = [...call.attributes].filter((each): each is [string, number] => typeof each[1] === "number");
  return { operator: call.operator, attributes: new Map(attributes), constants, inputs, outputs: call.outputs };
}

function namesOf(call: Node): readonly string[] {
  const names = call.attributes.get("inputs");
  if (typeof names !== "string") throw new NoCall("its call does not name its inputs");
  const all = names.split(",");
  if (all.length !== call.inputs.length) throw new NoCall("its call names more inputs than there are, or fewer");
  return all;
}

/** The call's inputs by the kernels' names: constants, and others, which all but x are the graph's own of that name. */
function named(graph: Graph, call: Node): [Map<string, Constant>, Set<string>] {
  const constants = new Map<string, Constant>();
  const inputs = new Set<string>();
  for (const [i, name] of namesOf(call).entries()) {
    if (name === "") continue;
    if (constants.has(name) || inputs.has(name)) throw new NoCall(`its call has ${name} twice`);
    const input = call.inputs[i] ?? "";
    const constant = graph.constants.get(input);
    if (constant !== undefined) constants.set(name, constant);
    else if (name === "x" || (name === input && graph.inputs.has(name))) inputs.add(name);
    else throw new NoCall(`its call does not take ${name} as it is given`);
  }
  return [constants, inputs];
}

/** The parts of the embedding that gives x: rows of floats, or blocks of whole numbers and their scales. */
function embedding(graph: Graph, x: string): [name: string, constant: Constant][] {
  const made = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const node = (value: string | undefined, ...operators: string[]): Node => {
    const found = made.get(value ?? "");
    if (found?.domain !== "" || !operators.includes(found.operator)) {
      throw new NoCall("its tokens are embedded in a way of their own");
    }
    return found;
  };
  const gathered = (value: string | undefined): Constant => {
    const { inputs } = node(value, "Gather");
    const table = graph.constants.get(inputs[0] ?? "");
    const [ids] = node(inputs[1], "Unsqueeze").inputs;
    if (table === undefined || ids !== "input_ids") throw new NoCall("its embedding is not of its tokens");
    return table;
  };
  const last = node(x, "Gather", "Cast", "Reshape");
  if (last.operator === "Reshape") {
    const product = node(last.inputs[0], "Mul");
    const levels = node(product.inputs[0], "Cast");
    return [
      ["weight8", gathered(levels.inputs[0])],
      ["scale", gathered(product.inputs[1])],
    ];
  }
  const table = gathered(last.operator === "Cast" ? last.inputs[0] : x);
  if (table.dtype !== FLOAT32 && table.dtype !== FLOAT16) throw new NoCall("its embedding is of no floats");
  return [[table.dtype === FLOAT32 ? "single" : "half", table]];
}
