#include "kernels/avx512/int8_per_channel.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/avx512/interleave.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kWide = 64;        // columns at a time: four vectors of sums
constexpr size_t kDeep = 16;        // rows at a time while the sums stay in registers, and rows fetched ahead
constexpr size_t kNarrow = 4096;    // outputs up to which the parts of a matrix are rows, each one stretch of memory
constexpr size_t kGroup = 5 << 19;  // bytes of packed weights
constexpr size_t kStretch = 512;    // rows of a packed panel at a time
constexpr size_t kSegment = 8192;   // columns at a time of a wider one: their sums stay in the first cache

// Four rows of 64 columns times four activations; see `interleave` for the order of the sums.
inline void add_four_rows(const int8_t* w, size_t stride, __m512i x, __m512i sums[4]) {
  const __m512i rows[4] = {_mm512_loadu_si512(w), _mm512_loadu_si512(w + stride), _mm512_loadu_si512(w + 2 * stride),
                           _mm512_loadu_si512(w + 3 * stride)};
  __m512i four[4];
  interleave(rows, four);
  for (size_t i = 0; i < 4; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], x, four[i]);
}

const char* begin_of(const int8_t* weights) { return reinterpret_cast<const char*>(weights); }

struct Ends {
  float low = 0, high = 0;
};

// The least and the largest of some values and 0.
Ends ends_of(const float* x, size_t n) {
  __m512 lowest = _mm512_setzero_ps(), highest = _mm512_setzero_ps();
  for (size_t i = 0; i < n; i += kLanes) {
    const __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
    lowest = _mm512_min_ps(lowest, v);
    highest = _mm512_max_ps(highest, v);
  }
  return {_mm512_reduce_min_ps(lowest), _mm512_reduce_max_ps(highest)};
}

// DynamicQuantizeLinear's scale and zero point; of values that are no numbers any zero point will do.
Int8PerChannel::Range range_of(Ends ends) {
  const auto [low, high] = ends;
  const float scale = high == low ? 1.0f : (high - low) / 255.0f;
  const float zero = std::nearbyint(std::clamp(-low / scale, 0.0f, 255.0f));
  return {scale, zero > 0 ? static_cast<int>(zero) : 0};
}

}  // namespace

// Only one row needs them: with many, they are summed when the weights are packed.
const int32_t* Int8PerChannel::column_sums() const {
  std::call_once(summed_, [this] {
    column_sums_.resize(outputs);
    for (size_t k = 0; k < inputs; ++k)
      for (size_t n = 0; n < outputs; ++n) column_sums_[n] += weight_[k * outputs + n];
  });
  return column_sums_.data();
}

void Int8PerChannel::quantize(const float* x, QuantizedActivations& quantized) const {
  const Range range = has_range_ ? range_ : range_of(ends_of(x, inputs));
  quantized.scale = range.scale;
  quantized.zero = range.zero;
  quantize_uint8(x, range.scale, range.zero, inputs, quantized.bytes.of(inputs));
}

Int8PerChannel::Block Int8PerChannel::block(size_t part, size_t parts) const {
  if (outputs <= kNarrow) {
    const Span rows = part_of(part, parts, inputs, kDeep);
    return {rows.begin, rows.end - rows.begin, 0, outputs};
  }
  const Span columns = part_of(part, parts, outputs, kWide);
  return {0, inputs, columns.begin, columns.end - columns.begin};
}

// Of one stretch of memory, or of the columns that come first.
MemoryRange Int8PerChannel::start(size_t part, size_t parts) const {
  const Block b = block(part, parts);
  const char* begin = begin_of(weight_ + b.row * outputs + b.column);
  if (b.columns == outputs) return {begin, b.rows * outputs};
  return {begin, std::min(b.columns, kSegment), b.rows, outputs};
}

