/**
 * The same greedy text by every engine of onnxruntime-web's: wasm with one thread and two, WebGPU; and our kernels.
 *
 * Ours sum floats in another order, after which an activation of int8 may be rounded to the next level: mostly the text is
 * the same, but without relaxed vectors the demo asks back "How about you?", else "How are you?" as by onnxruntime-web. So
 * it is not compared.
 *
 * onnxruntime-web 1.30 runs neither bundle on SwiftShader's WebGPU: of the demo's graph it gives a node to no provider, and
 * RWKV-7's takes 11 storage buffers in a shader, where this adapter has 10. So the fall-back is what is tried here; where
 * WebGPU comes to run them, the texts must be the same.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask, launch, makeGreedy, openPage, whenReady } from "./harness.mjs";
import { BUNDLE, BUNDLE_RWKV7, PAGE, serve } from "./server.mjs";

const TEXTS = ["Hi! How are you today?", "What do you like to eat?"];
const TOKENS = 24;
/** Of a bundle, on WebAssembly by onnxruntime-web. */
const onWasm = new Map();
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

let browser;
before(async () => {
  browser = await launch(...GPU);
});
after(() => browser.close());

/** What the page answers, and what it says that it ran on: by default onnxruntime-web, as where our kernels are not. */
async function conversation(bundle, preferences, kernels = false) {
  const server = await serve({ folders: { "/": PAGE, "/bundle/": bundle }, kernels });
  const page = await openPage(browser, server.url, { preferences: { theme: "auto", ...preferences } });
  try {
    await whenReady(page);
    await makeGreedy(page, TOKENS);
    const replies = [];
    for (const text of TEXTS) replies.push(await ask(page, text));
    const ran = await page.locator(".chip").innerText();
    await page.locator(".chip").click();
    return { replies, ran, told: await page.locator("dialog").innerText() };
  } finally {
    await page.context().close();
    await server.close();
  }
}

for (const [name, bundle] of Object.entries({ "the demo": BUNDLE, "RWKV-7": BUNDLE_RWKV7 })) {
  test(
    `${name} in int8 says the same on one thread and on two, and our kernels run it`,
    { skip: !bundle && "BUNDLE_RWKV7 names no bundle" },
    async () => {
      const one = await conversation(bundle, { provider: "wasm", threads: 1 });
      assert.equal(one.ran, "WebAssembly, 1 thread");
      const two = await conversation(bundle, { provider: "wasm", threads: 2 });
      assert.equal(two.ran, "WebAssembly, 2 threads");
      assert.deepEqual(two.replies, one.replies);
      onWasm.set(bundle, one.replies);
      const ours = await conversation(bundle, { provider: "wasm", threads: 1 }, true);
      assert.match(ours.told, /Kernels\s+ours \(wasm/);
      for (const reply of ours.replies) assert.match(reply, /^\w.{8}/);
    },
  );
}

test("our kernels run a quantized bundle on one thread and on two, and the page says so", async () => {
  const one = await conversation(BUNDLE, { provider: "wasm", threads: 1 }, true);
  assert.equal(one.ran, "WebAssembly, 1 thread");
  assert.match(one.told, /Kernels\s+ours \(wasm/);
  const two = await conversation(BUNDLE, { provider: "wasm", threads: 2 }, true);
  assert.equal(two.ran, "WebAssembly, 2 threads");
  assert.match(two.told, /Kernels\s+ours \(wasm/);
  assert.deepEqual(two.replies, one.replies);
  const again = await conversation(BUNDLE, { provider: "auto" }, true);
  assert.deepEqual(again.replies, one.replies);
});

test("WebGPU is taken if it is right and faster; else the page says why, and the text is the same", async (t) => {
  const auto = await conversation(BUNDLE, { provider: "auto", threads: 2 });
  t.diagnostic(auto.ran);
  assert.deepEqual(auto.replies, onWasm.get(BUNDLE));
  if (auto.ran !== "WebGPU") assert.match(auto.told, /^wasm: .*(webgpu|WebGPU)/m);
});

test("where WebGPU is asked for and cannot do it, WebAssembly is offered", async () => {
  const server = await serve();
  const page = await openPage(browser, server.url, { preferences: { theme: "auto", provider: "webgpu", threads: 2 } });
  const failed = page.locator("[data-notice=model]");
  await Promise.race([whenReady(page), failed.waitFor({ timeout: 120_000 })]);
  if (await failed.count()) {
    await failed.getByRole("button", { name: "Use WebAssembly" }).click();
    await whenReady(page);
    assert.match(await page.locator(".chip").innerText(), /^WebAssembly, \d threads?$/);
  }
  await page.context().close();
  await server.close();
});
