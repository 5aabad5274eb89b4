/** A bundle at an address whose server asks for a key. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { AccessDenied, BundleError, Model } from "../src/index.js";
import { CONFORMANCE } from "./bundles.js";

const KEY = "Bearer secret";

test("a key is sent with every request, and to nowhere else", async () => {
  const server = createServer((request, response) => {
    const { url = "", headers } = request;
    if (headers.authorization !== KEY) response.writeHead(401).end();
    else if (url.startsWith("/moved/")) response.writeHead(302, { Location: url.replace("/moved", "/bundle") }).end();
    else {
      readFile(CONFORMANCE + url).then(
        (body) => response.end(body),
        () => response.writeHead(404).end(),
      );
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const load = (folder: string, headers?: Record<string, string>): Promise<Model> => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${folder}/`;
    return Model.load({ url, ...(headers && { headers }) }, { provider: "wasm", threads: 1 });
  };
  try {
    const denied = (how: string) => (error: unknown) => error instanceof AccessDenied && error.message.endsWith(how);
    await assert.rejects(load("bundle"), denied("asks for a key"));
    await assert.rejects(load("bundle", { Authorization: "Bearer x" }), denied("does not take this key"));
    assert.equal((await load("bundle", { Authorization: KEY })).origin.from, "network");
    await assert.rejects(load("moved", { Authorization: KEY }), BundleError);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
