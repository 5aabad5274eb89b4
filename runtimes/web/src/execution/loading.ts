/**
 * How a bundle is loaded: a plan of what shall run, made of its manifest alone, and then the plan's sessions.
 *
 * Nothing large is read before the plan stands, so what cannot be had is refused at once.
 */

import { checkGraph } from "../bundle/graph_file.js";
import type { Held } from "../bundle/held.js";
import { InputError } from "../errors.js";
import type { FileEntry, Manifest } from "../manifest.js";
import type { Engine, GraphSource, Session } from "./engine.js";
import { checkInterface } from "./interface.js";

/** What is to run. */
export interface Plan {
  readonly manifest: Manifest;
  /** Names in the manifest. */
  readonly graphs: readonly string[];
  /** The files that this takes, the tokenizer's too, each once. */
  readonly files: readonly FileEntry[];
}

/** Throws InputError or DamagedBundle. */
export function makePlan(manifest: Manifest, variant: string | null): Plan {
  if (variant !== null && !manifest.variants.includes(variant)) {
    const known = manifest.variants.join(", ");
    const said = known === "" ? "make one with `rrwkv export --target mobile`" : `it has ${known}`;
    throw new InputError(`no variant '${variant}'; ${said}`);
  }
  const graphs = manifest.ofVariant(variant);
  const used = graphs.flatMap((name) => [manifest.graph(name).file, ...manifest.graph(name).data]);
  if (manifest.tokenizer !== null) used.push(manifest.tokenizer.file);
  const files = [...new Set(used)].map((name) => manifest.file(name));
  for (const graph of manifest.graphs.values()) [graph.file, ...graph.data].forEach((name) => manifest.file(name));
  return { manifest, graphs, files };
}

/** They are graphs, and read no other files than the manifest says. Throws DamagedBundle. */
export function checkGraphs({ manifest, graphs }: Plan, files: Held, bundle: string): void {
  for (const name of graphs) {
    const { file, data } = manifest.graph(name);
    checkGraph(content(files, file), `${bundle}: ${file}`, data);
  }
}

/** A session of each graph, its inputs and outputs as the manifest says. Rejects with DamagedBundle or ProviderError. */
export async function openSessions(
  { manifest, graphs }: Plan,
  files: Held,
  engine: Engine,
  progress: (done: number, of: number) => void = () => undefined,
): Promise<ReadonlyMap<string, Session>> {
  const sessions = new Map<string, Session>();
  const needed = engine.any_alone === true ? graphs.filter((name) => manifest.graph(name).runs === "any") : graphs;
  try {
    for (const name of needed) {
      progress(sessions.size, needed.length);
      const entry = manifest.graph(name);
      const data = new Map(entry.data.map((file) => [file, content(files, file)]));
      const source: GraphSource = { name, entry, manifest, content: content(files, entry.file), data };
      const session = await engine.session(source);
      sessions.set(name, session);
      checkInterface(session, manifest, name);
    }
  } catch (error) {
    await releaseAll(sessions);
    throw error;
  }
  progress(needed.length, needed.length);
  return sessions;
}

export async function releaseAll(sessions: ReadonlyMap<string, Session>): Promise<void> {
  for (const session of sessions.values()) await session.release().catch(() => undefined);
}

/** The names of the plan's files of weights. */
export function weights({ manifest, graphs }: Plan): ReadonlySet<string> {
  return new Set(graphs.flatMap((name) => manifest.graph(name).data));
}

/** A file that the plan has. */
export function content(files: Held, name: string): Uint8Array {
  const found = files.get(name);
  if (found === undefined) throw new Error(`${name} was not read`);
  return found.data;
}
