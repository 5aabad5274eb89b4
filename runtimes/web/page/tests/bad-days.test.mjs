/** What goes wrong, and what a person is told of it. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask, begin, haveTexts, launch, makeGreedy, modelWorker, openPage, WASM, whenReady } from "./harness.mjs";
import { BUNDLE, PAGE, serve } from "./server.mjs";

let browser;
before(async () => {
  browser = await launch("--host-resolver-rules=MAP plain.test 127.0.0.1");
});
after(() => browser.close());

async function onServer(options, work) {
  const server = await serve(options);
  try {
    await work(server);
  } finally {
    await server.close();
  }
}

const notice = (page, id) => page.locator(`[data-notice=${id}]`);

for (const [fault, told] of Object.entries({
  flip: /model\.onnx\.data.*sha256/,
  cut: /cannot be read to its end \(.*try again/,
  missing: /model\.onnx\.data/,
})) {
  test(`a bundle's file that is ${{ flip: "wrong", cut: "cut off", missing: "not there" }[fault]} is told, and it loads when that is right`, async () => {
    await onServer({ fault: (path) => (path.endsWith(".data") ? fault : undefined) }, async (server) => {
      const page = await openPage(browser, server.url, { preferences: WASM });
      const failed = notice(page, "model");
      await failed.waitFor();
      assert.equal(await failed.getAttribute("role"), "alert");
      assert.match(await failed.innerText(), told);
      server.state.fault = () => undefined;
      await failed.getByRole("button", { name: "Start again" }).click();
      await whenReady(page);
      assert.equal(await failed.count(), 0);
      await page.context().close();
    });
  });
}

test("on a host that does not isolate pages the service worker does, and threads are there", async () => {
  await onServer({ isolated: false, kernels: false }, async (server) => {
    const page = await openPage(browser, server.url, { preferences: { ...WASM, threads: 2 } });
    await whenReady(page);
    assert.equal(await page.evaluate(() => self.crossOriginIsolated), true);
    assert.equal(await page.locator(".chip").innerText(), "WebAssembly, 2 threads");
    await page.context().close();
  });
});

test("an address that is not secure gives one thread, says so, and answers", async () => {
  await onServer({}, async (server) => {
    const page = await openPage(browser, `http://plain.test:${server.port}/`, { preferences: WASM });
    await whenReady(page);
    assert.match(
      await notice(page, "isolation").innerText(),
      /one thread, as this address is not secure \(open it by https/,
    );
    assert.equal(await page.locator(".chip").innerText(), "WebAssembly, 1 thread");
    await makeGreedy(page, 8);
    assert.ok(await ask(page, "Hi"));
    await page.context().close();
  });
});

test("with a full disk the conversation goes on, and the page says that it is not kept", async () => {
  await onServer({}, async (server) => {
    const page = await openPage(browser, server.url, { preferences: WASM });
    await whenReady(page);
    await makeGreedy(page, 8);
    await ask(page, "Hi");
    await page.evaluate(() => {
      globalThis.put = IDBObjectStore.prototype.put;
      IDBObjectStore.prototype.put = () => {
        throw new DOMException("", "QuotaExceededError");
      };
    });
    assert.ok(await ask(page, "And now?"));
    assert.match(await notice(page, "keeping").innerText(), /storage is full.*in this page alone/);
    await page.getByRole("button", { name: "Undo" }).click();
    await page.evaluate(() => (IDBObjectStore.prototype.put = globalThis.put));
    assert.ok(await ask(page, "And now?"));
    await notice(page, "keeping").waitFor({ state: "detached" });
    await page.context().close();
  });
});

test("a worker that ends is told at once; started again, the conversation is there", async () => {
  await onServer({}, async (server) => {
    const page = await openPage(browser, server.url, { preferences: WASM });
    await whenReady(page);
    await makeGreedy(page, 8);
    await ask(page, "My name is Ann.");
    await begin(page, "What is my name?");
    await modelWorker(page).evaluate(() => self.close());
    await notice(page, "model").waitFor();
    assert.match(await notice(page, "model").innerText(), /stopped.*your conversation is kept/);
    await notice(page, "model").getByRole("button", { name: "Start again" }).click();
    await whenReady(page);
    await haveTexts(page.locator(".bubble"), ["My name is Ann."]);
    assert.equal(await page.getByLabel("Message", { exact: true }).inputValue(), "What is my name?");
    assert.ok(await ask(page, "What is my name?"));
    await page.context().close();
  });
});

const LACKS = {
  "WebAssembly with SIMD": () => (WebAssembly.validate = () => false),
  BigInt: () => delete window.BigInt64Array,
};
for (const [what, lack] of Object.entries(LACKS)) {
  test(`a browser without ${what} is told so in plain words`, async () => {
    await onServer({}, async (server) => {
      const page = await openPage(browser, server.url, { prepare: (opened) => opened.addInitScript(lack) });
      assert.match(await page.getByRole("alert").innerText(), new RegExp(`This browser lacks ${what}, which`));
      assert.equal(await page.locator(".app").count(), 0);
      await page.context().close();
    });
  });
}

test("a browser that keeps no files runs the model all the same, and says that it will be fetched again", async () => {
  await onServer({}, async (server) => {
    const lack = "delete StorageManager.prototype.getDirectory;";
    const prepare = async (page, context) => {
      await page.addInitScript(lack);
      await context.route("**/worker.js", async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, body: lack + (await response.text()) });
      });
    };
    const page = await openPage(browser, server.url, {
      preferences: WASM,
      prepare,
      context: { serviceWorkers: "block" },
    });
    await whenReady(page);
    assert.match(await notice(page, "keep").innerText(), /^The model is not kept for the next visit/);
    await page.context().close();
  });
});

test("a page with no bundle beside it asks for one, and takes an address", async () => {
  await onServer({ folders: { "/": PAGE, "/elsewhere/": BUNDLE } }, async (server) => {
    const page = await openPage(browser, server.url, { preferences: WASM });
    await page.getByRole("heading", { name: "Choose a model" }).waitFor();
    await page.getByLabel("Or the address of one").fill(`${server.url}elsewhere`);
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await whenReady(page);
    await page.reload();
    await whenReady(page); // it was kept, and so was its address
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });
});
