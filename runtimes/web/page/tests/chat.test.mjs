/** A person talks with the demo: replies, stop, retry, undo, edit; offline; the same conversation after a reload. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask, begin, haveTexts, launch, makeGreedy, openPage, replyTo, WASM, whenReady } from "./harness.mjs";
import { serve } from "./server.mjs";

let browser, server;
before(async () => {
  [browser, server] = [await launch(), await serve()];
});
after(async () => {
  await browser.close();
  await server.close();
});

const said = (page) => page.locator(".bubble");

async function ready(options = {}) {
  const page = await openPage(browser, server.url, { preferences: WASM, ...options });
  await whenReady(page);
  return page;
}

test("a message is answered, and the page says how fast and on what", async () => {
  const page = await ready();
  await makeGreedy(page);
  const reply = await ask(page, "Hi! How are you today?");
  assert.ok(reply.length > 5);
  assert.match(await page.locator(".facts").last().innerText(), /^\d+ tokens · \d+\.\d tokens\/s/);
  await page.getByRole("button", { name: /^Model: WebAssembly, \d+ threads?$/ }).click();
  const facts = await page.locator(".facts-list").innerText();
  for (const line of [/with 13\.7M parameters in int8/, /Files\s+15 MB/, /State of a conversation\s+\d/])
    assert.match(facts, line);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("a stopped reply stays; retry, edit and undo go on from where they should", async () => {
  const page = await ready();
  await makeGreedy(page);
  const first = await ask(page, "Hi! How are you today?");
  const second = await ask(page, "What do you like to eat?");
  const click = (name) => page.getByRole("button", { name, exact: true }).click();
  assert.equal(await replyTo(page, () => click("Retry")), second);
  await click("Undo");
  await page.locator(".turn").nth(1).waitFor({ state: "detached" });
  const box = page.getByLabel("Message", { exact: true });
  assert.equal(await box.inputValue(), "What do you like to eat?");
  assert.equal(await replyTo(page, () => click("Send")), second);

  await page.locator(".said").first().hover();
  await page.getByRole("button", { name: "Edit" }).first().click();
  await page.getByLabel("Edit the message").fill("Tell me about the sea.");
  assert.notEqual(await replyTo(page, () => click("Send again")), first);
  await haveTexts(said(page), ["Tell me about the sea."]);
  await page.context().close();
});

test("a reply is stopped by its button and by Escape, and the conversation goes on after it", async () => {
  const page = await ready();
  await makeGreedy(page);
  const box = page.getByLabel("Message", { exact: true });
  for (const stop of [() => page.getByRole("button", { name: "Stop" }).click(), () => box.press("Escape")]) {
    await begin(page, "Tell me a long story about a cat, a dog and the sea.");
    assert.ok((await replyTo(page, stop)).length > 0);
    assert.match(await page.locator(".facts").last().innerText(), /^3 tokens .* stopped$/);
  }
  assert.equal(await said(page).count(), 2);
  await page.context().close();
});

test("without a network the page opens again, and the conversation goes on where it was", async () => {
  const own = await serve();
  const page = await openPage(browser, own.url, { preferences: WASM });
  await whenReady(page);
  await makeGreedy(page);
  await ask(page, "My name is Ann.");
  const wanted = await ask(page, "What is my name?");
  await page.getByRole("button", { name: "Undo" }).click();
  await page.waitForFunction(() => location.hash.startsWith("#c="));
  await own.close();

  await page.reload();
  await whenReady(page);
  await haveTexts(said(page), ["My name is Ann."]);
  assert.equal(await ask(page, "What is my name?"), wanted);
  assert.equal(await page.evaluate(() => self.crossOriginIsolated), true);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("conversations stand in a list, can be named, opened and deleted", async () => {
  const page = await ready();
  await makeGreedy(page, 6);
  await ask(page, "First one");
  await page.getByRole("button", { name: "New conversation" }).click();
  await haveTexts(said(page), []);
  await ask(page, "Second one");
  const titles = page.locator(".conversations .title");
  await haveTexts(titles, ["Second one", "First one"]);
  await titles.nth(1).click();
  await haveTexts(said(page), ["First one"]);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Title").fill("The first");
  await page.keyboard.press("Escape");
  await haveTexts(page.getByRole("heading", { level: 1 }), ["The first"]);
  await page.locator(".conversations li", { hasText: "Second one" }).hover();
  await page.getByRole("button", { name: "Delete “Second one”" }).click();
  await page.locator("[data-notice=removal]").getByRole("button", { name: "Delete" }).click();
  await page.locator(".conversations .title", { hasText: "Second one" }).waitFor({ state: "detached" });
  await page.reload();
  await whenReady(page);
  await haveTexts(titles, ["The first"]);
  await page.context().close();
});
