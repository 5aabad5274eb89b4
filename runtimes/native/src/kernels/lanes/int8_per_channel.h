// Of Int8Kernels what is the same over sixteen lanes of any processor: from floats to whole numbers and back.
#pragma once

#include <cstring>

#include "exec/streams.h"
#include "kernels/kernels.h"
#include "kernels/lanes/each.h"

namespace rrwkv::lanes {

// kOffset: how far the bytes of activations are below their values: where the processor multiplies signed ones, 128.
template <class Floats, class Ints, int kOffset>
struct Int8Rows {
  static Ends ends(const float* x, size_t n) {
    Floats lowest = Floats::all(0), highest = Floats::all(0);
    each<Floats>(n, [&](auto at) {
      lowest = min(lowest, at.load(x));
      highest = max(highest, at.load(x));
    });
    return {least(lowest), largest(highest)};
  }

  static Ints rounded_value(Floats x, float scale, int zero, int offset) {
    const Floats v = max(x / Floats::all(scale), Floats::all(static_cast<float>(-zero)));
    return rounded(min(v, Floats::all(static_cast<float>(255 - zero)))) + Ints::all(zero - offset);
  }

  static void quantize(const float* x, float scale, int zero, size_t n, uint8_t* y) {
    for (size_t i = 0; i < n; i += kLanes)
      rounded_value(Floats::load(x + i, n - i), scale, zero, kOffset).store_bytes(y + i, n - i);
  }

  // As numbers of 16 bits.
  static void quantize_words(const float* x, float scale, int zero, size_t n, uint8_t* y) {
    for (size_t i = 0; i < n; i += kLanes) {
      alignas(32) uint16_t words[kLanes];
      rounded_value(Floats::load(x + i, n - i), scale, zero, 0).store_words(words, kLanes);
      std::memcpy(y + i * sizeof *words, words, std::min(kLanes, n - i) * sizeof *words);
    }
  }

  static void column_sums(const int8_t* weight, size_t rows, size_t columns, int32_t* sums) {
    for (size_t k = 0; k < rows; ++k)
      for (size_t n = 0; n < columns; ++n) sums[n] += weight[k * columns + n];
  }

  static void scale(const Int8Scaling& by, const int32_t* sums, size_t others, size_t stride, size_t n, float* y) {
    const Ints zero = Ints::all(by.zero - kOffset);
    for (size_t i = 0; i < n; i += kLanes) {
      Ints sum = Ints::load(sums + i, n - i);
      for (size_t other = 1; other <= others; ++other) sum = sum + Ints::load(sums + other * stride + i, n - i);
      sum = sum - zero * Ints::load(by.column_sums + i, n - i);
      const Floats scale = Floats::all(by.x_scale) * Floats::load(by.scale + i, n - i);
      (floats_of(sum) * scale).store(y + i, n - i);
    }
  }

  // zero: of the activations as they are multiplied.
  static void scale_rows(const Int8Scaling& by, int zero, const int32_t* sums, const Target& to) {
    for (size_t n = 0; n < to.columns; n += kLanes) {
      const size_t left = to.columns - n;
      const Ints zeros = Ints::all(zero) * Ints::load(by.column_sums + n);
      const Floats scale = Floats::all(by.x_scale) * Floats::load(by.scale + n, left);
      for (size_t i = 0; i < to.rows; ++i)
        (floats_of(Ints::load(sums + i * kPanel + n) - zeros) * scale).store(to.y + i * to.stride + n, left);
    }
  }
  static void scale_panel(const Int8Scaling& by, const int32_t* sums, const Target& to) {
    scale_rows(by, by.zero - kOffset, sums, to);
  }
  static void scale_panel_of_words(const Int8Scaling& by, const int32_t* sums, const Target& to) {
    scale_rows(by, by.zero, sums, to);
  }
};

// Four rows, `apart` values from each other, times four activations, added to sums. Rows: an action for every line of
// each row that is fetched ahead.
template <class Fours, typename Ahead>
void add_four_rows(const int8_t* row, size_t apart, const uint8_t bytes[4], size_t columns, const Ahead& ahead,
                   int32_t* sums) {
  const typename Fours::Factors factors(bytes);
  for (size_t n = 0; n < columns; n += Fours::kColumns) {
    if (n % kLineBytes == 0) ahead(n);
    Fours::add(row + n, apart, factors, sums + n);
  }
}

// Sums of one row, with four of the weights' rows at a time. Fours: what adds four rows times four activations to the
// sums of `kColumns` columns, in an order of its own, and puts these in order at last.
template <class Fours>
void accumulate(const int8_t* weight, size_t stride, size_t rows, size_t columns, const uint8_t* x,
                const MemoryRange& after, int32_t* sums) {
  const Reading& how = reading();
  const size_t wide = columns / Fours::kColumns * Fours::kColumns, fours = rows / kStreams;
  const size_t between = how.apart(rows), apart = between * stride, step = how.step() * stride;
  std::memset(sums, 0, columns * sizeof *sums);
  Fetch next = first_of(after);
  for (size_t i = 0; i < fours; ++i) {
    const uint8_t* values = x + i * how.step();
    const uint8_t bytes[kStreams] = {values[0], values[between], values[2 * between], values[3 * between]};
    const int8_t* row = weight + i * step;
    if (i + 1 < fours) {  // what comes after a row's end is the next row's begin
      add_four_rows<Fours>(
          row, apart, bytes, wide,
          [=](size_t n) {
            const char* ahead = how.ahead_of(row, n, columns, step);
            for (size_t stream = 0; stream < kStreams; ++stream) fetch(ahead + stream * apart);
          },
          sums);
    } else {
      add_four_rows<Fours>(
          row, apart, bytes, wide,
          [&](size_t) {
            for (size_t stream = 0; stream < kStreams; ++stream) next.line<Cache::kFirst>();
          },
          sums);
    }
  }
  for (size_t n = 0; n < wide; n += Fours::kColumns) Fours::put_in_order(sums + n);
  for (size_t k = 0; k < rows; ++k)  // what fills no vector
    for (size_t n = k < kStreams * fours ? wide : 0; n < columns; ++n)
      sums[n] += Fours::value(x[k]) * weight[k * stride + n];
}

}  // namespace rrwkv::lanes
