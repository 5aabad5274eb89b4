#include "kernels/avx512/blockwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/avx512/block_rows.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {
namespace {

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

}  // namespace

void Blockwise::scales_of(size_t output, size_t block, float* scales) const {
  for (size_t i = 0; i < 16; ++i) scales[i] = scale_[std::min(output + i, outputs - 1) * blocks_ + block];
}

void BlockwiseInt8::quantize_row(const float* x, size_t run, uint8_t* bytes, float* scales, float* zeros) const {
  std::memset(bytes, 0, row_size());
  for (size_t b = 0; b < blocks_; ++b) {
    const size_t first = b * block_, last = std::min(first + block_, inputs);
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
    zeros[b] = -static_cast<float>(1 << (bits_ - 1)) * scales[b] * static_cast<float>(_mm512_reduce_add_epi32(sums));
  }
  if (bits_ == 4) {
    const Parted parted(run);
    for (size_t i = 0; i < row_size(); i += kRun) parted.part(bytes + i);
  }
}

void BlockwiseInt8::quantize(const float* x, QuantizedActivations& quantized) const {
  float *scales = quantized.values.of(blocks_), *lane_scales = quantized.scales.of(vectors_ * kLanes);
  quantize_row(x, kRun, quantized.bytes.of(row_size()), scales, quantized.zeros.of(blocks_));
  std::memset(lane_scales, 0, vectors_ * kLanes * sizeof(float));
  const size_t in_block = block_ * bits_ / 32;
  for (size_t b = 0; b < blocks_; ++b) std::fill_n(lane_scales + b * in_block, in_block, scales[b]);
}

// y[first] … of several rows at once, so that one's sums need not wait for each other.
template <int kBits, size_t kRows>
void BlockwiseInt8::rows(const QuantizedActivations& x, size_t first, const char* ahead, float* y) const {
  const uint8_t* weight = weight_ + first * row_bytes_;
  const float* scale = scale_ + first * blocks_;
  const uint8_t* bytes = x.bytes.data();
  const __m512i low = _mm512_set1_epi8(0x0f);
  // A vector's lanes are those of one or several blocks, or a block's are those of several vectors.
  const size_t in_block = block_ * kBits / 32, blocks_in_vector = std::max<size_t>(kLanes / in_block, 1);
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i which = _mm512_srli_epi32(lane, static_cast<unsigned>(__builtin_ctzll(in_block)));
  __m512 sums[kRows];
  for (size_t i = 0; i < kRows; ++i) sums[i] = _mm512_setzero_ps();
  for (size_t v = 0; v < vectors_; ++v) {
    const size_t left = row_bytes_ - 64 * v, block = v * kLanes / in_block;
    const __mmask64 mask = left >= 64 ? ~0ull : (1ull << left) - 1;
    const __mmask16 held = lanes(std::min(blocks_in_vector, blocks_ - block));
    const __m512 x_scales = _mm512_loadu_ps(x.scales.data() + kLanes * v);
    const __m512i x_first = _mm512_loadu_si512(bytes + 512 / kBits * v);
    for (size_t i = 0; i < kRows; ++i) {
      _mm_prefetch(ahead + i * row_bytes_ + 64 * v, _MM_HINT_T0);
      const __m512i packed = _mm512_maskz_loadu_epi8(mask, weight + i * row_bytes_ + 64 * v);
      __m512i dots = _mm512_setzero_si512();
      if constexpr (kBits == 8) {
        dots = _mm512_dpbusd_epi32(dots, packed, x_first);
      } else {
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
        dots = _mm512_dpbusd_epi32(dots, _mm512_and_si512(packed, low), x_first);
        dots = _mm512_dpbusd_epi32(dots, odd, _mm512_loadu_si512(bytes + 128 * v + 64));
      }
      const __m512 scales = _mm512_permutexvar_ps(which, _mm512_maskz_loadu_ps(held, scale + i * blocks_ + block));
      sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(scales, x_scales), sums[i]);
    }
  }
  for (size_t b = 0; b < blocks_; b += kLanes) {
    const __mmask16 mask = lanes(blocks_ - b);
    const __m512 zeros = _mm512_maskz_loadu_ps(mask, x.zeros.data() + b);
    for (size_t i = 0; i < kRows; ++i)
      sums[i] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, scale + i * blocks_ + b), zeros, sums[i]);
  }
  for (size_t i = 0; i < kRows; ++i) y[first + i] = _mm512_reduce_add_ps(sums[i]);
}

MemoryRange Blockwise::start(size_t part, size_t parts) const {
  const auto [begin, end] = part_of(part, parts, outputs, 1);
  return {reinterpret_cast<const char*>(weight_ + begin * row_bytes_), (end - begin) * row_bytes_};
}

void BlockwiseInt8::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                             float* y) const {
  const auto [begin, end] = part_of(part, parts, outputs, 1);
  const auto several = [&](size_t i, const char* ahead) {
    bits_ == 8 ? rows<8, kRowsAtOnce>(x, i, ahead, y) : rows<4, kRowsAtOnce>(x, i, ahead, y);
  };
  const auto one = [&](size_t i, const char* ahead) {
    bits_ == 8 ? rows<8, 1>(x, i, ahead, y) : rows<4, 1>(x, i, ahead, y);
  };
  for_rows(begin, end, weight_, row_bytes_, after.begin, several, one);
}

}  // namespace rrwkv
