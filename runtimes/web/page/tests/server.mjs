/** A server of static files, with faults on demand. */

import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

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
 * Put before the worker's script: a reply stands after `standAfter` tokens until it is stopped, however fast the device
 * is. Between two tokens the worker waits for a message to itself (`nextTask`), which is what is held.
 */
const STANDING = `{
  let tokens = 0, stop, standing;
  const say = self.postMessage, toItself = MessagePort.prototype.postMessage;
  self.standAfter = Infinity;
  self.postMessage = (message, transfer) => {
    if (message.tells?.token && ++tokens === self.standAfter) standing = new Promise((resolve) => (stop = resolve));
    say.call(self, message, transfer);
  };
  self.addEventListener("message", ({ data }) => {
    if (data.call === "stop") stop?.();
    if (data.call === "chat_turn") tokens = 0;
  });
  MessagePort.prototype.postMessage = async function (...message) {
    await standing;
    toItself.apply(this, message);
  };
}
`;

/**
 * Serves folders by their prefixes.
 *
 * - `folders`   {"/": folder, "/bundle/": folder …}; the longest prefix counts
 * - `isolated`  whether it sends the headers that isolate a page
 * - `kernels`   whether it has our kernels; without them onnxruntime-web runs what is quantized, too
 * - `fault`     (path) => undefined, or "cut": half of the file and then the end, "flip": a wrong byte, or "missing"
 */
export async function serve({
  folders = { "/": PAGE, "/bundle/": BUNDLE },
  isolated = true,
  kernels = true,
  fault = () => undefined,
} = {}) {
  const state = { fault, folders };
  const prefixes = Object.keys(folders).sort((a, b) => b.length - a.length);
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    const prefix = prefixes.find((one) => path.startsWith(one));
    const name = normalize(path.slice(prefix.length)) || "";
    const file = join(state.folders[prefix], path.endsWith("/") ? join(name, "index.html") : name);
    const wrong = state.fault(path);
    const left = !kernels && /\/runtime\/kernels/.test(path);
    if (name.startsWith("..") || left || wrong === "missing" || !existsSync(file) || statSync(file).isDirectory()) {
      return response.writeHead(404).end();
    }
    response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
    response.setHeader("Cache-Control", "no-cache");
    for (const [header, value] of Object.entries(isolated ? ISOLATED : {})) response.setHeader(header, value);
    if (path === "/worker.js") return response.end(STANDING + readFileSync(file, "utf8"));
    send(file, wrong, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://localhost:${port}/`, port, state, close };
}

function send(file, wrong, response) {
  const { size } = statSync(file);
  response.setHeader("Content-Length", size);
  const stream = createReadStream(file, { highWaterMark: 2 ** 20, end: wrong === "cut" ? size >> 1 : Infinity });
  let flipped = wrong !== "flip";
  stream.on("data", (piece) => {
    if (!flipped) piece[piece.length >> 1] ^= 1;
    flipped = true;
    response.write(piece);
  });
  stream.on("end", () => (wrong === "cut" ? response.destroy() : response.end()));
}
