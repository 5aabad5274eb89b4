/** A real `rrwkv serve --api-key`: the page asks for the key, or has it from its address, and sends it to no other server. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { launch, openPage, WASM, whenReady } from "./harness.mjs";
import { BUNDLE } from "./server.mjs";

const KEY = "sésame+/ 1"; // every character that addresses and headers take otherwise
const { RRWKV } = process.env;
const skip = !RRWKV && "RRWKV names no rrwkv that serves";

let browser, server, url, elsewhere;
const asked = []; // of the server elsewhere
before(async () => {
  if (skip) return;
  const environment = { ...process.env, RRWKV_API_KEY: KEY };
  server = spawn(RRWKV, ["serve", BUNDLE, "--port", "0", "--threads", "1"], { env: environment });
  elsewhere = createServer((request, response) => {
    asked.push(request);
    response.writeHead(401, { "Access-Control-Allow-Origin": "*" }).end();
  }).listen(0, "127.0.0.1");
  const lines = createInterface(server.stdout);
  for await (const line of lines) {
    url = /the chat page is at (http\S+\/), and asks for the key/.exec(line)?.[1];
    if (line.includes("the chat page")) break;
  }
  assert.ok(url, "it serves the page");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  elsewhere?.close();
  if (server?.kill()) await once(server, "exit");
});

const notice = (page) => page.locator("[data-notice=model]");

async function give(page, key) {
  await page.getByLabel("Key", { exact: true }).fill(key);
  await notice(page).getByRole("button", { name: "Open" }).click();
}

test("the page asks for the key, says that one is wrong, and has it until the tab is closed", { skip }, async () => {
  const page = await openPage(browser, url, { preferences: WASM });
  await notice(page).getByText("This server asks for a key.").waitFor();
  await page.waitForFunction(() => document.activeElement.getAttribute("aria-label") === "Key");
  await give(page, "another");
  await notice(page).getByText("That is not this server's key.").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.getItem("rrwkv-key")), null);
  await give(page, KEY);
  await whenReady(page);
  assert.equal(await notice(page).count(), 0);
  const answered = page.waitForResponse(/manifest\.json$/);
  await page.reload();
  assert.equal((await answered).status(), 200);
  await whenReady(page);
  assert.equal(await page.evaluate((key) => JSON.stringify(localStorage).includes(key), KEY), false);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("a key in the address is taken from there, and goes to the bundle of this server alone", { skip }, async () => {
  const sent = [];
  const prepare = (page, context) =>
    context.on("request", (request) => request.headers().authorization && sent.push(new URL(request.url())));
  const page = await openPage(browser, `${url}#key=${encodeURIComponent(KEY)}&c=1`, { preferences: WASM, prepare });
  await whenReady(page);
  assert.equal(new URL(page.url()).hash, "#c=1");
  assert.ok(sent.length > 2);
  for (const { origin, pathname } of sent) assert.ok(`${origin}/` === url && pathname.startsWith("/bundle/"), pathname);

  const other = `http://127.0.0.1:${elsewhere.address().port}/bundle/`;
  await page.goto(`${url}?bundle=${other}`);
  await notice(page)
    .getByText(/its server asks for a key/)
    .waitFor();
  assert.equal(await page.getByLabel("Key", { exact: true }).count(), 0);
  assert.ok(asked.length > 0);
  for (const { method, headers } of asked) assert.deepEqual([method, headers.authorization], ["GET", undefined]);
  await page.context().close();
});
