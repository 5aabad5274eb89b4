/** What only Node has: bundles in folders. */

import { openAsBlob } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";

import { opened, type Source } from "./bundle/source.js";

/** A bundle's folder, for `Model.load`. */
export function folder(path: string): Source {
  return opened(path, async (name) => {
    const found = await stat(join(path, name)).catch(() => null);
    return found?.isFile() === true ? openAsBlob(join(path, name)) : null;
  });
}
