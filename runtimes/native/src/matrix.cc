#include "matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kWide = 64;       // columns at a time: four vectors of sums
constexpr size_t kDeep = 16;       // rows at a time while the sums stay in registers, and rows fetched ahead
constexpr size_t kNarrow = 4096;   // outputs up to which the parts of a matrix are rows, each one stretch of memory
constexpr size_t kRowsAtOnce = 4;  // of `Blocks`: one's sums need not wait for another's
constexpr size_t kSegment = 8192;  // columns at a time of a wider one: their sums stay in the first cache

// Four rows of 64 columns, as groups of four bytes of one column, times four activations; see `in_order`.
inline void add_four_rows(const int8_t* w, size_t stride, __m512i x, __m512i sums[4]) {
  const __m512i a = _mm512_loadu_si512(w), b = _mm512_loadu_si512(w + stride);
  const __m512i c = _mm512_loadu_si512(w + 2 * stride), d = _mm512_loadu_si512(w + 3 * stride);
  const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  sums[0] = _mm512_dpbusd_epi32(sums[0], x, _mm512_unpacklo_epi16(ab_low, cd_low));
  sums[1] = _mm512_dpbusd_epi32(sums[1], x, _mm512_unpackhi_epi16(ab_low, cd_low));
  sums[2] = _mm512_dpbusd_epi32(sums[2], x, _mm512_unpacklo_epi16(ab_high, cd_high));
  sums[3] = _mm512_dpbusd_epi32(sums[3], x, _mm512_unpackhi_epi16(ab_high, cd_high));
}

// The interleaving works within 128 bits: sums[j] holds columns 4 j .. 4 j + 3 of each of the four sixteens. A
// transpose of 4 x 4 quarters puts them in order, and is its own inverse.
inline void in_order(__m512i s[4]) {
  const __m512i a = _mm512_shuffle_i32x4(s[0], s[1], 0x44), b = _mm512_shuffle_i32x4(s[0], s[1], 0xee);
  const __m512i c = _mm512_shuffle_i32x4(s[2], s[3], 0x44), d = _mm512_shuffle_i32x4(s[2], s[3], 0xee);
  s[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  s[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
  s[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  s[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

// As 4-bit weights lie: the even ones in the lower halves of 64 bytes, the odd ones in the upper.
inline void even_then_odd(uint8_t* x) {
  const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + 64);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), _mm512_cvtepi16_epi8(a));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x + 32), _mm512_cvtepi16_epi8(b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x + 64), _mm512_cvtepi16_epi8(_mm512_srli_epi16(a, 8)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x + 96), _mm512_cvtepi16_epi8(_mm512_srli_epi16(b, 8)));
}

// DynamicQuantizeLinear's scale and zero point.
Columns::Range range_of(const float* x, size_t n) {
  __m512 lowest = _mm512_setzero_ps(), highest = _mm512_setzero_ps();
  for (size_t i = 0; i < n; i += kLanes) {
    const __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
    lowest = _mm512_min_ps(lowest, v);
    highest = _mm512_max_ps(highest, v);
  }
  const float low = _mm512_reduce_min_ps(lowest), high = _mm512_reduce_max_ps(highest);
  const float scale = high == low ? 1.0f : (high - low) / 255.0f;
  return {scale, static_cast<int>(std::nearbyint(std::clamp(-low / scale, 0.0f, 255.0f)))};
}

}  // namespace

Columns::Columns(const int8_t* weight, size_t inputs, size_t outputs, const float* scale, const Range* range)
    : weight_(weight), scale_(scale), has_range_(range != nullptr), column_sums_(outputs, 0) {
  this->inputs = inputs;
  this->outputs = outputs;
  if (range) range_ = *range;
  for (size_t k = 0; k < inputs; ++k)
    for (size_t n = 0; n < outputs; ++n) column_sums_[n] += weight[k * outputs + n];
}

void Columns::round(const float* x, Rounded& rounded) const {
  const Range range = has_range_ ? range_ : range_of(x, inputs);
  rounded.scale = range.scale;
  rounded.zero = range.zero;
  round_to_uint8(x, range.scale, range.zero, inputs, rounded.bytes.of(inputs));
}

Columns::Block Columns::block(size_t part, size_t parts) const {
  if (outputs <= kNarrow) {
    const size_t deep = (inputs + kDeep - 1) / kDeep;
    const size_t row = std::min(inputs, deep * part / parts * kDeep),
                 end = std::min(inputs, deep * (part + 1) / parts * kDeep);
    return {row, end - row, 0, outputs};
  }
  const size_t wide = (outputs + kWide - 1) / kWide;
  const size_t column = wide * part / parts * kWide, end = std::min(outputs, wide * (part + 1) / parts * kWide);
  return {0, inputs, column, end - column};
}

