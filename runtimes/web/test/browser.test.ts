/** The package in a real browser: a worker of its own, what it keeps, threads, and what it says of WebGPU. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { chromium, Site, withProfile } from "./browser.js";
import { collected, CONFORMANCE, conformance, json } from "./bundles.js";
import type { Info } from "../src/worker/protocol.js";

const browser = await chromium();
const skip = browser === null ? "there is no Chromium here (CHROMIUM says where one is)" : false;

interface Said {
  failed?: string;
  info: Info;
  ids: number[];
  kept: { bundle_id: string; bytes: number }[];
  longest: number;
}

/** Loads, generates greedily, and says how long the page was not answering meanwhile. */
const SCRIPT = `export default async ({ RuntimeClient }) => {
  let last = performance.now(), longest = 0;
  const clock = setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; }, 5);
  const runtime = new RuntimeClient();
  const info = await runtime.load({ url: "/bundle/" }, OPTIONS);
  const ids = [];
  for await (const token of runtime.generate("User: Hello", { temperature: 0, max_tokens: 24 })) ids.push(token.id);
  clearInterval(clock);
  const kept = await runtime.kept();
  runtime.close();
  return { info, ids, kept, longest };
};`;

/** One byte of what is kept is another. */
const DAMAGE = `export default async () => {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("rrwkv-bundles");
  for await (const bundle of root.values()) {
    if (bundle.kind !== "directory") continue;
    const file = await (await bundle.getFileHandle("model.onnx.data")).createWritable({ keepExistingData: true });
    await file.write({ type: "write", position: 100, data: new Uint8Array([7]) });
    await file.close();
  }
  return {};
};`;

async function say(site: Site, profile: string, options: object): Promise<Said> {
  const said = (await site.run(browser ?? "", profile, SCRIPT.replace("OPTIONS", JSON.stringify(options)))) as Said;
  assert.equal(said.failed, undefined);
  return said;
}

test("in a worker, kept, without a network, and damaged", { skip }, async () => {
  const model = await conformance();
  const expected = (await collected(model.generate("User: Hello", { temperature: 0, max_tokens: 24 }))).map(
    ({ id }) => id,
  );
  const site = new Site(false);
  await site.start();
  try {
    await withProfile(async (profile) => {
      const first = await say(site, profile, {});
      assert.deepEqual(first.ids, expected);
      assert.deepEqual([first.info.provider, first.info.threads, first.info.loaded_from], ["wasm", 1, "network"]);
      assert.deepEqual([first.info.keep_note, first.info.cross_origin_isolated], [null, false]);
      assert.match(first.info.provider_note ?? "", /^wasm: .*WebGPU/);
      const { bundle_id } = (await json(`${CONFORMANCE}/bundle/manifest.json`)) as { bundle_id: string };
      assert.deepEqual(
        first.kept.map((one) => one.bundle_id),
        [bundle_id],
      );
      site.offline = true;
      site.asked.length = 0;
      const second = await say(site, profile, {});
      assert.deepEqual([second.ids, second.info.loaded_from], [expected, "kept"]);
      assert.ok(!site.asked.includes("/bundle/model.onnx.data"));
      site.offline = false;
      assert.deepEqual(await site.run(browser ?? "", profile, DAMAGE), {});
      const third = await say(site, profile, {});
      assert.deepEqual([third.ids, third.info.loaded_from, third.kept.length], [expected, "network", 1]);
    });
  } finally {
    site.stop();
  }
});

test("with threads, where the page is isolated", { skip }, async () => {
  const site = new Site(true);
  await site.start();
  try {
    await withProfile(async (profile) => {
      const wasm_files = "/node_modules/onnxruntime-web/dist/";
      const { info, ids, kept } = await say(site, profile, { provider: "wasm", threads: 2, keep: false, wasm_files });
      assert.deepEqual([info.threads, info.cross_origin_isolated, kept], [2, true, []]);
      assert.equal(ids.length, 24);
    });
  } finally {
    site.stop();
  }
});
