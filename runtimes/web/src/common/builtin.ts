/** A module of Node's own, asked for so that whoever packs a page does not look for it; null where there is none. */
export function builtin(name: string): unknown {
  const { process } = globalThis as { process?: { getBuiltinModule?(name: string): unknown } };
  return process?.getBuiltinModule?.(name) ?? null;
}
