/** float16, of which not every browser has arrays: its bits to numbers and back. */

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** The number that 16 bits stand for. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The bits of the nearest float16, of two the even one; infinity beyond what it holds. */
export function toHalf(value: number): number {
  single[0] = value;
  const sign = ((bits[0] ?? 0) >>> 16) & 0x8000;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1e-9)));
  const step = 2 ** (exponent - 10);
  return sign | roundedHalf(roundEven(size / step) * step);
}

function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** The bits of a number of 0 or more that float16 holds. */
function roundedHalf(size: number): number {
  if (size < 2 ** -14) return size * 2 ** 24;
  const exponent = Math.floor(Math.log2(size));
  return ((exponent + 15) << 10) + (size / 2 ** exponent - 1) * 1024;
}
