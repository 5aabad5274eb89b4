// The AVX-512 instructions that the kernels are made of, in C++ for any x86-64 with AVX2: slow, of the same bits, and
// with every lane's access to memory in plain sight of the address sanitizer. For tests. Within namespace rrwkv these
// names are found before the compiler's own.
#pragma once

#include_next <immintrin.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Without optimization the compiler's are macros.
#undef _mm512_inserti64x4
#undef _mm512_mask_i32gather_ps
#undef _mm512_shuffle_i32x4
#undef _mm512_srli_epi16
#undef _mm512_srli_epi32

namespace rrwkv {
namespace emulated {

template <typename T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(64)));
};
template <typename T>
using Of = typename Lanes<T>::Vector;
using Integers = Of<uint32_t>;
using Eights = Of<int64_t>;

template <typename To, typename From>
inline To as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename Vector>
inline Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// The i-th part of a vector, and a vector of two halves.
template <typename Part>
inline Part part_of(const __m512i& v, size_t i) {
  return load<Part>(reinterpret_cast<const char*>(&v) + i * sizeof(Part));
}
template <typename Half>
inline __m512i joined(const Half& low, const Half& high) {
  __m512i v;
  std::memcpy(&v, &low, sizeof low);
  std::memcpy(reinterpret_cast<char*>(&v) + sizeof low, &high, sizeof high);
  return v;
}

// The vector whose i-th lane is lane(i).
template <typename Vector, typename Lane>
inline Vector made(const Lane& lane) {
  Vector v{};
  for (size_t i = 0; i < sizeof v / sizeof v[0]; ++i) v[i] = lane(i);
  return v;
}

// Only lanes of the mask are read; the others are 0.
template <typename T>
inline Of<T> load_some(uint64_t mask, const void* from) {
  const auto* lanes = static_cast<const T*>(from);
  return made<Of<T>>([&](size_t i) { return mask >> i & 1 ? load<T>(lanes + i) : T{}; });
}

// Of each 128 bits the lower or the upper lanes, one's and the other's in turn.
template <typename T>
inline __m512i unpacked(__m512i a, __m512i b, bool upper) {
  const auto x = as<Of<T>>(a), y = as<Of<T>>(b);
  constexpr size_t kEach = 16 / sizeof(T);
  return as<__m512i>(made<Of<T>>([&](size_t i) {
    const size_t from = i / kEach * kEach + (upper ? kEach / 2 : 0) + i % kEach / 2;
    return i % 2 ? y[from] : x[from];
  }));
}

// Halves onto each other, until one lane is left: the compiler's order.
template <typename Vector, typename Two>
inline auto reduced(Vector v, const Two& two) {
  for (size_t n = sizeof v / sizeof v[0] / 2; n > 0; n /= 2)
    for (size_t i = 0; i < n; ++i) v[i] = two(v[i], v[i + n]);
  return v[0];
}

}  // namespace emulated

inline __m512i _mm512_setzero_si512() { return __m512i{}; }
inline __m512 _mm512_setzero_ps() { return __m512{}; }
inline __m512d _mm512_setzero_pd() { return __m512d{}; }
inline __m512 _mm512_set1_ps(float x) { return x - __m512{}; }
inline __m512i _mm512_set1_epi32(int x) {
  return emulated::as<__m512i>(emulated::made<emulated::Integers>([x](size_t) { return static_cast<uint32_t>(x); }));
}
inline __m512i _mm512_set1_epi8(char x) {
  return emulated::as<__m512i>(emulated::made<emulated::Of<char>>([x](size_t) { return x; }));
}
template <typename... Last>
inline __m512i _mm512_set_epi32(Last... last_first) {
  const std::array<int, 16> given{last_first...};
  return emulated::as<__m512i>(emulated::made<emulated::Of<int>>([&](size_t i) { return given[15 - i]; }));
}

inline __m512 _mm512_load_ps(const void* from) { return emulated::load<__m512>(from); }
inline __m512 _mm512_loadu_ps(const void* from) { return emulated::load<__m512>(from); }
inline __m512i _mm512_load_si512(const void* from) { return emulated::load<__m512i>(from); }
inline __m512i _mm512_loadu_si512(const void* from) { return emulated::load<__m512i>(from); }
inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* from) { return emulated::load_some<float>(mask, from); }
inline __m512i _mm512_maskz_loadu_epi32(__mmask16 mask, const void* from) {
  return emulated::as<__m512i>(emulated::load_some<int32_t>(mask, from));
}
inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* from) {
  return emulated::as<__m512i>(emulated::load_some<int8_t>(mask, from));
}
inline __m256i _mm256_maskz_loadu_epi16(__mmask16 mask, const void* from) {
  return emulated::part_of<__m256i>(emulated::as<__m512i>(emulated::load_some<int16_t>(mask, from)), 0);
}
inline __m512 _mm512_mask_i32gather_ps(__m512 otherwise, __mmask16 mask, __m512i places, const float* from, int) {
  const auto at = emulated::as<emulated::Of<int32_t>>(places);
  return emulated::made<__m512>([&](size_t i) { return mask >> i & 1 ? from[at[i]] : otherwise[i]; });
}

