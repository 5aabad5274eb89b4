/** Where bundles come from, and the one that is loaded when the page opens. */

import type { BundleSource } from "rrwkv-runtime/protocol";

export type Place =
  | { kind: "url"; url: string }
  | { kind: "directory"; handle: FileSystemDirectoryHandle }
  | { kind: "files"; files: File[] }
  | { kind: "archive"; file: File };

export function sourceOf(place: Place): BundleSource {
  switch (place.kind) {
    case "url":
      return { url: place.url };
    case "directory":
      return { directory: place.handle };
    case "files":
      return { files: place.files };
    case "archive":
      return { archive: place.file };
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

/** What a folder's address offers, by its manifest; null if there is none. What it says is not trusted but shown. */
export async function offerAt(url: string): Promise<Offer | null> {
  try {
    const response = await fetch(new URL("manifest.json", url));
    if (!response.ok || Number(response.headers.get("content-length") ?? 0) > LARGEST_MANIFEST) return null;
    const manifest: unknown = await response.json();
    const { format, bundle_id: bundleId, files } = manifest as Record<string, unknown>;
    if (format !== "rrwkv-bundle" || typeof bundleId !== "string" || !Array.isArray(files)) return null;
    const sizes = files.map((file: { name?: unknown; bytes?: unknown }) =>
      String(file.name).startsWith("variants") ? 0 : Number(file.bytes),
    );
    return { bundleId, bytes: sizes.reduce((sum, size) => sum + size, 0) };
  } catch {
    return null; // nothing there, or no network: loading says why
  }
}
