/** icon.svg as PNG, for systems that take no SVG: the same shapes, drawn by their distances; corners are the system's. */

import { deflateSync } from "node:zlib";

const GROUND = [11, 107, 93];
const WAVE = [232, 255, 249];
const DOT = [95, 208, 187];
const SEGMENTS = [
  [12, 34, 18, 18, 25, 18, 32, 32],
  [32, 32, 39, 46, 46, 46, 52, 30],
];

/** The wave as points, in units of the drawing's 64. */
const POINTS = SEGMENTS.flatMap(([ax, ay, bx, by, cx, cy, dx, dy]) =>
  Array.from({ length: 65 }, (_, i) => {
    const t = i / 64;
    const s = 1 - t;
    const weights = [s ** 3, 3 * s * s * t, 3 * s * t * t, t ** 3];
    const at = (a, b, c, d) => a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3];
    return [at(ax, bx, cx, dx), at(ay, by, cy, dy)];
  }),
);

/** Bytes of a PNG of size × size pixels. */
export function icon(size) {
  const rows = Buffer.alloc(size * (1 + 3 * size));
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const colour = at(((x + 0.5) * 64) / size, ((y + 0.5) * 64) / size, size / 64);
      rows.set(colour, y * (1 + 3 * size) + 1 + 3 * x);
    }
  }
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  const signature = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  const body = [chunk("IHDR", header), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([signature, ...body]);
}

function at(x, y, scale) {
  const wave = Math.min(...POINTS.map(([px, py]) => Math.hypot(x - px, y - py))) - 3;
  const dot = Math.hypot(x - 52, y - 30) - 5;
  return blend(blend(GROUND, WAVE, wave * scale), DOT, dot * scale);
}

function blend(under, over, distance) {
  const cover = Math.min(1, Math.max(0, 0.5 - distance));
  return under.map((value, i) => Math.round(value + (over[i] - value) * cover));
}

function chunk(type, data) {
  const typed = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc(typed), 4);
  return Buffer.concat([ends.subarray(0, 4), typed, ends.subarray(4)]);
}

function crc(bytes) {
  let value = -1;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}
