/** Pictures of a conversation with the demo, on a desk and on a phone: `make page-pictures`, or `node pictures.mjs FOLDER`. */

import { join } from "node:path";

import { ask, launch, openPage, WASM, whenReady } from "./harness.mjs";
import { serve } from "./server.mjs";

const EARLIER = ["Tell me a story.", "What is your favourite season?"];
const TEXTS = ["Hi! How are you today?", "What do you like to do on weekends?", "Do you have any pets?"];
const VIEWS = {
  desk: { viewport: { width: 1080, height: 680 }, colorScheme: "light" },
  phone: { viewport: { width: 390, height: 760 }, colorScheme: "dark", isMobile: true, hasTouch: true },
};

const [folder = "."] = process.argv.slice(2);
const [browser, server] = [await launch(), await serve()];
for (const [name, view] of Object.entries(VIEWS)) {
  const context = { ...view, deviceScaleFactor: 1.5 };
  const page = await openPage(browser, server.url, { context, preferences: WASM });
  await whenReady(page);
  await setSeed(page);
  for (const text of EARLIER) {
    await ask(page, text);
    await startNew(page);
  }
  for (const text of TEXTS) await ask(page, text);
  await page.evaluate(() => document.activeElement.blur());
  await page.screenshot({ path: join(folder, `web-${name}.webp`), type: "webp", quality: 85 });
  await page.context().close();
}
await browser.close();
await server.close();

/** The same replies each time; later conversations take it over. */
async function setSeed(page) {
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByText("More", { exact: true }).click();
  const seed = page.getByLabel(/^Seed/);
  await seed.fill("3");
  await seed.blur();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
}

async function startNew(page) {
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.locator(".turn").first().waitFor({ state: "detached" });
}
