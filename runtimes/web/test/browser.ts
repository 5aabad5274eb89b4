/** A browser without a window, and a server of what it loads; it is found by `CHROMIUM`, or by its usual names. */

import { spawn } from "node:child_process";
import { access, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

import { ROOT } from "./bundles.js";

const HERE = `${ROOT}/runtimes/web`;
/** What names stand for in a browser: a build does that for a page. */
const PACKAGES: Record<string, string> = {
  "@bufbuild/protobuf/wire": "@bufbuild/protobuf/dist/esm/wire/index.js",
  "@huggingface/tokenizers": "@huggingface/tokenizers/dist/tokenizers.mjs",
  fflate: "fflate/esm/browser.js",
  "hash-wasm": "hash-wasm/dist/index.esm.js",
  "onnxruntime-web/wasm": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
  "onnxruntime-web/webgpu": "onnxruntime-web/dist/ort.webgpu.bundle.min.mjs",
};
const TYPES: Record<string, string> = {
  html: "text/html",
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
};

/** The path of Chromium; null where there is none. */
export async function chromium(): Promise<string | null> {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const usual = folders.flatMap((folder) => names.map((name) => join(folder, name)));
  for (const path of [process.env.CHROMIUM ?? "", ...usual]) {
    if (
      path !== "" &&
      (await access(path).then(
        () => true,
        () => false,
      ))
    )
      return path;
  }
  return null;
}

/** A site with this package, the conformance bundle, and a page that runs a script and tells what it gave. */
export class Site {
  /** Addresses that were asked for. */
  readonly asked: string[] = [];
  /** Answer nothing any more, as without a network. */
  offline = false;
  private told: (said: string) => void = () => undefined;
  private readonly server: Server;

  constructor(private readonly isolated: boolean) {
    this.server = createServer((request, response) => {
      this.answer(request)
        .then(({ body, type }) => {
          const headers = this.isolated
            ? { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" }
            : {};
          response.writeHead(200, { "Content-Type": type, ...headers }).end(body);
        })
        .catch(() => response.writeHead(404).end());
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** What a module gives that this browser runs, as `export default async (rt) => …` with the client's module. */
  async run(browser: string, profile: string, script: string): Promise<unknown> {
    const { port } = this.server.address() as AddressInfo;
    const said = new Promise<string>((resolve) => (this.told = resolve));
    this.script = script;
    const args = ["--headless=new", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`];
    const child = spawn(browser, [...args, `http://127.0.0.1:${port}/page.html`], { stdio: "ignore" });
    const gone = new Promise<never>((_, reject) => {
      child.on("exit", () => {
        reject(new Error("the browser ended"));
      });
    });
    try {
      return JSON.parse(await Promise.race([said, gone])) as unknown;
    } finally {
      gone.catch(() => undefined);
      const ended = new Promise((resolve) => child.on("exit", resolve));
      child.kill();
      await ended;
    }
  }

  private script = "";

  private async answer(request: IncomingMessage): Promise<{ body: string | Buffer; type: string }> {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const type = TYPES[pathname.split(".").at(-1) ?? ""] ?? "application/octet-stream";
    if (pathname === "/said") {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      this.told(Buffer.concat(pieces).toString());
      return { body: "", type };
    }
    if (pathname === "/page.html") return { body: PAGE, type };
    if (pathname === "/script.js") return { body: this.script, type };
    this.asked.push(pathname);
    if (pathname.startsWith("/bundle/")) {
      if (this.offline) throw new Error("offline");
      return { body: await readFile(`${ROOT}/tests/conformance${pathname}`), type };
    }
    const body = await readFile(HERE + pathname);
    return { body: pathname.startsWith("/build/src/") ? resolved(body.toString()) : body, type };
  }
}

const PAGE = `<!doctype html><script type="module">
import * as client from "/build/src/worker/client.js";
import script from "/script.js";
const said = await script(client).catch((error) => ({ failed: String(error) }));
await fetch("/said", { method: "POST", body: JSON.stringify(said) });
</script>`;

function resolved(code: string): string {
  return code.replace(/((?:from|import\()\s*)"([^".][^"]*)"/g, (whole, before: string, name: string) => {
    const path = PACKAGES[name];
    return path === undefined ? whole : `${before}"/node_modules/${path}"`;
  });
}

/** A browser's folder for one test. */
export async function withProfile<T>(work: (profile: string) => Promise<T>): Promise<T> {
  const profile = await mkdtemp(join(tmpdir(), "rrwkv-browser-"));
  try {
    return await work(profile);
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
