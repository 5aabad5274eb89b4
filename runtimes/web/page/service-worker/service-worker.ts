/**
 * Keeps the page's own files, one cache a version, and answers with them first; `SHELL` and `VERSION` are put in when
 * it is built. Adds the headers that isolate the page where its host sends none. Bundles are not its business: the
 * runtime keeps them, held against their sha256.
 */

export {}; // a module, whose `self` is not any worker's
declare const self: ServiceWorkerGlobalScope;
declare const SHELL: readonly string[];
declare const VERSION: string;

const CACHE = `rrwkv-page ${VERSION}`;
const PATIENCE = 3000; // milliseconds for the page over a slow network
const base = new URL("./", self.location.href);

self.addEventListener("install", (event) => {
  const fresh = SHELL.map((name) => new Request(new URL(name, base), { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(takeOver());
});

self.addEventListener("message", (event) => {
  if (event.data === "take over") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const url = new URL(request.url);
  if (url.origin !== base.origin || !isOurs(url)) return;
  event.respondWith(url.pathname === base.pathname ? page(request) : cacheFirst(request, url));
});

async function takeOver(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(
    names.filter((name) => name.startsWith("rrwkv-page ") && name !== CACHE).map((name) => caches.delete(name)),
  );
  await self.clients.claim();
}

/** The page, and what lies beside it but bundles. */
function isOurs({ pathname }: URL): boolean {
  if (!pathname.startsWith(base.pathname)) return false;
  const name = pathname.slice(base.pathname.length);
  return name === "" || SHELL.includes(name) || name.startsWith("runtime/");
}

/**
 * The page itself is asked for first, to notice when another program answers at this address, as happens on localhost:
 * then this one goes. Else the kept one is shown, which fits the other files that are kept.
 */
async function page(request: Request): Promise<Response> {
  const kept = await (await caches.open(CACHE)).match(base.href);
  const there = await fetch(request, { signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
  if (there === null || there.status >= 500) return kept ? isolated(kept) : Response.error();
  if (there.status === 200 && !(await there.clone().text()).includes('name="rrwkv-page"')) {
    await self.registration.unregister();
    return there;
  }
  return kept ? isolated(kept) : isolated(there);
}

/** A file of this version: kept when it is first used, as onnxruntime's are too large to be fetched for nothing. */
async function cacheFirst(request: Request, url: URL): Promise<Response> {
  const cache = await caches.open(CACHE);
  const name = `${url.origin}${url.pathname}`;
  const kept = await cache.match(name);
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (response.status === 200) await cache.put(name, response.clone()).catch(() => undefined);
  return isolated(response);
}

/** https://web.dev/articles/coop-coep: what SharedArrayBuffer, and so threads, are given for. */
function isolated(response: Response): Response {
  if (response.type === "opaque" || response.type === "error" || response.redirected) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
