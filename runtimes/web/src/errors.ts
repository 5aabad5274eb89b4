/**
 * Every error that the runtime throws on purpose. One tree, so that one `instanceof` catches all of it.
 *
 * ```
 * RRWKVError
 * ├── BundleError            the bundle cannot be used
 * │   ├── AccessDenied       its server asks for a key, or does not take the one that was sent
 * │   ├── DamagedBundle      a file is missing, truncated, changed, or not what the manifest says
 * │   ├── NewerFormat        the manifest has a format version that this runtime does not know yet
 * │   └── OlderFormat        the manifest has a format version that this runtime knows no longer
 * ├── StateError             a saved or given state cannot be used with this model
 * │   └── OtherBundle        it is of another bundle of the same model, which `allow_other_quantization` would allow
 * ├── TokenizerError         a tokenizer file is unusable, or the bundle has none and text was given
 * │   └── NoTokens           the tokenizer is whole, but has no tokens for some text
 * ├── ProviderError          a provider was asked for that is not there, or does not take the graph
 * ├── InputError             token ids, counts or options outside what the model accepts
 * └── Cancelled              whoever asked for it stopped it
 * ```
 *
 * Messages are one line: what is wrong, the value, what to do.
 */

/** Base of all errors of this project; its message is one line meant for a person. */
export class RRWKVError extends Error {
  // Written out in each class: whoever shortens names in a build does not shorten these.
  override readonly name: string = "RRWKVError";
}

/** The bundle cannot be used. */
export class BundleError extends RRWKVError {
  override readonly name: string = "BundleError";
}

/** The bundle's server asks for a key, or does not take the one that was sent. */
export class AccessDenied extends BundleError {
  override readonly name: string = "AccessDenied";
}

/** A file of the bundle is missing, truncated, changed, or not what the manifest says. */
export class DamagedBundle extends BundleError {
  override readonly name: string = "DamagedBundle";
}

/** The bundle was written by a newer version of the exporter. */
export class NewerFormat extends BundleError {
  override readonly name: string = "NewerFormat";
}

/** The bundle was written by an older version of the exporter. */
export class OlderFormat extends BundleError {
  override readonly name: string = "OlderFormat";
}

/** A saved or given state does not belong to this model, or its file is damaged. */
export class StateError extends RRWKVError {
  override readonly name: string = "StateError";
}

/** A state of another bundle of the same model: another quantization, or the other form of wkv. */
export class OtherBundle extends StateError {
  override readonly name: string = "OtherBundle";

  /** @param what - the message without its remedy */
  constructor(what: string) {
    super(`${what}; allow_other_quantization takes it all the same`);
  }
}

/** A tokenizer file is unusable, or text was given to a bundle without a tokenizer. */
export class TokenizerError extends RRWKVError {
  override readonly name: string = "TokenizerError";
}

/** The tokenizer is whole, but has no tokens for some text, and none that stands for what it does not know. */
export class NoTokens extends TokenizerError {
  override readonly name: string = "NoTokens";

  constructor(remedy = "write it otherwise") {
    super(`the tokenizer has no token for some of this text, and none for what it does not know; ${remedy}`);
  }
}

/** A provider was asked for that is not there, or that does not take the graph. */
export class ProviderError extends RRWKVError {
  override readonly name: string = "ProviderError";
}

/** Token ids, counts or options outside what the model accepts. */
export class InputError extends RRWKVError {
  override readonly name: string = "InputError";
}

/** Whoever asked for it stopped it. */
export class Cancelled extends RRWKVError {
  override readonly name: string = "Cancelled";
}

const KINDS: Readonly<Record<string, { readonly prototype: RRWKVError } | undefined>> = {
  RRWKVError,
  BundleError,
  AccessDenied,
  DamagedBundle,
  NewerFormat,
  OlderFormat,
  StateError,
  OtherBundle,
  TokenizerError,
  NoTokens,
  ProviderError,
  InputError,
  Cancelled,
};

/** The error that another thread tells of, by its name; one that is not of this project becomes an RRWKVError. */
export function errorOf(failure: { readonly name: string; readonly message: string }): RRWKVError {
  const kind = KINDS[failure.name] ?? RRWKVError;
  const { message } = failure;
  const name = kind === RRWKVError ? "RRWKVError" : failure.name;
  const { stack = "" } = new RRWKVError(message);
  return Object.assign(Object.create(kind.prototype) as RRWKVError, { message, name, stack });
}
