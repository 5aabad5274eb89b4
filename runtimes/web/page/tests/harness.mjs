/** What the tests share: a browser, and what a person does on the page. */

import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { chromium } from "playwright-core";

/** Debian's Chromium, or what $CHROMIUM names. */
export async function launch(...extra) {
  const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
  const root = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath, args: [...root, "--disable-dev-shm-usage", ...extra] });
}

/** The page, opened. `prepare` is done before. */
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
  await page.addInitScript(countReplies);
  await prepare?.(page, context);
  await page.goto(url);
  return page;
}

export const WASM = { theme: "auto", provider: "wasm", threads: 0 };

export async function whenReady(page) {
  await page.locator(".composer textarea[placeholder='Write a message']").waitFor({ timeout: 120_000 });
}

/** In the page: `replies`, how many were begun and are over. A fast one is not seen by who looks now and then. */
function countReplies() {
  globalThis.replies = 0;
  let writing = false;
  const look = () => {
    const now = document.querySelector(".turn.writing") !== null;
    if (writing && !now) globalThis.replies++;
    writing = now;
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
}

export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
}

/** The reply that comes of what is done, when it is whole. */
export async function replyTo(page, act) {
  const before = await page.evaluate(() => globalThis.replies);
  await act();
  await page.waitForFunction((count) => globalThis.replies > count, before, { timeout: 120_000 });
  return page.locator(".turn .reply").last().innerText();
}

export function ask(page, text) {
  return replyTo(page, () => say(page, text));
}

/** Waits until the elements have these texts; fails with those that they have. */
export async function haveTexts(elements, wanted) {
  const end = Date.now() + 60_000;
  while (Date.now() < end && !isDeepStrictEqual(await elements.allInnerTexts(), wanted)) await setTimeout(50);
  assert.deepEqual(await elements.allInnerTexts(), wanted);
}

/** The worker with the model; `standAfter` of its scope holds replies after so many tokens, until they are stopped. */
export function modelWorker(page) {
  return page.workers().find((one) => one.url().endsWith("/worker.js"));
}

/** A message whose reply stands after three tokens. */
export async function begin(page, text) {
  await modelWorker(page).evaluate(() => (self.standAfter = 3));
  await say(page, text);
  await page.locator(".turn.writing .markdown").waitFor();
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
