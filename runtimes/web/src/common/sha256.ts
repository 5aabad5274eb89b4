/** sha256 of what comes in pieces, which the browser's own cannot. */

import { createSHA256, sha256 } from "hash-wasm";

/** A digest in the making. */
export interface Sha256 {
  update(piece: Uint8Array): unknown;
  /** In hexadecimal. */
  digest(): string;
}

export async function startSha256(): Promise<Sha256> {
  const hasher = await createSHA256();
  hasher.init();
  return { update: (piece) => hasher.update(piece), digest: () => hasher.digest("hex") };
}

/** sha256 of all of it, in hexadecimal. */
export function sha256Of(data: Uint8Array | string): Promise<string> {
  return sha256(data);
}
