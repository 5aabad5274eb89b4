#include "model/matrix/int8_per_channel.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "exec/streams.h"
#include "model/matrix/tiles.h"

namespace rrwkv {
namespace {

constexpr size_t kWide = 64;      // columns, and
constexpr size_t kDeep = 16;      // rows, of which each part but the last has a multiple
constexpr size_t kNarrow = 4096;  // outputs up to which the parts of a matrix are rows, however many they are
constexpr size_t kAdded = 32;     // the square of the parts of a wider one that are rows is below its inputs over this
constexpr size_t kGroup = 5 << 19;  // bytes of packed weights
constexpr size_t kStretch = 512;    // bytes of a column of a packed panel at a time
constexpr size_t kSegment = 4096;   // columns at a time of a wider one: their sums stay in the first cache

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
    kernels_.int8.column_sums(weight_, inputs, outputs, column_sums_.data());
  });
  return column_sums_.data();
}

void Int8PerChannel::quantize(const float* x, QuantizedActivations& to) const {
  column_sums();  // before threads ask for them
  const Range range = has_range_ ? range_ : range_of(kernels_.int8.ends(x, inputs));
  to.scale = range.scale;
  to.zero = range.zero;
  kernels_.int8.quantize(x, range.scale, range.zero, inputs, to.bytes.of(inputs));
}

// Rows are one stretch of memory, which is what is read the fastest; but every part has sums of all outputs, which are
// to be added: where these are too many, parts are columns.
bool Int8PerChannel::by_rows(size_t parts) const { return outputs <= kNarrow || kAdded * parts * parts <= inputs; }

size_t Int8PerChannel::parts(size_t threads) const { return by_rows(threads) ? threads : Matrix::parts(threads); }

Int8PerChannel::Block Int8PerChannel::block(size_t part, size_t parts) const {
  if (by_rows(parts)) {
    const Span rows = part_of(part, parts, inputs, kDeep);
    return {rows.begin, rows.end - rows.begin, 0, outputs};
  }
  const Span columns = part_of(part, parts, outputs, kWide);
  return {0, inputs, columns.begin, columns.end - columns.begin};
}

MemoryRange Int8PerChannel::start(size_t part, size_t parts) const {
  const Block b = block(part, parts);
  return streams_of(weight_ + b.row * outputs + b.column, b.rows, outputs);
}

void Int8PerChannel::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                              float* y) const {
  const Block all = block(part, parts);
  if (by_rows(parts))
    return kernels_.int8.accumulate(weight_ + all.row * outputs, outputs, all.rows, outputs, x.bytes.data() + all.row,
                                    after, x.sums.data() + part * outputs);
  alignas(64) int32_t sums[kSegment];
  for (size_t column = all.column, end = all.column + all.columns; column < end; column += kSegment) {
    const size_t count = std::min(kSegment, end - column);
    const bool last = column + kSegment >= end;
    kernels_.int8.accumulate(weight_ + column, outputs, inputs, count, x.bytes.data(),
                             last ? after : streams_of(weight_ + column + kSegment, inputs, outputs), sums);
    kernels_.int8.scale({x.scale, x.zero, column_sums() + column, scale_ + column}, sums, 0, outputs, count,
                        y + column);
  }
}

// y = (the sums of all parts - zero · the columns' sums) · scale
void Int8PerChannel::finish(const QuantizedActivations& x, size_t parts, float* y) const {
  if (by_rows(parts))
    kernels_.int8.scale({x.scale, x.zero, column_sums(), scale_}, x.sums.data(), parts - 1, outputs, outputs, y);
}

void Int8PerChannel::quantize_rows(const float* x, size_t rows, QuantizedActivations& to,
                                   const Threads& threads) const {
  if (rows == 1) return quantize(x, to);
  const size_t depth = padded(inputs, kDepth), parts = threads.count;
  Range range = range_;
  if (!has_range_) {
    std::vector<Ends> ends(parts);
    threads.share(parts, [&](size_t i) {
      const auto [begin, end] = part_of(i, parts, rows, 1);
      ends[i] = kernels_.int8.ends(x + begin * inputs, (end - begin) * inputs);
    });
    for (const Ends& e : ends) ends[0] = {std::min(ends[0].low, e.low), std::max(ends[0].high, e.high)};
    range = range_of(ends[0]);
  }
  to.scale = range.scale;
  to.zero = range.zero;
  const size_t row_bytes = depth * kernels_.int8.value_bytes;
  uint8_t* bytes = to.bytes.of(padded(rows, kBlock) * row_bytes);
  threads.share_spans(parts, rows, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      kernels_.int8.quantize_row(x + t * inputs, range.scale, range.zero, inputs, bytes + t * row_bytes);
  });
}

// In groups of columns whose packed weights stay in the second caches: all threads pack a group, each some of its rows,
// which follow each other in memory; then they take panels of it as they come.
void Int8PerChannel::multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const {
  const size_t depth = padded(inputs, kDepth), column_bytes = depth * kernels_.int8.value_bytes;
  const size_t most = std::max(kGroup / column_bytes / kPacked * kPacked, kPacked);
  const size_t parts = threads.count, width = std::min(most, padded(outputs, kPacked));
  if (rows == 1) {  // nothing to pack for
    const Product product{this, &x, y};
    return multiply_row(&product, 1, nullptr, threads);
  }
  uint8_t* packed = x.packed.of(width * column_bytes);
  int32_t* column_sums = x.sums.of(parts * width);
  for (size_t begin = 0; begin < outputs; begin += width) {
    const size_t end = std::min(begin + width, outputs);
    threads.share(parts, [&](size_t i) {
      kernels_.int8.pack(weight_ + begin, outputs, inputs, part_of(i, parts, depth, 4), end - begin, packed,
                         column_sums + i * width);
    });
    for (size_t i = 1; i < parts; ++i)
      for (size_t n = 0; n < end - begin; ++n) column_sums[n] += column_sums[i * width + n];
    multiply_group(x, rows, {begin, end}, threads, y);
  }
}

void Int8PerChannel::multiply_group(QuantizedActivations& x, size_t rows, Span columns, const Threads& threads,
                                    float* y) const {
  const size_t depth = padded(inputs, kDepth), row_bytes = depth * kernels_.int8.value_bytes;
  const size_t stretch = kStretch / kernels_.int8.value_bytes;
  std::atomic<size_t> taken{columns.begin};
  threads.share(threads.count, [&](size_t) {
    static thread_local Scratch<int32_t> of_thread;
    const Tiles tiles(kernels_.tiles);
    int32_t* sums = of_thread.of(padded(rows, kBlock) * kPanel);
    for (size_t n = taken.fetch_add(kPanel); n < columns.end; n = taken.fetch_add(kPanel)) {
      const uint8_t* panel = x.packed.data() + (n - columns.begin) * row_bytes;
      for (size_t from = 0; from < depth; from += stretch)  // a part that stays in the first cache, with all rows
        for (size_t t = 0; t < rows; t += kBlock)
          tiles->multiply({x.bytes.data() + t * row_bytes, panel, std::min(kBlock, rows - t), depth, from,
                           std::min(from + stretch, depth)},
                          sums + t * kPanel);
      const Int8Scaling by{x.scale, x.zero, x.sums.data() + n - columns.begin, scale_ + n};
      kernels_.int8.scale_panel(by, sums, {y + n, rows, std::min(kPanel, columns.end - n), outputs});
    }
  });
}

}  // namespace rrwkv
