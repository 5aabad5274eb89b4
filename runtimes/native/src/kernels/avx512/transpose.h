// Rows of bytes that become columns.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace rrwkv {

// 16 rows of 16 groups become 16 groups of 16 rows: w[j] holds in lane i the j-th four bytes of row i.
inline void transpose(__m512i w[16]) {
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

constexpr size_t kUnit = 64;  // bytes of a row that are turned at once: 16 groups of four

// Of 16 rows from the first on (where there are fewer, the last one again) the bytes `from` .. `from` + 64, and no more
// than there are, as groups.
inline void load_turned(const uint8_t* rows, size_t row_bytes, size_t count, size_t first, size_t from,
                        __m512i groups[16]) {
  const size_t left = row_bytes - from;
  const __mmask64 mask = left >= kUnit ? ~0ull : (1ull << left) - 1;
  for (size_t i = 0; i < 16; ++i)
    groups[i] = _mm512_maskz_loadu_epi8(mask, rows + std::min(first + i, count - 1) * row_bytes + from);
  transpose(groups);
}

}  // namespace rrwkv
