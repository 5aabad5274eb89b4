/** A bundle that was found: where it was asked for, or, the same, among those that this browser keeps. */

import { LARGEST_JSON } from "../common/reading.js";
import { BundleError } from "../errors.js";
import { type FileEntry, Manifest } from "../manifest.js";
import { type Held, holdFiles, type HoldOptions } from "./held.js";
import type { Keeping, KeptBundles } from "./kept.js";
import { type BundleSource, type Source, sourceOf } from "./source.js";

export interface Found {
  readonly source: Source;
  readonly manifest: Manifest;
  /** The bytes of manifest.json. */
  readonly bytes: Uint8Array;
}

/** Files of a found bundle, and whether they are kept now. */
export interface Fetched {
  readonly files: Held;
  readonly from: Source["from"];
  /** Why the files are not kept, in one line; null: they are, or were not to be. */
  readonly keep_note: string | null;
}

/** What is at a place. Rejects with BundleError. */
export async function findBundle(
  place: BundleSource | Source,
  kept: KeptBundles | null,
  signal?: AbortSignal,
): Promise<Found> {
  if ("kept" in place) {
    const found = await keptBundle(kept, place.kept);
    if (found === null) throw new BundleError("that bundle is not kept in this browser; load it from where it is");
    return found;
  }
  const source = "manifest" in place ? place : sourceOf(place);
  let found: Found;
  try {
    found = await manifestOf(source, signal);
  } catch (error) {
    // Without a network, what was there the last time is what there is.
    const known = source.from === "network" ? await keptBundle(kept, (await kept?.at(source.name)) ?? null) : null;
    if (known === null) throw error;
    return known;
  }
  const same = await keptBundle(kept, found.manifest.bundle_id);
  if (same === null) return found;
  await source.close?.();
  if (source.from === "network") await kept?.remember(source.name, same.manifest.bundle_id).catch(() => undefined);
  return same;
}

/** A bundle that is kept, if it is there and what it says it is. */
async function keptBundle(kept: KeptBundles | null, bundle_id: string | null): Promise<Found | null> {
  const source = bundle_id === null ? null : await kept?.open(bundle_id);
  if (!source) return null;
  try {
    const found = await manifestOf(source);
    return found.manifest.bundle_id === bundle_id ? found : null;
  } catch {
    return null;
  }
}

async function manifestOf(source: Source, signal?: AbortSignal): Promise<Found> {
  const bytes = await source.manifest(LARGEST_JSON + 1, signal);
  return { source, bytes, manifest: await Manifest.parse(bytes, source.name) };
}

/** Read files of a found bundle, and keep them where there is a place and they are not kept. Rejects with BundleError. */
export async function fetchFiles(
  { source, manifest, bytes }: Found,
  wanted: readonly FileEntry[],
  kept: KeptBundles | null,
  options: HoldOptions,
): Promise<Fetched> {
  const { bundle_id } = manifest;
  const keeping = source.from === "kept" ? null : await begin(kept, bundle_id, bytes);
  try {
    const files = await holdFiles(source, wanted, keeping === null ? options : { ...options, keeper: keeping });
    await keeping?.finish();
    if (source.from === "network" && keeping?.note === null) {
      await kept?.remember(source.name, bundle_id).catch(() => undefined);
    }
    return { files, from: source.from, keep_note: keeping?.note ?? null };
  } catch (error) {
    keeping?.abandon();
    throw error;
  } finally {
    await source.close?.();
  }
}

async function begin(kept: KeptBundles | null, bundle_id: string, manifest: Uint8Array): Promise<Keeping | null> {
  try {
    return (await kept?.keep(bundle_id, manifest)) ?? null;
  } catch {
    return null;
  }
}
