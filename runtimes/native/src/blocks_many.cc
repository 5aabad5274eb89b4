// `Blocks` times many rows at once: 16 outputs and 16 rows at a time, a block's scale once for all of its sums.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "blocks.h"
#include "vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kTile = 16;    // outputs at a time: one a lane
constexpr size_t kUnit = 64;    // bytes of a weight row that are turned at once: 16 groups of four for 16 outputs
constexpr size_t kTokens = 16;  // tokens whose sums stay in registers

// 16 rows of 16 groups become 16 groups of 16 rows: w[j] holds in lane i the j-th four bytes of row i.
void transpose(__m512i w[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(w[i], w[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(w[i], w[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    w[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    w[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    w[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    w[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    w[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    w[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    w[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    w[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Weights of 16 outputs that share a block, ready to be multiplied: groups of four, and of four bits the odd ones too.
struct Stretch {
  const __m512i *weights, *odd;
  size_t groups, block, place;  // place: of the activations' bytes
  bool begins_block;
  __m512 scale;
};

// Rows of activations, rounded block by block: bytes as `Blocks` has them, and of each token and block the scale and
// what the weights' zero adds.
struct Rows {
  const uint8_t* bytes;
  const float *scales, *zeros;
  size_t row_size, blocks;
};

// uint8 [N, blocks, block / (8 / bits)], zero in the middle; scale [N, blocks].
struct Weights {
  const uint8_t* bytes;
  const float* scale;
  size_t outputs, block, bits;
};

// Adds to y [tokens, 16] what a stretch gives, for tokens from the first on.
template <size_t kTokensHere>
void add(const Stretch& s, const Rows& x, size_t first, float* y) {
  __m512i sums[kTokensHere];
  const uint8_t* bytes = x.bytes + first * x.row_size + s.place;
  for (size_t t = 0; t < kTokensHere; ++t) sums[t] = _mm512_setzero_si512();
  for (size_t g = 0; g < s.groups; ++g)
    for (size_t t = 0; t < kTokensHere; ++t)
      sums[t] = _mm512_dpbusd_epi32(sums[t], s.weights[g], four_bytes(bytes + t * x.row_size + 4 * g));
  if (s.odd)
    for (size_t g = 0; g < s.groups; ++g)
      for (size_t t = 0; t < kTokensHere; ++t)
        sums[t] = _mm512_dpbusd_epi32(sums[t], s.odd[g], four_bytes(bytes + t * x.row_size + 64 + 4 * g));
  for (size_t t = 0; t < kTokensHere; ++t) {
    const size_t at = (first + t) * x.blocks + s.block;
    const __m512 zero = _mm512_set1_ps(s.begins_block ? x.zeros[at] : 0.0f);
    const __m512 dots = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[t]), _mm512_set1_ps(x.scales[at]), zero);
    float* to = y + (first + t) * kTile;
    _mm512_storeu_ps(to, _mm512_fmadd_ps(dots, s.scale, _mm512_loadu_ps(to)));
  }
}

// y [tokens, 16] of 16 outputs (fewer at the end: the others are of the last row, and not used).
void multiply_tile(const Weights& w, const Rows& x, size_t tokens, size_t output, float* y) {
  const size_t row_bytes = x.blocks * w.block * w.bits / 8, block_bytes = w.block * w.bits / 8;
  const size_t groups = std::min(block_bytes, kUnit) / 4, per_unit = kUnit / 4 / groups;
  std::memset(y, 0, tokens * kTile * sizeof *y);
  const __m512i lower = _mm512_set1_epi8(0x0f);
  for (size_t from = 0; from < row_bytes; from += kUnit) {
    const size_t left = row_bytes - from;
    const __mmask64 mask = left >= kUnit ? ~0ull : (1ull << left) - 1;
    __m512i unit[16], high[16];
    for (size_t i = 0; i < kTile; ++i) {
      const size_t row = std::min(output + i, w.outputs - 1);
      unit[i] = _mm512_maskz_loadu_epi8(mask, w.bytes + row * row_bytes + from);
    }
    transpose(unit);
    if (w.bits == 4) {
      for (size_t i = 0; i < 16; ++i) {
        high[i] = _mm512_and_si512(_mm512_srli_epi16(unit[i], 4), lower);
        unit[i] = _mm512_and_si512(unit[i], lower);
      }
    }
    for (size_t part = 0; part < per_unit; ++part) {
      const size_t offset = from + part * groups * 4, block = offset / block_bytes;
      if (block >= x.blocks) break;
      alignas(64) float scales[kTile];
      for (size_t i = 0; i < kTile; ++i) scales[i] = w.scale[std::min(output + i, w.outputs - 1) * x.blocks + block];
      const Stretch stretch{unit + part * groups,
                            w.bits == 4 ? high + part * groups : nullptr,
                            groups,
                            block,
                            from * 8 / w.bits + part * groups * 4,
                            offset % block_bytes == 0,
                            _mm512_load_ps(scales)};
      size_t t = 0;
      for (; t + kTokens <= tokens; t += kTokens) add<kTokens>(stretch, x, t, y);
      for (; t < tokens; ++t) add<1>(stretch, x, t, y);
    }
  }
}

}  // namespace

void Blocks::round_rows(const float* x, size_t rows, Rounded& rounded, const Threads& threads) const {
  uint8_t* bytes = rounded.bytes.of(rows * row_size());
  float *scales = rounded.values.of(rows * blocks_), *zeros = rounded.zeros.of(rows * blocks_);
  threads.share(threads.count, [&](size_t i) {
    for (size_t t = rows * i / threads.count; t < rows * (i + 1) / threads.count; ++t)
      round_row(x + t * inputs, bytes + t * row_size(), scales + t * blocks_, zeros + t * blocks_);
  });
}

void Blocks::multiply_rows(Rounded& x, size_t rows, bool, const Threads& threads, float* y) const {
  const Weights weights{weight_, scale_, outputs, block_, bits_};
  const Rows given{x.bytes.data(), x.values.data(), x.zeros.data(), row_size(), blocks_};
  std::atomic<size_t> taken{0};
  threads.share(threads.count, [&](size_t) {
    static thread_local Scratch<float> of_thread;
    float* tile = of_thread.of(rows * kTile);
    for (size_t n = taken.fetch_add(kTile); n < outputs; n = taken.fetch_add(kTile)) {
      multiply_tile(weights, given, rows, n, tile);
      const __mmask16 mask = lanes(outputs - n);
      for (size_t t = 0; t < rows; ++t)
        _mm512_mask_storeu_ps(y + t * outputs + n, mask, _mm512_loadu_ps(tile + t * kTile));
    }
  });
}

}  // namespace rrwkv
