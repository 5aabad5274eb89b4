/** PCG64, seeded as numpy's `default_rng(seed)` has it: O'Neill, 2014, and numpy's SeedSequence. */

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const MASK_64 = (1n << 64n) - 1n;
const MASK_128 = (1n << 128n) - 1n;

/** A stream of random numbers. */
export class Pcg64 {
  private state = 0n;
  private readonly increment: bigint;

  /** @param seed - 0 or more */
  constructor(seed: bigint) {
    const out = mixed(words(seed));
    const pair = (i: number): bigint => BigInt(out[i] ?? 0) + (BigInt(out[i + 1] ?? 0) << 32n);
    this.increment = ((((pair(4) << 64n) + pair(6)) << 1n) | 1n) & MASK_128;
    this.step();
    this.state = (this.state + (pair(0) << 64n) + pair(2)) & MASK_128;
    this.step();
  }

  /** A new one that nobody can foresee. */
  static random(): Pcg64 {
    const [a = 0n, b = 0n] = crypto.getRandomValues(new BigUint64Array(2));
    return new Pcg64((a << 64n) + b);
  }

  /** The next number, from 0 to below 1, of 53 bits. */
  double(): number {
    this.step();
    const folded = (this.state >> 64n) ^ (this.state & MASK_64);
    const turn = this.state >> 122n;
    const x = ((folded >> turn) | (folded << ((64n - turn) & 63n))) & MASK_64;
    return Number(x >> 11n) / 2 ** 53;
  }

  private step(): void {
    this.state = (this.state * MULTIPLIER + this.increment) & MASK_128;
  }
}

/** The 32-bit words of a number, the lowest first. */
function words(seed: bigint): number[] {
  const found: number[] = [];
  for (let left = seed; left > 0n || found.length === 0; left >>= 32n) found.push(Number(left & 0xffffffffn));
  return found;
}

/** Eight words of all the bits of the seed: numpy's SeedSequence. */
function mixed(entropy: readonly number[]): number[] {
  let c = 0x43b0d7e5;
  const hash = (value: number): number => {
    const v = value ^ c;
    c = Math.imul(c, 0x931e8875);
    const w = Math.imul(v, c);
    return (w ^ (w >>> 16)) >>> 0;
  };
  const mix = (x: number, y: number): number => {
    const r = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return (r ^ (r >>> 16)) >>> 0;
  };
  const pool = [0, 1, 2, 3].map((i) => hash(entropy[i] ?? 0));
  const into = (d: number, value: number): void => {
    pool[d] = mix(pool[d] ?? 0, hash(value));
  };
  for (let s = 0; s < 4; s++) for (let d = 0; d < 4; d++) if (d !== s) into(d, pool[s] ?? 0);
  for (const word of entropy.slice(4)) for (let d = 0; d < 4; d++) into(d, word);
  c = 0x8b51f9dd;
  return Array.from({ length: 8 }, (_, i) => {
    const v = (pool[i % 4] ?? 0) ^ c;
    c = Math.imul(c, 0x58f38ded);
    const w = Math.imul(v, c);
    return (w ^ (w >>> 16)) >>> 0;
  });
}
