/** Values of the kernels' sessions: states and logits in their module's memory, and what the host keeps. */

import type { Value } from "../engine.js";
import { elements, type Tensor } from "../tensor.js";
import type { KernelModule, Pointer } from "./module.js";

/** Memory of the module that values share; released with the last of them. */
export class Block {
  private users = 1;

  constructor(
    readonly at: Pointer,
    readonly bytes: number,
    private readonly give: (block: Block) => void,
  ) {}

  share(): this {
    this.users++;
    return this;
  }

  release(): void {
    if (--this.users === 0) this.give(this);
  }
}

/** Blocks, of which those that are released are used again. */
export class Blocks {
  private readonly free = new Map<number, Block[]>();

  constructor(private readonly module: KernelModule) {}

  take(bytes: number): Block {
    const at = this.free.get(bytes)?.pop()?.at ?? this.module.allocate(bytes);
    return new Block(at, bytes, (block) => {
      const others = this.free.get(bytes);
      if (others === undefined) this.free.set(bytes, [block]);
      else others.push(block);
    });
  }
}

/** Floats in the module's memory. */
export class Held implements Value {
  readonly dtype = "float32";

  constructor(
    readonly shape: readonly number[],
    readonly block: Block,
    private readonly module: KernelModule,
  ) {}

  read(): Tensor {
    const { dtype, shape } = this;
    return { dtype, shape, data: this.module.floats(this.block.at, elements(shape)) };
  }

  release(): void {
    this.block.release();
  }
}

/** A value that the kernels take from the host: ids, and numbers. */
export class OnHost implements Value {
  constructor(private readonly tensor: Tensor) {}

  get dtype(): Tensor["dtype"] {
    return this.tensor.dtype;
  }

  get shape(): readonly number[] {
    return this.tensor.shape;
  }

  read(): Tensor {
    return this.tensor;
  }

  release(): void {
    // It is the host's.
  }
}
