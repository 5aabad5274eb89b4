/**
 * Run a bundle, an exported RWKV model, in a browser or in Node, on onnxruntime-web.
 *
 * ```ts
 * import { Model } from "rrwkv-runtime";
 * const model = await Model.load({ url: "https://example.org/bundle/" });
 * for await (const token of model.generate("User: hi\n\nAssistant:", { max_tokens: 64, top_p: 0.7, seed: 1 })) {
 *   show(token.text);
 * }
 * ```
 *
 * A page takes `RuntimeClient` of `rrwkv-runtime/client`, which does the same in a worker.
 *
 * @packageDocumentation
 */

export type { ChatFormat, Thinking } from "./bundle/chat_format.js";
export type { KeptBundle } from "./bundle/kept.js";
export { keptBundles } from "./bundle/kept.js";
export { type BundleSource, opened, type Source } from "./bundle/source.js";
export { Chat, type ChatOptions, type Think, type TurnOptions, UNDO_TURNS } from "./chat.js";
export * from "./errors.js";
export type { Decoder, Progress, RunOptions } from "./execution/decoder.js";
export type { Engine, GraphSource, Session, Value, ValueInfo, Values } from "./execution/engine.js";
export { OnnxRuntime } from "./execution/onnxruntime.js";
export type { Elements, ElementType, Tensor } from "./execution/tensor.js";
export { type Finish, generate, type GenerateOptions, type Timing, type Token } from "./generate.js";
export { Manifest } from "./manifest.js";
export { type LoadOptions, type LoadProgress, Model } from "./model.js";
export type { ProviderChoice } from "./providers.js";
export type { Sampling, SamplingOptions } from "./sampling.js";
export { State } from "./state.js";
export type { Tokenizer } from "./tokenizer.js";
export { VERSION } from "./version.js";
