/** The runtime's worker, which also holds a lock of its name: when it ends, however that is, the page is told. */

import "rrwkv-runtime/worker";

if ("locks" in navigator && self.name.startsWith("rrwkv-")) {
  void navigator.locks.request(self.name, () => new Promise<never>(() => undefined));
}
