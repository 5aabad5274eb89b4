#include <algorithm>
#include <cstring>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/blockwise_rows.h"
#include "kernels/avx512/shuffle.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

constexpr size_t kRun = 128;   // values of 4 bits that 64 bytes hold
constexpr size_t kAtOnce = 4;  // blocks whose dots are made before those of the four before them are scaled

// 128 bytes, in runs of 16 to 128: of each the even ones, then the odd ones, as 4-bit weights lie in theirs.
class Parted {
 public:
  explicit Parted(size_t run) {
    alignas(64) int64_t from[16];
    for (size_t i = 0; i < 16; ++i) {  // eights of bytes; all the even ones, and then the odd ones from 8 on
      const size_t eights = run / 8, half = eights / 2, at = i / eights * half + i % eights;
      from[i] = static_cast<int64_t>(i % eights < half ? at : at - half + 8);
    }
    first_ = _mm512_load_si512(from);
    last_ = _mm512_load_si512(from + 8);
  }

  void part(uint8_t* x) const {
    const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + 64);
    const __m512i even = joined(_mm512_cvtepi16_epi8(a), _mm512_cvtepi16_epi8(b));
    const __m512i odd =
        joined(_mm512_cvtepi16_epi8(_mm512_srli_epi16(a, 8)), _mm512_cvtepi16_epi8(_mm512_srli_epi16(b, 8)));
    _mm512_storeu_si512(x, _mm512_permutex2var_epi64(even, first_, odd));
    _mm512_storeu_si512(x + 64, _mm512_permutex2var_epi64(even, last_, odd));
  }

 private:
  static __m512i joined(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }

  __m512i first_, last_;
};

// run: of 4-bit weights, how many even and odd ones are apart from each other.
void quantize_in_runs(const BlockwiseWeights& w, const float* x, size_t run, uint8_t* bytes, float* scales,
                      float* zeros) {
  std::memset(bytes, 0, w.activation_bytes());
  for (size_t b = 0; b < w.blocks; ++b) {
    const size_t first = b * w.block, last = std::min(first + w.block, w.inputs);
    __m512 largest = _mm512_setzero_ps();
    for (size_t i = first; i < last; i += kLanes)
      largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(lanes(last - i), x + i)));
    const float most = _mm512_reduce_max_ps(largest), inverse = most > 0 ? 127.0f / most : 0.0f;
    __m512i sums = _mm512_setzero_si512();
    for (size_t i = first; i < last; i += kLanes) {
      const __mmask16 mask = lanes(last - i);
      const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(inverse));
      const __m512i whole = _mm512_cvtps_epi32(scaled);
      sums = _mm512_add_epi32(sums, whole);
      _mm512_mask_cvtepi32_storeu_epi8(bytes + i, mask, whole);
    }
    scales[b] = most / 127.0f;
    zeros[b] = -static_cast<float>(1 << (w.bits - 1)) * scales[b] * static_cast<float>(_mm512_reduce_add_epi32(sums));
  }
  if (w.bits == 4) {
    const Parted parted(run);
    for (size_t i = 0; i < w.activation_bytes(); i += kRun) parted.part(bytes + i);
  }
}

void quantize(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* lane_scales,
              float* zeros) {
  quantize_in_runs(w, x, kRun, bytes, scales, zeros);
  std::memset(lane_scales, 0, w.vectors * kLanes * sizeof(float));
  const size_t in_block = w.block * w.bits / 32;
  for (size_t b = 0; b < w.blocks; ++b) std::fill_n(lane_scales + b * in_block, in_block, scales[b]);
}

void quantize_row(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  quantize_in_runs(w, x, std::min<size_t>(w.block, kRun), bytes, scales, zeros);
}