const void* Columns::start(size_t part, size_t parts) const {
  const Block b = block(part, parts);
  return weight_ + b.row * outputs + b.column;
}

void Columns::accumulate(const uint8_t* x, const Block& b, const void* after, int32_t* sums) const {
  const int8_t* weight = weight_ + b.row * outputs + b.column;
  const size_t wide_end = b.columns / kWide * kWide, deep_end = b.rows / 4 * 4;
  std::memset(sums, 0, b.columns * sizeof *sums);
  for (size_t k = 0; k < deep_end; k += kDeep) {
    const size_t stop = std::min(k + kDeep, deep_end);
    // At the end, not the rows behind it, which are another's, but what comes next; rows follow each other in memory.
    const void* ahead = after && k + kDeep >= deep_end ? after : weight + (k + kDeep) * outputs;
    for (size_t n = 0; n < wide_end; n += kWide) {
      __m512i s[4];
      for (size_t i = 0; i < 4; ++i) s[i] = _mm512_loadu_si512(sums + n + 16 * i);
      for (size_t r = k; r < stop; r += 4) {
        for (size_t i = r; i < r + 4; ++i)
          _mm_prefetch(static_cast<const char*>(ahead) + (i - k) * outputs + n, _MM_HINT_T0);
        add_four_rows(weight + r * outputs + n, outputs, four_bytes(x + r), s);
      }
      for (size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + n + 16 * i, s[i]);
    }
  }
  for (size_t n = 0; n < wide_end; n += kWide) {
    __m512i s[4];
    for (size_t i = 0; i < 4; ++i) s[i] = _mm512_loadu_si512(sums + n + 16 * i);
    in_order(s);
    for (size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + n + 16 * i, s[i]);
  }
  for (size_t k = 0; k < b.rows; ++k)  // what fills no vector
    for (size_t n = k < deep_end ? wide_end : 0; n < b.columns; ++n) sums[n] += x[k] * weight[k * outputs + n];
}

// y = (the sums of all parts - zero · the columns' sums) · scale
void Columns::scale(const Rounded& x, const int32_t* sums, size_t others, size_t begin, size_t end, float* y) const {
  const __m512 x_scale = _mm512_set1_ps(x.scale);
  const __m512i zero = _mm512_set1_epi32(x.zero);
  for (size_t n = begin; n < end; n += kLanes) {
    const __mmask16 mask = lanes(end - n);
    __m512i sum = _mm512_maskz_loadu_epi32(mask, sums + n - begin);
    for (size_t i = 1; i <= others; ++i)
      sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, sums + i * outputs + n - begin));
    sum = _mm512_sub_epi32(sum, _mm512_mullo_epi32(zero, _mm512_maskz_loadu_epi32(mask, &column_sums_[n])));
    const __m512 scale = _mm512_mul_ps(x_scale, _mm512_maskz_loadu_ps(mask, scale_ + n));
    _mm512_mask_storeu_ps(y + n, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
  }
}

void Columns::multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const {
  const Block all = block(part, parts);
  if (outputs <= kNarrow) return accumulate(x.bytes.data() + all.row, all, after, x.sums.data() + part * outputs);
  alignas(64) int32_t sums[kSegment];
  for (size_t column = all.column, end = all.column + all.columns; column < end; column += kSegment) {
    const Block segment{0, inputs, column, std::min(kSegment, end - column)};
    const bool last = column + kSegment >= end;
    accumulate(x.bytes.data(), segment, last ? after : weight_ + column + kSegment, sums);
    scale(x, sums, 0, column, column + segment.columns, y);
  }
}

void Columns::finish(const Rounded& x, size_t parts, float* y) const {
  if (outputs <= kNarrow) scale(x, x.sums.data(), parts - 1, 0, outputs, y);
}

Blocks::Blocks(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, size_t bits, const float* scale)
    : weight_(weight),
      scale_(scale),
      block_(block),
      blocks_((inputs + block - 1) / block),
      bits_(bits),
      row_bytes_(blocks_ * block * bits / 8),
      vectors_((row_bytes_ + 63) / 64) {
  this->inputs = inputs;
  this->outputs = outputs;
}

void Blocks::round_row(const float* x, uint8_t* bytes, float* scales, float* zeros) const {
  std::memset(bytes, 0, padded());
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
  if (bits_ == 4)
    for (size_t i = 0; i < padded(); i += 128) even_then_odd(bytes + i);
}