inline void _mm512_storeu_ps(void* to, __m512 v) { std::memcpy(to, &v, sizeof v); }
inline void _mm512_storeu_si512(void* to, __m512i v) { std::memcpy(to, &v, sizeof v); }
inline void _mm512_mask_storeu_ps(void* to, __mmask16 mask, __m512 v) {
  for (size_t i = 0; i < 16; ++i)
    if (mask >> i & 1) static_cast<float*>(to)[i] = v[i];
}
inline void _mm512_mask_cvtepi32_storeu_epi8(void* to, __mmask16 mask, __m512i v) {
  const auto lanes = emulated::as<emulated::Integers>(v);
  for (size_t i = 0; i < 16; ++i)
    if (mask >> i & 1) static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(lanes[i]);
}

inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return a + b; }
inline __m512 _mm512_sub_ps(__m512 a, __m512 b) { return a - b; }
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return a * b; }
inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return a / b; }
inline __m512d _mm512_add_pd(__m512d a, __m512d b) { return a + b; }
inline __m512 _mm512_max_ps(__m512 a, __m512 b) { return a > b ? a : b; }
inline __m512 _mm512_min_ps(__m512 a, __m512 b) { return a < b ? a : b; }
inline __m512 _mm512_abs_ps(__m512 v) {
  return emulated::made<__m512>([&](size_t i) { return std::fabs(v[i]); });
}
inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return emulated::made<__m512>([&](size_t i) { return __builtin_fmaf(a[i], b[i], c[i]); });
}
// v times 2 to the power of floor(exponent).
inline __m512 _mm512_scalef_ps(__m512 v, __m512 exponent) {
  return emulated::made<__m512>([&](size_t i) {
    if (std::isnan(exponent[i])) return exponent[i];
    return std::ldexp(v[i], static_cast<int>(std::floor(std::fmax(-1000.0f, std::fmin(exponent[i], 1000.0f)))));
  });
}
inline float _mm512_reduce_add_ps(__m512 v) {
  return emulated::reduced(v, [](float a, float b) { return a + b; });
}
inline double _mm512_reduce_add_pd(__m512d v) {
  return emulated::reduced(v, [](double a, double b) { return a + b; });
}
inline float _mm512_reduce_max_ps(__m512 v) {
  return emulated::reduced(v, [](float a, float b) { return a > b ? a : b; });
}
inline float _mm512_reduce_min_ps(__m512 v) {
  return emulated::reduced(v, [](float a, float b) { return a < b ? a : b; });
}
inline int _mm512_reduce_add_epi32(__m512i v) {
  const auto sum = [](uint32_t a, uint32_t b) { return a + b; };
  return static_cast<int>(emulated::reduced(emulated::as<emulated::Integers>(v), sum));
}

inline __m512 _mm512_cvtepi32_ps(__m512i v) {
  return __builtin_convertvector(emulated::as<emulated::Of<int32_t>>(v), __m512);
}
inline __m512i _mm512_cvtps_epi32(__m512 v) {
  const auto half = [&](size_t i) { return emulated::part_of<__m256>(emulated::as<__m512i>(v), i); };
  return emulated::joined(_mm256_cvtps_epi32(half(0)), _mm256_cvtps_epi32(half(1)));
}
inline __m512 _mm512_cvtph_ps(__m256i v) {
  const auto half = [&](size_t i) { return emulated::load<__m128i>(reinterpret_cast<const char*>(&v) + 16 * i); };
  return emulated::as<__m512>(emulated::joined(_mm256_cvtph_ps(half(0)), _mm256_cvtph_ps(half(1))));
}
inline __m512d _mm512_cvtps_pd(__m256 v) { return __builtin_convertvector(v, __m512d); }
inline __m512i _mm512_cvtepu8_epi32(__m128i v) {
  const auto bytes = emulated::as<std::array<uint8_t, 16>>(v);
  return emulated::as<__m512i>(emulated::made<emulated::Integers>([&](size_t i) { return uint32_t{bytes[i]}; }));
}
inline __m256i _mm512_cvtepi16_epi8(__m512i v) {
  const auto lanes = emulated::as<emulated::Of<uint16_t>>(v);
  std::array<uint8_t, 32> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(lanes[i]);
  return emulated::as<__m256i>(bytes);
}

inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  return emulated::as<__m512i>(emulated::as<emulated::Integers>(a) + emulated::as<emulated::Integers>(b));
}
inline __m512i _mm512_sub_epi32(__m512i a, __m512i b) {
  return emulated::as<__m512i>(emulated::as<emulated::Integers>(a) - emulated::as<emulated::Integers>(b));
}
inline __m512i _mm512_mullo_epi32(__m512i a, __m512i b) {
  return emulated::as<__m512i>(emulated::as<emulated::Integers>(a) * emulated::as<emulated::Integers>(b));
}
inline __m512i _mm512_srli_epi32(__m512i v, unsigned by) {
  return emulated::as<__m512i>(emulated::as<emulated::Integers>(v) >> by);
}
inline __m512i _mm512_srlv_epi32(__m512i v, __m512i by) {
  return emulated::as<__m512i>(emulated::as<emulated::Integers>(v) >> emulated::as<emulated::Integers>(by));
}
inline __m512i _mm512_srli_epi16(__m512i v, unsigned by) {
  const auto lanes = emulated::as<emulated::Of<uint16_t>>(v);
  const auto shifted = [&](size_t i) { return static_cast<uint16_t>(lanes[i] >> by); };
  return emulated::as<__m512i>(emulated::made<emulated::Of<uint16_t>>(shifted));
}
// Of each lane's four bytes, the first's without a sign, the products are added to its sum.
inline __m512i _mm512_dpbusd_epi32(__m512i sums, __m512i a, __m512i b) {
  const auto x = emulated::as<emulated::Of<uint8_t>>(a);
  const auto y = emulated::as<emulated::Of<int8_t>>(b);
  const auto before = emulated::as<emulated::Integers>(sums);
  return emulated::as<__m512i>(emulated::made<emulated::Integers>([&](size_t i) {
    int dot = 0;
    for (size_t j = 4 * i; j < 4 * i + 4; ++j) dot += x[j] * y[j];
    return before[i] + static_cast<uint32_t>(dot);
  }));
}

inline __m512i _mm512_castsi256_si512(__m256i v) { return emulated::joined(v, __m256i{}); }
inline __m512i _mm512_inserti64x4(__m512i to, __m256i v, int half) {
  return half ? emulated::joined(emulated::part_of<__m256i>(to, 0), v)
              : emulated::joined(v, emulated::part_of<__m256i>(to, 1));
}
inline __m512i _mm512_unpacklo_epi8(__m512i a, __m512i b) { return emulated::unpacked<uint8_t>(a, b, false); }
inline __m512i _mm512_unpackhi_epi8(__m512i a, __m512i b) { return emulated::unpacked<uint8_t>(a, b, true); }
inline __m512i _mm512_unpacklo_epi16(__m512i a, __m512i b) { return emulated::unpacked<uint16_t>(a, b, false); }
inline __m512i _mm512_unpackhi_epi16(__m512i a, __m512i b) { return emulated::unpacked<uint16_t>(a, b, true); }
inline __m512i _mm512_unpacklo_epi32(__m512i a, __m512i b) { return emulated::unpacked<uint32_t>(a, b, false); }
inline __m512i _mm512_unpackhi_epi32(__m512i a, __m512i b) { return emulated::unpacked<uint32_t>(a, b, true); }
inline __m512i _mm512_unpacklo_epi64(__m512i a, __m512i b) { return emulated::unpacked<uint64_t>(a, b, false); }
inline __m512i _mm512_unpackhi_epi64(__m512i a, __m512i b) { return emulated::unpacked<uint64_t>(a, b, true); }
// Quarters by two bits each: two of the first, two of the second.
inline __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, int which) {
  const auto x = emulated::as<emulated::Eights>(a), y = emulated::as<emulated::Eights>(b);
  return emulated::as<__m512i>(emulated::made<emulated::Eights>([&](size_t i) {
    const size_t from = static_cast<size_t>(which >> i / 2 * 2 & 3) * 2 + i % 2;
    return i < 4 ? x[from] : y[from];
  }));
}
inline __m512i _mm512_permutex2var_epi64(__m512i a, __m512i places, __m512i b) {
  const auto x = emulated::as<emulated::Eights>(a), at = emulated::as<emulated::Eights>(places);
  const auto y = emulated::as<emulated::Eights>(b);
  const auto lane = [&](size_t i) {
    return at[i] & 8 ? y[static_cast<size_t>(at[i] & 7)] : x[static_cast<size_t>(at[i] & 7)];
  };
  return emulated::as<__m512i>(emulated::made<emulated::Eights>(lane));
}
inline __m512 _mm512_permutexvar_ps(__m512i places, __m512 v) {
  const auto at = emulated::as<emulated::Integers>(places);
  return emulated::made<__m512>([&](size_t i) { return v[at[i] & 15]; });
}

}  // namespace rrwkv
