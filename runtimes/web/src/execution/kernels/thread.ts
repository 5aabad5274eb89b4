/**
 * What a worker runs that helps a module of kernels: an instance of the module over the same memory, with a stack and
 * variables of its own. It imports nothing: it is a file that a page serves beside the modules.
 */

/** What it is told, once. */
export interface ThreadStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Where its stack begins, which grows down; and where its variables lie. */
  readonly stack: number;
  readonly variables: number;
}

interface Exports {
  readonly __stack_pointer: WebAssembly.Global<"i32">;
  __wasm_init_tls(variables: number): void;
  help(): void;
  fail(): void;
}

/** A worker's own, or its port in Node. */
interface Scope {
  onmessage: ((event: { data: ThreadStart }) => void) | null;
  postMessage(message: "ready"): void;
  close(): void;
}

const { process } = globalThis as { process?: { getBuiltinModule?(name: string): { parentPort: Scope } } };
const scope = process?.getBuiltinModule?.("node:worker_threads").parentPort ?? (globalThis as unknown as Scope);

scope.onmessage = ({ data: { module, memory, stack, variables } }) => {
  const imports: WebAssembly.Imports = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = kind === "memory" ? memory : never;
  }
  const exports = new WebAssembly.Instance(module, imports).exports as unknown as Exports;
  exports.__stack_pointer.value = stack;
  exports.__wasm_init_tls(variables);
  scope.postMessage("ready");
  try {
    exports.help(); // until the end
  } catch {
    exports.fail();
  }
  scope.close();
};

function never(): never {
  throw new Error("the kernels asked for what there is not");
}
