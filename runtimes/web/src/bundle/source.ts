/**
 * Where a bundle's bytes come from: a folder at an address, files or a directory that a person chose, or one file that
 * holds all. A source is asked for the manifest first, and then for files that it lists.
 */

import { brief } from "../common/reading.js";
import { AccessDenied, BundleError, DamagedBundle } from "../errors.js";
import { iterated } from "./iterated.js";
import { type FileEntry, MANIFEST_NAME } from "../manifest.js";
import { archiveSource } from "./archive.js";

/** A file's bytes as they come. */
export interface Incoming {
  readonly entry: FileEntry;
  readonly pieces: AsyncIterable<Uint8Array>;
}

export interface Source {
  /** What messages call it. */
  readonly name: string;
  readonly from: "network" | "disk" | "kept";
  /** The beginning of manifest.json, of no more bytes than that. Rejects with BundleError. */
  manifest(most: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** These files, in an order of its own; each is read to its end before the next. Throws BundleError. */
  files(wanted: readonly FileEntry[], signal?: AbortSignal): AsyncIterable<Incoming>;
  /** Stop what is under way. */
  close?(): Promise<void>;
}

/**
 * Where a bundle is.
 *
 * - `url`        a folder's address, or that of a bundle in one file (it ends with `.zip`, query aside); `headers` are sent
 *                with each request, such as a key: then no redirection is followed
 * - `archive`    a bundle in one file that a person chose or dropped
 * - `files`      what a directory picker gave (`<input webkitdirectory>`), `webkitRelativePath` and all
 * - `directory`  what the File System Access API gave (`showDirectoryPicker`)
 * - `kept`       the id of a bundle that this browser keeps
 */
export type BundleSource =
  | { readonly url: string; readonly headers?: Headers }
  | { readonly archive: Blob }
  | { readonly files: readonly File[] }
  | { readonly directory: FileSystemDirectoryHandle }
  | { readonly kept: string };

type Headers = Readonly<Record<string, string>>;

/** The source of a place that is not kept. */
export function sourceOf(place: Exclude<BundleSource, { readonly kept: string }>): Source {
  if ("archive" in place) return archiveOf(place.archive);
  if ("files" in place) return opened("the folder", pickedFiles(place.files));
  if ("directory" in place) return opened(place.directory.name, (name) => fileIn(place.directory, name));
  const url = new URL(place.url, (globalThis as { location?: Location }).location?.href);
  const { headers = {} } = place;
  return url.pathname.endsWith(".zip") ? archiveAt(url, headers) : folderAt(url, headers);
}

function archiveOf(archive: Blob): Source {
  const name = archive instanceof File ? archive.name : "the archive";
  return archiveSource(name, "disk", () => Promise.resolve(archive.stream()));
}

function archiveAt(url: URL, headers: Headers): Source {
  return archiveSource(url.href, "network", async (signal) => bodyOf(await fetched(url, headers, signal)));
}

function folderAt(url: URL, headers: Headers): Source {
  const folder = url.pathname.endsWith("/") ? url : new URL(`${url.href.replace(/[?#].*$/s, "")}/`);
  const get = (name: string, signal?: AbortSignal): Promise<Response> =>
    fetched(new URL(name, folder), headers, signal, name);
  return {
    name: folder.href,
    from: "network",
    manifest: async (most, signal) => bounded(bodyOf(await get(MANIFEST_NAME, signal)), most),
    async *files(wanted, signal) {
      for (const entry of wanted) yield { entry, pieces: bodyOf(await get(entry.name, signal)) };
    },
  };
}

/** Rejects with BundleError. */
async function fetched(url: URL, headers: Headers, signal?: AbortSignal, name = ""): Promise<Response> {
  let response: Response;
  const secret = Object.keys(headers).length > 0;
  try {
    // What is there may be another bundle by now, of which a browser still knows some files.
    const options = { cache: "no-cache", redirect: secret ? "error" : "follow", headers } as const;
    response = await fetch(url, { ...options, ...(signal && { signal }) });
  } catch (error) {
    throw signal?.aborted === true ? error : new BundleError(`${url.href}: cannot be fetched (${brief(error)})`);
  }
  if (response.ok) return response;
  if (response.status === 401) {
    throw new AccessDenied(`${url.href}: its server ${secret ? "does not take this key" : "asks for a key"}`);
  }
  if (name === MANIFEST_NAME) {
    throw new BundleError(`${url.href}: not a bundle, there is no ${MANIFEST_NAME} (status ${response.status})`);
  }
  throw new DamagedBundle(`${url.href} is missing (status ${response.status}); copy the bundle whole`);
}

function bodyOf(response: Response): ReadableStream<Uint8Array> {
  return response.body ?? new Blob([]).stream();
}

/** A source over something that opens files by their names in the bundle; null: there is none. */
export function opened(name: string, open: (name: string) => Promise<Blob | null>): Source {
  return {
    name,
    from: "disk",
    async manifest(most) {
      const file = await open(MANIFEST_NAME);
      if (file === null) throw new BundleError(`${name}: not a bundle, it has no ${MANIFEST_NAME}`);
      return new Uint8Array(await file.slice(0, most).arrayBuffer());
    },
    async *files(wanted) {
      for (const entry of wanted) {
        const file = await open(entry.name);
        if (file === null) throw new DamagedBundle(`${name}: ${entry.name} is missing; copy the bundle whole`);
        checkSize(name, entry, file.size);
        yield { entry, pieces: file.stream() };
      }
    },
  };
}

function pickedFiles(files: readonly File[]): (name: string) => Promise<Blob | null> {
  const paths = files.map((file) => [file.webkitRelativePath || file.name, file] as const);
  // The bundle's folder is the one with the manifest nearest to what was chosen.
  const manifests = paths
    .map(([path]) => path)
    .filter((path) => path === MANIFEST_NAME || path.endsWith(`/${MANIFEST_NAME}`));
  const [nearest = MANIFEST_NAME] = manifests.sort((a, b) => a.split("/").length - b.split("/").length);
  const folder = nearest.slice(0, -MANIFEST_NAME.length);
  const byName = new Map(paths);
  return (name) => Promise.resolve(byName.get(folder + name) ?? null);
}

async function fileIn(directory: FileSystemDirectoryHandle, name: string): Promise<Blob | null> {
  try {
    let folder = directory;
    const parts = name.split("/");
    for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part);
    return await (await folder.getFileHandle(parts.at(-1) ?? "")).getFile();
  } catch (error) {
    if (error instanceof DOMException && (error.name === "NotFoundError" || error.name === "TypeMismatchError"))
      return null;
    throw new BundleError(`${directory.name}: ${name} cannot be read (${brief(error)})`);
  }
}

/** No more bytes of a stream than that. */
async function bounded(pieces: AsyncIterable<Uint8Array>, most: number): Promise<Uint8Array> {
  const kept: Uint8Array[] = [];
  let size = 0;
  for await (const piece of iterated(pieces)) {
    kept.push(piece.subarray(0, most - size));
    size += piece.length;
    if (size >= most) break;
  }
  return new Uint8Array(await new Blob(kept as BlobPart[]).arrayBuffer());
}

/** Throws DamagedBundle. */
export function checkSize(bundle: string, entry: FileEntry, size: number): void {
  if (size === entry.bytes) return;
  throw new DamagedBundle(
    `${bundle}: ${entry.name} has ${size} bytes instead of ${entry.bytes}; copy the bundle again`,
  );
}
