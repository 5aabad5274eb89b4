/**
 * Builds the page: `node build.mjs [-o DIR]`, by default into `dist`. All is static and relative, for any host and folder.
 * onnxruntime's own files go to `runtime/`.
 */

import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { build } from "esbuild";

import "../schema.mjs";
import { icon } from "./icons.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { output: { type: "string", short: "o", default: join(here, "dist") } } });
const out = resolve(values.output);
const kernels = join(here, "..", "dist", "kernels");
const ort = join(here, "..", "node_modules", "onnxruntime-web", "dist");

/** By what is imported: the script, and the .wasm and .mjs files that it loads. */
const ONNXRUNTIME = {
  "onnxruntime-web/wasm": ["ort.wasm.min.mjs", "ort-wasm-simd-threaded"],
  "onnxruntime-web/webgpu": ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"],
};

/** What the page may do; `_headers` says it again, for workers, to which a page's own says nothing. */
const CSP = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self' blob:",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self' blob: https: http://localhost:* http://127.0.0.1:*",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** For the page alone: onnxruntime's own workers start others by their addresses. */
const TRUSTED = "require-trusted-types-for 'script'; trusted-types rrwkv dompurify";

const COMMON = {
  bundle: true,
  format: "esm",
  minify: true,
  target: ["es2022", "chrome111", "firefox114", "safari16.4"],
  legalComments: "none",
  logLevel: "warning",
  outdir: out,
};

await rm(out, { recursive: true, force: true });
await mkdir(join(out, "runtime"), { recursive: true });
await build({
  ...COMMON,
  entryPoints: { app: join(here, "src/main.tsx"), style: join(here, "src/style/main.css") },
  jsx: "automatic",
  jsxImportSource: "preact",
});
await build({ ...COMMON, entryPoints: { worker: join(here, "src/engine/worker.ts") }, plugins: [onnxruntimeApart()] });
await build({ ...COMMON, entryPoints: { "runtime/thread": join(here, "../src/execution/kernels/thread.ts") } });
await cp(join(here, "static"), out, { recursive: true });
for (const size of [192, 512]) await writeFile(join(out, `icon-${size}.png`), icon(size));
await writeFile(join(out, "LICENSES.txt"), await licences());
await finish();

/** onnxruntime-web's own scripts and .wasm files lie beside ours, and are fetched when they are used. */
function onnxruntimeApart() {
  return {
    name: "onnxruntime-apart",
    setup(setup) {
      const path = join(here, "../src/worker/worker.ts"); // the package's list of side effects has it as it is built
      setup.onResolve({ filter: /^rrwkv-runtime\/worker$/ }, () => ({ path, sideEffects: true }));
      setup.onResolve({ filter: /^onnxruntime-web/ }, async ({ path }) => {
        const [script, wasm] = ONNXRUNTIME[path] ?? [];
        if (!script) return { errors: [{ text: `of ${path} nobody knows which files it takes` }] };
        for (const name of [script, `${wasm}.mjs`, `${wasm}.wasm`])
          await cp(join(ort, name), join(out, "runtime", name));
        return { path: `./runtime/${script}`, external: true };
      });
    },
  };
}

/** The rest depends on what was built: the version is the hash of it, and the service worker has the list. */
async function finish() {
  for (const name of await readdir(kernels).catch(() => [])) {
    if (name.endsWith(".wasm")) await cp(join(kernels, name), join(out, "runtime", name)); // where they are built
  }
  const files = (await readdir(out)).filter((name) => name !== "runtime" && name !== "LICENSES.txt").sort();
  const digest = createHash("sha256");
  for (const name of files) digest.update(name).update(await readFile(join(out, name)));
  for (const name of (await readdir(join(out, "runtime"))).sort()) {
    digest.update(name).update(await readFile(join(out, "runtime", name)));
  }
  const version = digest.digest("hex").slice(0, 16);
  const index = await readFile(join(out, "index.html"), "utf8");
  await writeFile(
    join(out, "index.html"),
    index.replace("{{CSP}}", `${CSP}; ${TRUSTED}`).replace("{{VERSION}}", version),
  );
  await build({
    ...COMMON,
    format: "iife",
    entryPoints: { "service-worker": join(here, "service-worker/service-worker.ts") },
    define: {
      SHELL: JSON.stringify(["", ...files.filter((name) => name !== "index.html")]),
      VERSION: JSON.stringify(version),
    },
  });
  await writeFile(join(out, "_headers"), headers());
  const all = [...(await readdir(out)), "rrwkv-page.json"].sort();
  await writeFile(join(out, "rrwkv-page.json"), `${JSON.stringify({ version, files: all })}\n`);
}

/** As Cloudflare Pages and Netlify read it; other hosts are told the same in their own ways. */
function headers() {
  const said = {
    "Content-Security-Policy": `${CSP}; frame-ancestors 'none'`,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
  };
  const lines = Object.entries(said).map(([name, value]) => `  ${name}: ${value}`);
  return ["/*", ...lines, "", "/service-worker.js", "  Cache-Control: no-cache", ""].join("\n");
}

/** Of all that is in the page by others. */
async function licences() {
  const packages = [
    ...["preact", "@preact/signals", "@preact/signals-core", "marked", "dompurify", "idb"].map((name) => [
      "node_modules",
      name,
    ]),
    ...["onnxruntime-web", "@huggingface/tokenizers", "hash-wasm", "fflate"].map((name) => ["../node_modules", name]),
  ];
  const texts = packages.map(async ([root, name]) => {
    const folder = join(here, root, name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(join(folder, file), "utf8") : "";
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(78)}\n\n`);
}
