/** Where bundles come from, and the one that is loaded when the page opens. */

import type { BundleSource } from "rrwkv-runtime/protocol";

import { headersFor } from "./key.ts";

export type Place =
  | { kind: "url"; url: string }
  | { kind: "directory"; handle: FileSystemDirectoryHandle }
  | { kind: "files"; files: File[] }
  | { kind: "archive"; file: File }
  | { kind: "kept"; bundleId: string; name: string };

export function sourceOf(place: Place): BundleSource {
  switch (place.kind) {
    case "url":
      return { url: place.url, headers: headersFor(place.url) };
    case "directory":
      return { directory: place.handle };
    case "files":
      return { files: place.files };
    case "archive":
      return { archive: place.file };
    case "kept":
      return { kept: place.bundleId };
  }
}

/** What people call it: the last part of its path. */
export function nameOf(place: Place): string {
  switch (place.kind) {
    case "url":
      return new URL(place.url).pathname.split("/").filter(Boolean).at(-1) ?? new URL(place.url).host;
    case "directory":
      return place.handle.name;
    case "files":
      return place.files[0]?.webkitRelativePath.split("/")[0] || "folder";
    case "archive":
      return place.file.name;
    case "kept":
      return place.name;
  }
}

/** The address that the page was made for, in its head; by default `bundle/` beside it. */
export function placeBeside(): Place {
  const said = document.querySelector<HTMLMetaElement>("meta[name=rrwkv-bundle]")?.content || "bundle/";
  return { kind: "url", url: new URL(said, document.baseURI).href };
}

export interface Offer {
  bundleId: string;
  /** Of all files that the default graphs need. */
  bytes: number;
}

const LARGEST_MANIFEST = 4 * 2 ** 20;

/**
 * What a folder's address offers, by its manifest; null if there is none, "unreachable" if nothing answers, or not without
 * a key: then the runtime may have kept what was there. What the manifest says is not trusted but shown.
 */
export async function offerAt(url: string): Promise<Offer | "unreachable" | null> {
  let response: Response;
  try {
    const headers = headersFor(url);
    const redirect = Object.keys(headers).length > 0 ? "error" : "follow";
    response = await fetch(new URL("manifest.json", url), { cache: "no-cache", redirect, headers });
  } catch {
    return "unreachable";
  }
  if (response.status === 401) return "unreachable";
  if (!response.ok || Number(response.headers.get("content-length") ?? 0) > LARGEST_MANIFEST) return null;
  try {
    return offered((await response.json()) as Record<string, unknown>);
  } catch {
    return null;
  }
}

function offered(manifest: Record<string, unknown>): Offer | null {
  const { format, bundle_id: bundleId, files } = manifest;
  if (format !== "rrwkv-bundle" || typeof bundleId !== "string" || !Array.isArray(files)) return null;
  const sizes = files.map(({ name, bytes }: { name?: unknown; bytes?: unknown }) =>
    String(name).startsWith("variants") ? 0 : Number(bytes),
  );
  return { bundleId, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}
