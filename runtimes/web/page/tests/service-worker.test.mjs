/** The service worker makes way: for a newer page when that is wanted, and for another program at once. */

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { launch, openPage, WASM, whenReady } from "./harness.mjs";
import { BUNDLE, PAGE, serve } from "./server.mjs";

let browser, folder;
before(async () => {
  [browser, folder] = [await launch(), await mkdtemp(join(tmpdir(), "page-"))];
});
after(async () => {
  await browser.close();
  await rm(folder, { recursive: true });
});

const version = (page) => page.locator("meta[name=rrwkv-page]").getAttribute("content");

/** The page as a later build would be. */
async function newer() {
  const made = join(folder, "newer");
  await cp(PAGE, made, { recursive: true });
  const { version: old } = JSON.parse(await readFile(join(PAGE, "rrwkv-page.json"), "utf8"));
  for (const name of ["index.html", "service-worker.js"]) {
    const text = await readFile(join(made, name), "utf8");
    assert.ok(text.includes(old), name);
    await writeFile(join(made, name), text.replaceAll(old, "newer"));
  }
  return made;
}

test("a newer page waits until somebody wants it", async () => {
  const server = await serve();
  const page = await openPage(browser, server.url, { preferences: WASM });
  await whenReady(page);
  const old = await version(page);
  server.state.folders = { "/": await newer(), "/bundle/": BUNDLE };
  await page.reload();
  await page.locator("[data-notice=newer]").waitFor();
  assert.equal(await version(page), old);
  await page.getByRole("button", { name: "Use it" }).click();
  await page.waitForFunction(() => document.querySelector("meta[name=rrwkv-page]")?.content === "newer");
  await whenReady(page);
  await page.context().close();
  await server.close();
});

test("another program at this address is shown, and not this page", async () => {
  const server = await serve();
  const page = await openPage(browser, server.url, { preferences: WASM });
  await whenReady(page);
  await writeFile(join(folder, "index.html"), "<title>Another</title><p>Another program</p>");
  server.state.folders = { "/": folder, "/bundle/": folder };
  await page.reload();
  assert.equal(await page.title(), "Another");
  await page.waitForFunction(async () => (await navigator.serviceWorker.getRegistrations()).length === 0);
  await page.context().close();
  await server.close();
});
