/** The page's two scripts that are started by address. Where the browser has Trusted Types, no other can be. */

type Script = "worker.js" | "service-worker.js";

interface Policy {
  createScriptURL(name: string): string;
}

interface Factory {
  createPolicy(name: string, rules: Policy): Policy;
}

const rules: Policy = { createScriptURL: (name) => new URL(name, document.baseURI).href };
const policy = (window as { trustedTypes?: Factory }).trustedTypes?.createPolicy("rrwkv", rules) ?? rules;

export function scriptUrl(name: Script): string {
  return policy.createScriptURL(name);
}