// y[first] … of several rows at once, so that one's sums need not wait for each other.
template <int kBits, size_t kRows>
void rows(const BlockwiseWeights& w, const BlockwiseRow& x, size_t first, const char* ahead, float* y) {
  const uint8_t* weight = w.weight + first * w.row_bytes;
  const float* scale = w.scale + first * w.blocks;
  const uint8_t* bytes = x.bytes;
  const __m512i low = _mm512_set1_epi8(0x0f);
  // A vector's lanes are those of one or several blocks, or a block's are those of several vectors.
  const size_t in_block = w.block * kBits / 32, blocks_in_vector = std::max<size_t>(kLanes / in_block, 1);
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i which = _mm512_srli_epi32(lane, static_cast<unsigned>(__builtin_ctzll(in_block)));
  __m512 sums[kRows];
  for (size_t i = 0; i < kRows; ++i) sums[i] = _mm512_setzero_ps();
  for (size_t v = 0; v < w.vectors; ++v) {
    const size_t left = w.row_bytes - 64 * v, block = v * kLanes / in_block;
    const __mmask64 mask = left >= 64 ? ~0ull : (1ull << left) - 1;
    const __mmask16 held = lanes(std::min(blocks_in_vector, w.blocks - block));
    const __m512 x_scales = _mm512_loadu_ps(x.scales + kLanes * v);
    const __m512i x_first = _mm512_loadu_si512(bytes + 512 / kBits * v);
    for (size_t i = 0; i < kRows; ++i) {
      _mm_prefetch(ahead + i * w.row_bytes + 64 * v, _MM_HINT_T0);
      const __m512i packed = _mm512_maskz_loadu_epi8(mask, weight + i * w.row_bytes + 64 * v);
      __m512i dots = _mm512_setzero_si512();
      if constexpr (kBits == 8) {
        dots = _mm512_dpbusd_epi32(dots, packed, x_first);
      } else {
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
        dots = _mm512_dpbusd_epi32(dots, _mm512_and_si512(packed, low), x_first);
        dots = _mm512_dpbusd_epi32(dots, odd, _mm512_loadu_si512(bytes + 128 * v + 64));
      }
      const __m512 scales = _mm512_permutexvar_ps(which, _mm512_maskz_loadu_ps(held, scale + i * w.blocks + block));
      sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(scales, x_scales), sums[i]);
    }
  }
  for (size_t b = 0; b < w.blocks; b += kLanes) {
    const __mmask16 mask = lanes(w.blocks - b);
    const __m512 zeros = _mm512_maskz_loadu_ps(mask, x.zeros + b);
    for (size_t i = 0; i < kRows; ++i)
      sums[i] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, scale + i * w.blocks + b), zeros, sums[i]);
  }
  for (size_t i = 0; i < kRows; ++i) y[first + i] = _mm512_reduce_add_ps(sums[i]);
}

void multiply(const BlockwiseWeights& w, const BlockwiseRow& x, Span outputs, const char* after, float* y) {
  const auto several = [&](size_t i, const char* ahead) {
    w.bits == 8 ? rows<8, kRowsAtOnce>(w, x, i, ahead, y) : rows<4, kRowsAtOnce>(w, x, i, ahead, y);
  };
  const auto one = [&](size_t i, const char* ahead) {
    w.bits == 8 ? rows<8, 1>(w, x, i, ahead, y) : rows<4, 1>(w, x, i, ahead, y);
  };
  for_rows(outputs.begin, outputs.end, w.weight, w.row_bytes, after, several, one);
}

void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  const size_t in_run = std::min<size_t>(w.block, kRun) / 8;  // of four bits: packed groups of a run
  const __m512i lower = _mm512_set1_epi8(0x0f);
  for (size_t from = 0; from < w.row_bytes; from += kUnit) {
    __m512i unit[16];
    load_turned(w.weight, w.row_bytes, w.outputs, output, from, unit);
    uint8_t* to = bytes + from * 8 / w.bits * kSide;
    for (size_t j = 0; j < 16; ++j) {
      if (w.bits == 8) {
        _mm512_storeu_si512(to + 64 * j, unit[j]);
      } else {
        uint8_t* even = to + 64 * (j / in_run * 2 * in_run + j % in_run);
        _mm512_storeu_si512(even, _mm512_and_si512(unit[j], lower));
        _mm512_storeu_si512(even + 64 * in_run, _mm512_and_si512(_mm512_srli_epi16(unit[j], 4), lower));
      }
    }
  }
  for (size_t b = 0; b < w.blocks; ++b) scales_of(w, output, b, scales + kSide * b);
}

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels& tiles, const Target& to) {
  alignas(64) int32_t dots[2][kAtOnce][kSide * kSide];
  const auto make = [&](size_t first) {
    if (first >= w.blocks) return;
    tiles.dot(x.bytes + first * w.block, x.stride, w.bytes + kSide * first * w.block, w.block,
              std::min(kAtOnce, w.blocks - first), dots[first / kAtOnce % 2][0]);
  };
  __m512 totals[kSide];
  for (__m512& total : totals) total = _mm512_setzero_ps();
  make(0);
  for (size_t first = 0; first < w.blocks; first += kAtOnce) {
    make(first + kAtOnce);
    for (size_t b = first; b < std::min(first + kAtOnce, w.blocks); ++b) {
      const int32_t* of_block = dots[b / kAtOnce % 2][b % kAtOnce];
      const __m512 scale = _mm512_loadu_ps(w.scales + kSide * b);
      for (size_t i = 0; i < kSide; ++i) {
        const __m512 scales = _mm512_set1_ps(x.scales[i * w.blocks + b]);
        const __m512 zeros = _mm512_set1_ps(x.zeros[i * w.blocks + b]);
        const __m512 sums = _mm512_cvtepi32_ps(_mm512_load_si512(of_block + kSide * i));
        totals[i] = _mm512_fmadd_ps(_mm512_fmadd_ps(sums, scales, zeros), scale, totals[i]);
      }
    }
  }
  const __mmask16 mask = lanes(to.columns);
  for (size_t i = 0; i < to.rows; ++i) _mm512_mask_storeu_ps(to.y + i * to.stride, mask, totals[i]);
}

}  // namespace

const BlockwiseKernels kBlockwiseKernels = {quantize, quantize_row, multiply, unpack, multiply_tile};

}  // namespace rrwkv::avx512
