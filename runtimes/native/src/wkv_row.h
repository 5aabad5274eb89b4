// One token of `Wkv`, for some channels.
#pragma once

#include "vectors.h"
#include "wkv.h"

namespace rrwkv {

// gated = σ(r) ⊙ (A + exp(u + k) ⊙ v) / (B + exp(u + k)); A <- exp(-d) ⊙ A + exp(k) ⊙ v, B <- exp(-d) ⊙ B + exp(k).
// k, v, r, gated [C]; state and next, A and B, [2, C]. All may be written over what they come from.
inline void run_row(const Wkv& w, const float* k, const float* v, const float* r, const float* state, size_t begin,
                    size_t end, float* gated, float* next) {
  const size_t C = w.channels;
  const __m512 least = _mm512_set1_ps(w.least_exp), most = _mm512_set1_ps(w.most_exp);
  for (size_t c = begin; c < end; c += kLanes) {
    const __mmask16 mask = lanes(end - c);
    const auto load = [mask, c](const float* p) { return _mm512_maskz_loadu_ps(mask, p + c); };
    const auto store = [mask, c](float* p, __m512 value) { _mm512_mask_storeu_ps(p + c, mask, value); };
    const __m512 A = load(state), B = load(state + C), bonus = load(w.exp_u), decay = load(w.exp_minus_d);
    const __m512 b = _mm512_min_ps(_mm512_max_ps(exponential(load(k)), least), most);
    const __m512 a = _mm512_mul_ps(b, load(v));
    const __m512 numerator = _mm512_add_ps(A, _mm512_mul_ps(a, bonus));
    const __m512 denominator = _mm512_add_ps(B, _mm512_mul_ps(b, bonus));
    store(gated, _mm512_mul_ps(sigmoid(load(r)), _mm512_div_ps(numerator, denominator)));
    store(next, _mm512_add_ps(_mm512_mul_ps(A, decay), a));
    store(next + C, _mm512_add_ps(_mm512_mul_ps(B, decay), b));
  }
}

}  // namespace rrwkv
