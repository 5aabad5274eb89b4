/** Tokenizers of several kinds against Python's, over drawn texts: who wrote what, and special tokens among it. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { tokenizerOf } from "../src/tokenizer.js";
import { ROOT } from "./bundles.js";

interface Kind {
  name: string;
  file: string;
  cases: [parts: [string, boolean][], control: number[], ids: number[] | null][];
  decoded: [ids: number[], text: string, pieces: string[]][];
}

const python = process.env.RRWKV_PYTHON;
const skip = python === undefined ? "RRWKV_PYTHON names no Python to compare with" : false;

function kinds(): Kind[] {
  const env = { ...process.env, PYTHONPATH: `${ROOT}/runtimes/python` };
  const script = `${ROOT}/runtimes/web/test/tokenizer_cases.py`;
  return JSON.parse(execFileSync(python ?? "", [script], { env, maxBuffer: 2 ** 26 }).toString()) as Kind[];
}

test("texts as in Python", { skip }, async (t) => {
  for (const { name, file, cases, decoded } of kinds()) {
    await t.test(name, () => {
      const tokenizer = tokenizerOf("tokenizer.json", new TextEncoder().encode(file), name);
      const wrong = cases.filter(([parts, control, ids]) => {
        const found = tokenizer.compose(
          parts.map(([text, trusted]) => ({ text, trusted })),
          new Set(control),
        );
        return JSON.stringify(found) !== JSON.stringify(ids);
      });
      assert.deepEqual(wrong, [], `${wrong.length} of ${cases.length}: ${JSON.stringify(wrong[0])}`);
      for (const [ids, text, pieces] of decoded) {
        assert.equal(tokenizer.decode(ids), text);
        const stream = tokenizer.stream();
        assert.deepEqual([...ids.map((id) => stream.push(id)), stream.flush()], pieces);
      }
    });
  }
});
