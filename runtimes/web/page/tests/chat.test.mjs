/** A person talks with the demo: replies, stop, retry, undo, edit; offline; the same conversation after a reload. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask, lastReply, launch, makeGreedy, openPage, say, serve, WASM, whenReady } from "./harness.mjs";

let browser, server;
before(async () => {
  [browser, server] = [await launch(), await serve()];
});
after(async () => {
  await browser.close();
  await server.close();
});

const said = (page) => page.locator(".bubble").allInnerTexts();

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
  await page.getByRole("button", { name: "Retry" }).click();
  await page.locator(".turn.writing").waitFor();
  assert.equal(await lastReply(page), second);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.locator(".turn").nth(1).waitFor({ state: "detached" });
  const box = page.getByLabel("Message", { exact: true });
  assert.equal(await box.inputValue(), "What do you like to eat?");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.locator(".turn").nth(1).waitFor();
  assert.equal(await lastReply(page), second);

  await page.locator(".said").first().hover();
  await page.getByRole("button", { name: "Edit" }).first().click();
  await page.getByLabel("Edit the message").fill("Tell me about the sea.");
  await page.getByRole("button", { name: "Send again" }).click();
  await page.locator(".turn.writing").waitFor();
  assert.notEqual(await lastReply(page), first);
  assert.deepEqual(await said(page), ["Tell me about the sea."]);
  await page.context().close();
});

test("a reply is stopped by its button and by Escape, and the conversation goes on after it", async () => {
  const page = await ready();
  await makeGreedy(page, 4000);
  for (const key of [null, "Escape"]) {
    await stopSoon(page, key);
    await say(page, "Tell me a long story about a cat, a dog and the sea.");
    await page
      .locator(".facts", { hasText: "stopped" })
      .nth(key ? 1 : 0)
      .waitFor();
    assert.ok((await page.locator(".turn .reply").last().innerText()).length > 0);
  }
  assert.equal((await said(page)).length, 2);
  await page.context().close();
});

/** As soon as there is something of a reply: it may be short, and this is in no hurry. */
function stopSoon(page, key) {
  return page.evaluate((pressed) => {
    const observer = new MutationObserver(() => {
      if (!document.querySelector(".turn.writing .markdown")) return;
      observer.disconnect();
      const box = document.getElementById("message");
      if (pressed) box.dispatchEvent(new KeyboardEvent("keydown", { key: pressed, bubbles: true }));
      else document.querySelector("button[aria-label=Stop]").click();
    });
    observer.observe(document.body, { childList: true, subtree: true });
  }, key);
}

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
  assert.deepEqual(await said(page), ["My name is Ann."]);
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
  await ask(page, "Second one");
  const titles = page.locator(".conversations .title");
  assert.deepEqual(await titles.allInnerTexts(), ["Second one", "First one"]);
  await titles.nth(1).click();
  assert.deepEqual(await said(page), ["First one"]);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Title").fill("The first");
  await page.keyboard.press("Escape");
  assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "The first");
  await page.locator(".conversations li", { hasText: "Second one" }).hover();
  await page.getByRole("button", { name: "Delete “Second one”" }).click();
  await page.locator("[data-notice=removal]").getByRole("button", { name: "Delete" }).click();
  await page.locator(".conversations .title", { hasText: "Second one" }).waitFor({ state: "detached" });
  await page.reload();
  await whenReady(page);
  assert.deepEqual(await titles.allInnerTexts(), ["The first"]);
  await page.context().close();
});
