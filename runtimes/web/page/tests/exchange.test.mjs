/** Conversations as files: what goes out comes back, and a stranger's is harmless. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { ask, haveTexts, launch, makeGreedy, openPage, WASM, whenReady } from "./harness.mjs";
import { serve } from "./server.mjs";

let browser, server, folder;
before(async () => {
  [browser, server, folder] = [await launch(), await serve(), await mkdtemp(join(tmpdir(), "page-"))];
});
after(async () => {
  await browser.close();
  await server.close();
  await rm(folder, { recursive: true });
});

async function downloaded(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
  const path = join(folder, download.suggestedFilename());
  await download.saveAs(path);
  return path;
}

async function given(page, path) {
  await page.getByLabel("A file of conversations").setInputFiles(path);
  return page.locator("[data-notice=import]");
}

async function refused(page, path, message) {
  const notice = await given(page, path);
  await notice.getByText(message).waitFor();
  await notice.getByRole("button", { name: "Dismiss" }).click();
  await notice.waitFor({ state: "detached" });
}

function written(name, changed) {
  const turn = { user: "u", thought: "", answer: "a", finish: "eos", tokens: 1, rate: 1, ...changed };
  const settings = { think: "auto", maxTokens: 8, seed: null, sampling: {} };
  const one = { id: "1", title: "", created: 1, updated: 1, system: "", settings, turns: [turn], model: null };
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify({ format: "rrwkv-conversations", version: 1, conversations: [one] }));
  return path;
}

for (const kind of ["with its state", "without its state"]) {
  test(`a conversation that is exported ${kind} goes on elsewhere as it would have here`, async () => {
    const page = await openPage(browser, server.url, { preferences: WASM });
    await whenReady(page);
    await makeGreedy(page);
    await ask(page, "My name is Ann.");
    await page.getByRole("button", { name: "Settings" }).click();
    const name = kind === "with its state" ? "Export with the model's state" : "Export";
    const path = await downloaded(page, page.locator("dialog").getByRole("button", { name, exact: true }));
    await page.keyboard.press("Escape");
    const wanted = await ask(page, "What is my name?");
    assert.equal("state" in JSON.parse(readFileSync(path, "utf8")).conversations[0], kind === "with its state");
    await page.context().close();

    const other = await openPage(browser, server.url, { preferences: WASM });
    await whenReady(other);
    await (await given(other, path)).getByText("Imported 1 conversation.").waitFor();
    await haveTexts(other.locator(".bubble"), ["My name is Ann."]);
    assert.equal(await ask(other, "What is my name?"), wanted);
    await other.context().close();
  });
}

const HOSTILE = [
  "<img src=x onerror=alert(1)><script>alert(1)</script>",
  "![x](https://example.org/x.png) [a](javascript:alert(1)) [b](data:text/html,x) [c](//example.org/x)",
  "[d](https://example.org/ok) <a href='javascript:alert(1)'>e</a> <https://example.org/auto>",
  "<svg onload=alert(1)> <iframe src=//example.org> <form action=//example.org><input name=q></form>",
  '`</code><script>alert(1)</script>` \n\n```js"><script>alert(1)</script>\nx\n```\n\n- [ ] task\n<input type=text>',
  "<style>*{display:none}</style> <math><mtext></mtext><style><img src=x onerror=alert(1)></style></math>",
];

test("nothing that a model writes runs, is fetched, or leads anywhere unsafe", async () => {
  const page = await openPage(browser, server.url, { preferences: WASM });
  await page.locator(".app").waitFor();
  page.on("dialog", (dialog) => assert.fail(dialog.message()));
  const answer = HOSTILE.join("\n\n");
  await (
    await given(page, written("hostile.json", { answer, thought: answer, user: answer }))
  )
    .getByText("Imported")
    .waitFor();
  await page.locator(".thought").evaluate((element) => (element.open = true));
  const found = await page.locator(".turns").evaluate((turns) => ({
    tags: [...turns.querySelectorAll("script, img, iframe, form, style, object, embed, math, input:not([disabled])")]
      .length,
    handlers: [...turns.querySelectorAll("*")].filter((one) =>
      [...one.attributes].some(({ name }) => name.startsWith("on")),
    ).length,
    links: [...turns.querySelectorAll("a[href]")].map(({ href, rel, target }) => ({ href, rel, target })),
  }));
  assert.equal(found.tags + found.handlers, 0);
  assert.equal(found.links.length, 4, "two links, in the thought and in the answer");
  for (const { href, rel, target } of found.links) {
    assert.match(href, /^https:\/\/example\.org\/(ok|auto)$/);
    assert.ok(rel.includes("noopener") && target === "_blank");
  }
  assert.ok((await page.locator(".bubble").innerText()).includes("<script>alert(1)</script>"));
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("a file that was not exported here is refused in one line, and nothing of it stays", async () => {
  const page = await openPage(browser, server.url, { preferences: WASM });
  await page.locator(".app").waitFor();
  const bad = {
    "not.json": ["{", /not JSON/],
    "other.json": ['{"format": "x"}', /holds no conversations/],
    "newer.json": ['{"format": "rrwkv-conversations", "version": 9}', /another version/],
    "deep.json": ["[".repeat(100_000), /not JSON/],
  };
  for (const [name, [text, message]] of Object.entries(bad)) {
    writeFileSync(join(folder, name), text);
    await refused(page, join(folder, name), message);
  }
  for (const changed of [{ tokens: "1" }, { answer: 5 }, { finish: "x" }, { rate: null }]) {
    await refused(page, written("wrong.json", changed), /damaged \(.*nothing was imported/);
  }
  assert.equal(await page.locator(".conversations li").count(), 0);
  await page.context().close();
});
