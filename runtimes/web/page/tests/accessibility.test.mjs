/** axe-core finds nothing serious, in both colours and both sizes; all can be done from the keyboard. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { ask, launch, makeGreedy, openPage, replyTo, WASM, whenReady } from "./harness.mjs";
import { serve } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

let browser, server;
before(async () => {
  [browser, server] = [await launch(), await serve()];
});
after(async () => {
  await browser.close();
  await server.close();
});

async function violations(page) {
  const results = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = results.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}

for (const [size, colorScheme] of [
  ["desk", "light"],
  ["phone", "dark"],
]) {
  test(`axe finds nothing serious on a ${size} in ${colorScheme}`, async () => {
    const context = { viewport: SIZES[size], colorScheme, bypassCSP: true, reducedMotion: "reduce" };
    const page = await openPage(browser, server.url, { context, preferences: WASM });
    await page.evaluate(AXE);
    await whenReady(page);
    const found = { welcome: await violations(page) };
    await makeGreedy(page, 8);
    await ask(page, "Hi");
    found.conversation = await violations(page);
    for (const name of ["Settings", /^Model:/]) {
      await page.getByRole("button", { name }).click();
      await page.locator("dialog[open]").waitFor();
      found[name] = await violations(page);
      await page.keyboard.press("Escape");
      await page.locator("dialog").waitFor({ state: "detached" });
    }
    if (size === "phone") {
      await page.getByRole("button", { name: "Conversations" }).click();
      await page.locator(".sidebar:not(.shut)").waitFor();
      found.drawer = await violations(page);
    }
    for (const [where, grave] of Object.entries(found)) assert.deepEqual(grave, [], where);
    await page.context().close();
  });
}

for (const [reducedMotion, wanted] of [
  ["no-preference", ["transform", "wait"]],
  ["reduce", []],
]) {
  test(`what moves while a reply is awaited and the drawer opens, with ${reducedMotion}`, async () => {
    const context = { viewport: SIZES.phone, reducedMotion };
    const page = await openPage(browser, server.url, { context, preferences: WASM });
    await whenReady(page);
    await page.evaluate(() => {
      globalThis.moved = new Set();
      const look = () =>
        document.getAnimations().forEach((one) => globalThis.moved.add(one.transitionProperty ?? one.animationName));
      new MutationObserver(look).observe(document, { attributes: true, childList: true, subtree: true });
    });
    await ask(page, "Hi");
    await page.getByRole("button", { name: "Conversations" }).click();
    await page.locator(".sidebar:not(.shut)").waitFor();
    assert.deepEqual(await page.evaluate(() => [...globalThis.moved].sort()), wanted);
    await page.context().close();
  });
}

test("from the keyboard alone: to the message box, a message, its reply, settings and back", async () => {
  const page = await openPage(browser, server.url, { preferences: WASM });
  await whenReady(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Go to the message box");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "message");
  await page.keyboard.type("Hi");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("there");
  await replyTo(page, () => page.keyboard.press("Enter"));
  assert.equal(await page.locator(".bubble").innerText(), "Hi\nthere");
  const settings = page.getByRole("button", { name: "Settings" });
  await settings.focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("dialog[open]")?.contains(document.activeElement));
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  assert.ok(await settings.evaluate((button) => button === document.activeElement), "the focus is back");
  await page.context().close();
});

test("a dialog is open and has the focus as soon as it is in the page", async () => {
  const page = await openPage(browser, server.url, { preferences: WASM });
  await whenReady(page);
  const seen = await page.evaluate(async () => {
    const added = new Promise((resolve) => {
      new MutationObserver((_, observer) => {
        const dialog = document.querySelector("dialog");
        if (!dialog) return;
        observer.disconnect();
        resolve({ open: dialog.open, focus: dialog.contains(document.activeElement) });
      }).observe(document.body, { childList: true, subtree: true });
    });
    document.querySelector(".chip").click();
    return added;
  });
  assert.deepEqual(seen, { open: true, focus: true });
  await page.context().close();
});

test("a screen reader hears the reply in sentences, once each", async () => {
  const page = await openPage(browser, server.url, { preferences: WASM });
  await whenReady(page);
  await makeGreedy(page, 40);
  const reply = await ask(page, "Hi! How are you today?");
  const heard = await page.locator("[aria-live=polite] p").allInnerTexts();
  assert.equal(heard.join(" ").replace(/\s+/g, " "), reply.replace(/\s+/g, " "));
  assert.equal(await page.getByRole("log").getAttribute("aria-live"), "off");
  await page.context().close();
});