void Int8PerChannel::accumulate(const uint8_t* x, const Block& b, const char* after, int32_t* sums) const {
  const int8_t* weight = weight_ + b.row * outputs + b.column;
  const size_t wide_end = b.columns / kWide * kWide, deep_end = b.rows / 4 * 4;
  std::memset(sums, 0, b.columns * sizeof *sums);
  for (size_t k = 0; k < deep_end; k += kDeep) {
    const size_t stop = std::min(k + kDeep, deep_end);
    // At the end, not the rows behind it, which are another's, but what comes next; rows follow each other in memory.
    const char* ahead = after && k + kDeep >= deep_end ? after : begin_of(weight + (k + kDeep) * outputs);
    for (size_t n = 0; n < wide_end; n += kWide) {
      __m512i s[4];
      for (size_t i = 0; i < 4; ++i) s[i] = _mm512_loadu_si512(sums + n + 16 * i);
      for (size_t r = k; r < stop; r += 4) {
        for (size_t i = r; i < r + 4; ++i) _mm_prefetch(ahead + (i - k) * outputs + n, _MM_HINT_T0);
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
void Int8PerChannel::scale(const QuantizedActivations& x, const int32_t* sums, size_t others, size_t begin, size_t end,
                           float* y) const {
  const __m512 x_scale = _mm512_set1_ps(x.scale);
  const __m512i zero = _mm512_set1_epi32(x.zero);
  const int32_t* column_sums = this->column_sums();
  for (size_t n = begin; n < end; n += kLanes) {
    const __mmask16 mask = lanes(end - n);
    __m512i sum = _mm512_maskz_loadu_epi32(mask, sums + n - begin);
    for (size_t i = 1; i <= others; ++i)
      sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, sums + i * outputs + n - begin));
    sum = _mm512_sub_epi32(sum, _mm512_mullo_epi32(zero, _mm512_maskz_loadu_epi32(mask, column_sums + n)));
    const __m512 scale = _mm512_mul_ps(x_scale, _mm512_maskz_loadu_ps(mask, scale_ + n));
    _mm512_mask_storeu_ps(y + n, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
  }
}

void Int8PerChannel::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                              float* y) const {
  const Block all = block(part, parts);
  if (outputs <= kNarrow) return accumulate(x.bytes.data() + all.row, all, after.begin, x.sums.data() + part * outputs);
  alignas(64) int32_t sums[kSegment];
  for (size_t column = all.column, end = all.column + all.columns; column < end; column += kSegment) {
    const Block segment{0, inputs, column, std::min(kSegment, end - column)};
    const bool last = column + kSegment >= end;
    accumulate(x.bytes.data(), segment, last ? after.begin : begin_of(weight_ + column + kSegment), sums);
    scale(x, sums, 0, column, column + segment.columns, y);
  }
}

void Int8PerChannel::finish(const QuantizedActivations& x, size_t parts, float* y) const {
  if (outputs <= kNarrow) scale(x, x.sums.data(), parts - 1, 0, outputs, y);
}

void Int8PerChannel::quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                                   const Threads& threads) const {
  const size_t depth = padded(inputs, kDepth), parts = threads.count;
  Range range = range_;
  if (!has_range_) {
    std::vector<Ends> ends(parts);
    threads.share(parts, [&](size_t i) {
      const auto [begin, end] = part_of(i, parts, rows, 1);
      ends[i] = ends_of(x + begin * inputs, (end - begin) * inputs);
    });
    for (const Ends& e : ends) ends[0] = {std::min(ends[0].low, e.low), std::max(ends[0].high, e.high)};
    range = range_of(ends[0]);
  }
  quantized.scale = range.scale;
  quantized.zero = range.zero;
  uint8_t* bytes = quantized.bytes.of(padded(rows, kBlock) * depth);
  threads.share_spans(parts, rows, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      quantize_uint8(x + t * inputs, range.scale, range.zero, inputs, bytes + t * depth);
  });
}

// In groups of columns whose packed weights stay in the second caches: all threads pack a group, each some of its rows,
// which follow each other in memory; then they take panels of it as they come.
void Int8PerChannel::multiply_rows(QuantizedActivations& x, size_t rows, bool amx, const Threads& threads,
                                   float* y) const {
  const size_t depth = padded(inputs, kDepth), most = std::max(kGroup / depth / kPacked * kPacked, kPacked);
  const size_t parts = threads.count, width = std::min(most, padded(outputs, kPacked));
  if (rows == 1) {  // nothing to pack for
    const Product product{this, &x, y};
    return rrwkv::multiply(&product, 1, nullptr, threads);
  }
  int8_t* packed = x.packed.of(width * depth);
  int32_t* column_sums = x.sums.of(parts * width);
  for (size_t begin = 0; begin < outputs; begin += width) {
    const size_t end = std::min(begin + width, outputs);
    threads.share(parts, [&](size_t i) {
      pack(weight_ + begin, outputs, inputs, part_of(i, parts, depth, 4), end - begin, packed, column_sums + i * width);
    });
    for (size_t i = 1; i < parts; ++i)
      for (size_t n = 0; n < end - begin; ++n) column_sums[n] += column_sums[i * width + n];
    std::atomic<size_t> taken{begin};
    threads.share(parts, [&](size_t) {
      static thread_local Scratch<int32_t> of_thread;
      const Tiles tiles(amx);
      int32_t* sums = of_thread.of(padded(rows, kBlock) * kPanel);
      for (size_t n = taken.fetch_add(kPanel); n < end; n = taken.fetch_add(kPanel)) {
        const int8_t* panel = packed + (n - begin) * depth;
        for (size_t from = 0; from < depth; from += kStretch)  // a part that stays in the first cache, with all rows
          for (size_t t = 0; t < rows; t += kBlock)
            tiles.multiply({x.bytes.data() + t * depth, panel, std::min(kBlock, rows - t), depth, from,
                            std::min(from + kStretch, depth)},
                           sums + t * kPanel);
        scale_rows(x, sums, column_sums + n - begin, rows, n, std::min(n + kPanel, end), y);
      }
    });
  }
}

// y [rows, outputs] = (sums [rows, 32] - zero · the columns' sums) · scale, of the columns begin .. end.
void Int8PerChannel::scale_rows(const QuantizedActivations& x, const int32_t* sums, const int32_t* column_sums,
                                size_t rows, size_t begin, size_t end, float* y) const {
  for (size_t n = begin; n < end; n += kLanes) {
    const __mmask16 mask = lanes(end - n);
    const __m512i zeros = _mm512_mullo_epi32(_mm512_set1_epi32(x.zero), _mm512_loadu_si512(column_sums + n - begin));
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(x.scale), _mm512_maskz_loadu_ps(mask, scale_ + n));
    for (size_t i = 0; i < rows; ++i) {
      const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(sums + i * kPanel + n - begin), zeros);
      _mm512_mask_storeu_ps(y + i * outputs + n, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
    }
  }
}

}  // namespace rrwkv
