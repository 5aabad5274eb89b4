// Reads memory and does nothing with it: the roof that `rrwkv bench` holds products with one row against.
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef _WIN32
#define RRWKV_EXPORT extern "C" __declspec(dllexport)
#else
#define RRWKV_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

using Words = uint64_t __attribute__((vector_size(16)));  // a register of any x86-64 and Arm64

constexpr size_t kLine = 64;

// One register at a time: what waits is memory, and as many reads as it takes are on their way.
inline void take_line(const char* from, Words (&bits)[4]) {
  for (size_t word = 0; word < 4; ++word) {
    Words read;
    std::memcpy(&read, from + word * sizeof(Words), sizeof(Words));
    bits[word] |= read;
  }
}

// Streams side by side, a line of each in turn; the processor fetches ahead in every one.
template <size_t kStreams>
uint64_t read_streams(const char* memory, size_t bytes) {
  const size_t part = bytes / kStreams / kLine * kLine;
  Words bits[4] = {};
  for (size_t at = 0; at < part; at += kLine) {
    for (size_t stream = 0; stream < kStreams; ++stream) take_line(memory + stream * part + at, bits);
  }
  const Words all = (bits[0] | bits[1]) | (bits[2] | bits[3]);
  return all[0] | all[1];
}

}  // namespace

// Of every byte of `memory`, the bits that any has, by 1, 2, 4 or 8 streams (else nothing is read); `bytes` is a
// multiple of 64 times as many.
RRWKV_EXPORT uint64_t rrwkv_native_read(const char* memory, size_t bytes, int streams) {
  switch (streams) {
    case 1:
      return read_streams<1>(memory, bytes);
    case 2:
      return read_streams<2>(memory, bytes);
    case 4:
      return read_streams<4>(memory, bytes);
    case 8:
      return read_streams<8>(memory, bytes);
    default:
      return 0;
  }
}