void Blocks::round(const float* x, Rounded& rounded) const {
  float *scales = rounded.values.of(blocks_), *lane_scales = rounded.scales.of(vectors_ * kLanes);
  round_row(x, rounded.bytes.of(padded()), scales, rounded.zeros.of(blocks_));
  std::memset(lane_scales, 0, vectors_ * kLanes * sizeof(float));
  const size_t in_block = block_ * bits_ / 32;
  for (size_t b = 0; b < blocks_; ++b) std::fill_n(lane_scales + b * in_block, in_block, scales[b]);
}

// y[first] … of several rows at once, so that one's sums need not wait for each other.
template <int kBits, size_t kRows>
void Blocks::rows(const Rounded& x, size_t first, const char* ahead, float* y) const {
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

namespace {

// What a thread computes of rows that follow each other in memory: several at once, and fetching what comes next.
template <typename Rows, typename Row>
void for_rows(size_t begin, size_t end, const uint8_t* weight, size_t row_bytes, const void* after, Rows rows,
              Row row) {
  constexpr size_t kAhead = 8;
  size_t i = begin;
  for (; i + kRowsAtOnce <= end; i += kRowsAtOnce) {
    const void* ahead = i + kAhead + kRowsAtOnce <= end || !after ? weight + (i + kAhead) * row_bytes : after;
    rows(i, static_cast<const char*>(ahead));
  }
  for (; i < end; ++i) row(i, reinterpret_cast<const char*>(weight + i * row_bytes));
}

}  // namespace

void Blocks::multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const {
  const size_t begin = outputs * part / parts, end = outputs * (part + 1) / parts;
  const auto several = [&](size_t i, const char* ahead) {
    bits_ == 8 ? rows<8, kRowsAtOnce>(x, i, ahead, y) : rows<4, kRowsAtOnce>(x, i, ahead, y);
  };
  const auto one = [&](size_t i, const char* ahead) {
    bits_ == 8 ? rows<8, 1>(x, i, ahead, y) : rows<4, 1>(x, i, ahead, y);
  };
  for_rows(begin, end, weight_, row_bytes_, after, several, one);
}

FloatBlocks::FloatBlocks(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, const float* scale)
    : weight_(weight),
      scale_(scale),
      block_(block),
      blocks_((inputs + block - 1) / block),
      row_bytes_(blocks_ * block) {
  this->inputs = inputs;
  this->outputs = outputs;
}

void FloatBlocks::round(const float* x, Rounded& rounded) const {
  float* values = rounded.values.of(row_bytes_);
  float* zeros = rounded.zeros.of(blocks_);
  std::memset(values, 0, row_bytes_ * sizeof *values);
  std::memcpy(values, x, inputs * sizeof *values);
  for (size_t b = 0; b < blocks_; ++b) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = b * block_; i < (b + 1) * block_; i += kLanes)
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(values + i));
    zeros[b] = -128.0f * _mm512_reduce_add_ps(sum);
  }
}

template <size_t kRows>
void FloatBlocks::rows(const Rounded& x, size_t first, const char* ahead, float* y) const {
  const uint8_t* weight = weight_ + first * row_bytes_;
  const float* scale = scale_ + first * blocks_;
  __m512 totals[kRows];
  for (size_t i = 0; i < kRows; ++i) totals[i] = _mm512_setzero_ps();
  for (size_t b = 0; b < blocks_; ++b) {
    __m512 sums[kRows];
    for (size_t i = 0; i < kRows; ++i) sums[i] = _mm512_setzero_ps();
    for (size_t k = b * block_; k < (b + 1) * block_; k += kLanes) {
      const __m512 values = _mm512_loadu_ps(x.values.data() + k);
      for (size_t i = 0; i < kRows; ++i) {
        if (k % 64 == 0) _mm_prefetch(ahead + i * row_bytes_ + k, _MM_HINT_T0);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weight + i * row_bytes_ + k));
        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), values, sums[i]);
      }
    }
    for (size_t i = 0; i < kRows; ++i)
      totals[i] = _mm512_fmadd_ps(sums[i], _mm512_set1_ps(scale[i * blocks_ + b]), totals[i]);
  }
  for (size_t i = 0; i < kRows; ++i) {
    float zero = 0;
    for (size_t b = 0; b < blocks_; ++b) zero += scale[i * blocks_ + b] * x.zeros.data()[b];
    y[first + i] = _mm512_reduce_add_ps(totals[i]) + zero;
  }
}

void FloatBlocks::multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const {
  const size_t begin = outputs * part / parts, end = outputs * (part + 1) / parts;
  const auto several = [&](size_t i, const char* ahead) { rows<kRowsAtOnce>(x, i, ahead, y); };
  const auto one = [&](size_t i, const char* ahead) { rows<1>(x, i, ahead, y); };
  for_rows(begin, end, weight_, row_bytes_, after, several, one);
}

}  // namespace rrwkv
