#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

// Sixteen channels of a token, and what becomes of them.
struct WkvLanes {
  __m512 k, v, A, B, p;           // p: pp
  __m512 numerator, denominator;  // of wkv
};

// wkv = (A + exp(u + k) ⊙ v) / (B + exp(u + k)); A <- exp(-d) ⊙ A + exp(k) ⊙ v, B <- exp(-d) ⊙ B + exp(k)
void plain(const Wkv& w, __m512 exp_u, __m512 exp_minus_d, WkvLanes& x) {
  __m512 b = _mm512_max_ps(exponential(x.k), _mm512_set1_ps(w.least_exp));
  b = _mm512_min_ps(b, _mm512_set1_ps(w.most_exp));
  const __m512 a = _mm512_mul_ps(b, x.v);
  x.numerator = _mm512_add_ps(x.A, _mm512_mul_ps(a, exp_u));
  x.denominator = _mm512_add_ps(x.B, _mm512_mul_ps(b, exp_u));
  x.A = _mm512_add_ps(_mm512_mul_ps(x.A, exp_minus_d), a);
  x.B = _mm512_add_ps(_mm512_mul_ps(x.B, exp_minus_d), b);
}

// The same with the larger exponent taken out of all: pp <- max(pp - d, k).
void stable(__m512 u, __m512 d, WkvLanes& x) {
  const __m512 next = _mm512_max_ps(_mm512_sub_ps(x.p, d), x.k);
  const __m512 kept = exponential(_mm512_sub_ps(_mm512_sub_ps(x.p, next), d));
  const __m512 added = exponential(_mm512_sub_ps(x.k, next));
  const __m512 with_bonus = _mm512_add_ps(x.k, u), larger = _mm512_max_ps(x.p, with_bonus);
  const __m512 held = exponential(_mm512_sub_ps(x.p, larger)), now = exponential(_mm512_sub_ps(with_bonus, larger));
  x.numerator = _mm512_add_ps(_mm512_mul_ps(x.A, held), _mm512_mul_ps(now, x.v));
  x.denominator = _mm512_add_ps(_mm512_mul_ps(x.B, held), now);
  x.A = _mm512_add_ps(_mm512_mul_ps(x.A, kept), _mm512_mul_ps(added, x.v));
  x.B = _mm512_add_ps(_mm512_mul_ps(x.B, kept), added);
  x.p = next;
}

}  // namespace

void wkv_row(const Wkv& w, const float* k, const float* v, const float* r, WkvState state, Span channels, float* gated,
             NewWkvState next) {
  const size_t C = w.channels;
  for (size_t c = channels.begin; c < channels.end; c += kLanes) {
    const __mmask16 mask = lanes(channels.end - c);
    const auto load = [mask, c](const float* from) { return _mm512_maskz_loadu_ps(mask, from + c); };
    const auto store = [mask, c](float* to, __m512 value) { _mm512_mask_storeu_ps(to + c, mask, value); };
    WkvLanes x{load(k), load(v), load(state.sums), load(state.sums + C), _mm512_setzero_ps(), {}, {}};
    if (w.stable) {
      x.p = load(state.exponent);
      stable(load(w.bonus), load(w.decay), x);
      store(next.exponent, x.p);
    } else {
      plain(w, load(w.bonus), load(w.decay), x);
    }
    store(gated, _mm512_mul_ps(sigmoid(load(r)), _mm512_div_ps(x.numerator, x.denominator)));
    store(next.sums, x.A);
    store(next.sums + C, x.B);
  }
}

}  // namespace rrwkv::avx512
