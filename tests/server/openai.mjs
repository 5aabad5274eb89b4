// The official JavaScript client against `rrwkv serve`: node openai.mjs CLIENT ADDRESS, CLIENT the folder of the package.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, address] = process.argv.slice(2);
const OpenAI = createRequire(join(folder, "x.js"))("openai");
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "any", maxRetries: 0 });
const asked = { model: "bundle", messages: [{ role: "user", content: "Hello there!" }], max_tokens: 12, seed: 3 };

assert.deepEqual((await client.models.list()).data.map((model) => model.id), ["bundle"]);

const whole = await client.chat.completions.create(asked);
let text = "", last;
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta.content ?? "";
  last = chunk;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(last.usage.completion_tokens, 12);
assert.equal(last.usage.prompt_tokens_details.cached_tokens, last.usage.prompt_tokens);

const stream = await client.chat.completions.create({ ...asked, max_tokens: 4000, logit_bias: { 0: -100, 1: -100 }, stream: true });
for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
stream.controller.abort();

const continued = await client.completions.create({ model: "bundle", prompt: "Once upon", max_tokens: 5, logprobs: 1 });
assert.equal(continued.choices[0].logprobs.tokens.length, 5);

await assert.rejects(client.chat.completions.create({ ...asked, model: "gpt-5" }), (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
console.log("ok");
