/** What the tests share: a server of static files with faults on demand, a browser, and what a person does on the page. */

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

import { chromium } from "playwright-core";

/** The built page; a quantized demo bundle; RWKV-7's where there is one. */
export const PAGE = process.env.PAGE ?? "dist";
export const BUNDLE = process.env.BUNDLE;
export const BUNDLE_RWKV7 = process.env.BUNDLE_RWKV7 || null;

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

/**
 * Serves folders by their prefixes.
 *
 * - `folders`   {"/": folder, "/bundle/": folder …}; the longest prefix counts
 * - `isolated`  whether it sends the headers that isolate a page
 * - `kernels`   whether it has our kernels: with them a reply may be over before it is seen to be written
 * - `fault`     (path) => undefined, or "cut": half of the file and then the end, "flip": a wrong byte, or "missing"
 */
export async function serve({
  folders = { "/": PAGE, "/bundle/": BUNDLE },
  isolated = true,
  kernels = false,
  fault = () => undefined,
} = {}) {
  const requests = [];
  const state = { fault, folders };
  const prefixes = Object.keys(folders).sort((a, b) => b.length - a.length);
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    requests.push(path);
    const prefix = prefixes.find((one) => path.startsWith(one));
    const name = normalize(path.slice(prefix.length)) || "";
    const file = join(state.folders[prefix], path.endsWith("/") ? join(name, "index.html") : name);
    const wrong = state.fault(path);
    const left = !kernels && /\/runtime\/kernels/.test(path);
    if (name.startsWith("..") || left || wrong === "missing" || !existsSync(file) || statSync(file).isDirectory()) {
      return response.writeHead(404).end();
    }
    const size = statSync(file).size;
    const headers = { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream", "Content-Length": size };
    response.writeHead(200, { ...headers, "Cache-Control": "no-cache", ...(isolated ? ISOLATED : {}) });
    const stream = createReadStream(file, wrong === "cut" ? { end: size >> 1 } : {});
    let flipped = wrong !== "flip";
    stream.on("data", (piece) => {
      if (!flipped) piece[piece.length >> 1] ^= 1;
      flipped = true;
      response.write(piece);
    });
    stream.on("end", () => (wrong === "cut" ? response.destroy() : response.end()));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://localhost:${port}/`, port, requests, state, close };
}

/** Debian's Chromium, or what $CHROMIUM names. */
export async function launch(...extra) {
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  const root = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath, args: [...root, "--disable-dev-shm-usage", ...extra] });
}

/** A page with the model ready. `prepare` is done before it is opened. */
export async function openPage(browser, url, { context: options = {}, preferences, prepare } = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(90_000); // a machine may be busy
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy|Trusted Type/i.test(message.text())) page.problems.push(message.text());
  });
  if (preferences) {
    await page.addInitScript((kept) => localStorage.setItem("rrwkv-preferences", kept), JSON.stringify(preferences));
  }
  await prepare?.(page, context);
  await page.goto(url);
  return page;
}

export const WASM = { theme: "auto", provider: "wasm", threads: 0 };

export async function whenReady(page) {
  await page.locator(".composer textarea[placeholder='Write a message']").waitFor({ timeout: 120_000 });
}

export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
}

/** The reply that stands last, when it is whole. */
export async function lastReply(page) {
  await page.locator(".turn.writing").waitFor({ state: "detached", timeout: 120_000 });
  return page.locator(".turn .reply").last().innerText();
}

export async function ask(page, text) {
  const before = await page.locator(".turn").count();
  await say(page, text);
  await page.locator(".turn").nth(before).waitFor();
  return lastReply(page);
}

/** Settings of this conversation: short and greedy, so that replies are the same wherever they are made. */
export async function makeGreedy(page, tokens = 24) {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Temperature").fill("0");
  const most = page.getByLabel("Most tokens of a reply");
  await most.fill(String(tokens));
  await most.blur();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
}
