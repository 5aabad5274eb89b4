/** What a person prefers on this device, whatever the conversation. Kept in localStorage where there is one. */

import { effect, signal } from "@preact/signals";
import type { ProviderChoice } from "rrwkv-runtime/protocol";

export interface Preferences {
  theme: "auto" | "light" | "dark";
  provider: ProviderChoice;
  /** 0: as many as are worth it. */
  threads: number;
}

const KEY = "rrwkv-preferences";
const THREADS = Array.from({ length: 64 }, (_, index) => index + 1);
const DEFAULTS: Preferences = { theme: "auto", provider: "auto", threads: 0 };

export const preferences = signal<Preferences>(read());

effect(() => {
  const { theme } = preferences.value;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences.value));
  } catch {
    // not kept then
  }
});

function read(): Preferences {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>;
    return {
      theme: kept.theme === "light" || kept.theme === "dark" ? kept.theme : DEFAULTS.theme,
      provider: kept.provider === "wasm" || kept.provider === "webgpu" ? kept.provider : DEFAULTS.provider,
      threads: THREADS.includes(Number(kept.threads)) ? Number(kept.threads) : DEFAULTS.threads,
    };
  } catch {
    return DEFAULTS;
  }
}
