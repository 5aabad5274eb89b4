/**
 * The chat page in Chromium, with each of some bundles: `make page-bench BUNDLES="…"`, or
 *
 *     PAGE=… CHROMIUM=… node benchmark.mjs BUNDLE …
 *
 * A row for each bundle and number of threads: seconds from the page's address to the first token of a reply, on the first
 * visit and on the second one, when the bundle is kept; tokens a second, the median of replies; and what the page's process
 * takes, of memory that is not shared with others (Linux alone).
 */

import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";

import { ask, launch, makeGreedy, openPage, say, whenReady } from "./tests/harness.mjs";
import { PAGE, serve } from "./tests/server.mjs";

const TEXTS = [
  "Hi! How are you today?",
  "What do you like to do on weekends?",
  "Do you have any pets?",
  "Who are you?",
];
const THREADS = [1, 2];
const TOKENS = 48;

/** Seconds from an address to the first token. */
async function talking(page, open) {
  const started = performance.now();
  await open();
  await whenReady(page);
  const ready = performance.now();
  await say(page, TEXTS[0]);
  await page.locator(".turn .markdown").last().waitFor();
  const talks = performance.now();
  await page.waitForFunction(() => document.querySelector(".turn.writing") === null);
  return { ready: (ready - started) / 1000, talks: (talks - started) / 1000 };
}

async function measure(browser, bundle, threads) {
  const server = await serve({ folders: { "/": PAGE, "/bundle/": bundle } });
  const preferences = { theme: "auto", provider: "wasm", threads };
  const page = await openPage(browser, "about:blank", { preferences });
  const first = await talking(page, () => page.goto(server.url));
  const second = await talking(page, () => page.reload());
  await makeGreedy(page, TOKENS);
  for (const text of TEXTS) await ask(page, text);
  const facts = await page.locator(".facts").allInnerTexts();
  const speeds = facts.map((text) => Number(/([\d.]+) tokens\/s/.exec(text)?.[1])).slice(-TEXTS.length);
  const row = [
    basename(bundle),
    threads,
    ...[first, second].flatMap(({ ready, talks }) => [ready.toFixed(2), talks.toFixed(2)]),
  ];
  console.log(`| ${[...row, median(speeds).toFixed(0), megabytes(await memory(browser))].join(" | ")} |`);
  await page.context().close();
  await server.close();
}

/** Bytes of the processes that show pages: their own, and their part of what they share. */
async function memory(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const pages = processInfo.filter(({ type }) => type === "renderer");
  const kilobytes = pages.map(({ id }) =>
    Number(/^Pss: +(\d+)/m.exec(readFileSync(`/proc/${id}/smaps_rollup`, "utf8"))?.[1]),
  );
  return 1024 * Math.max(...kilobytes);
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

const names = ["bundle", "threads", "ready, s", "talks, s", "again ready, s", "talks, s", "tokens/s", "page, MB"];
console.log(`| ${names.join(" | ")} |\n|${" --- |".repeat(names.length)}`);
for (const bundle of process.argv.slice(2)) {
  for (const threads of THREADS) {
    const browser = await launch();
    await measure(browser, resolve(bundle), threads);
    await browser.close();
  }
}
