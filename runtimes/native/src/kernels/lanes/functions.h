// Functions of sixteen values, with the bits of onnxruntime's own kernels where these are fused too.
//
// Compile without contraction of products and sums (-ffp-contract=off): where one is fused, it is written so.
#pragma once

namespace rrwkv::lanes {

// exp(x): x = m log 2 + r, a polynomial of r times 2^m; the constants are those of MLAS (compute.cpp), which names
// njuffa's as their source.
template <class Floats>
Floats exponential(Floats x) {
  const Floats rounding = Floats::all(0x1.8p23f);
  x = max(Floats::all(-103.9720840454f), x);
  x = min(Floats::all(88.7762626647950f), x);
  const Floats m = fma(x, Floats::all(1.44269504088896341f), rounding) - rounding;
  x = fma(m, Floats::all(-6.93145752e-1f), x);
  x = fma(m, Floats::all(-1.42860677e-6f), x);
  Floats p = Floats::all(0x1.694000p-10f);
  for (const float c : {0x1.125edcp-7f, 0x1.555b5ap-5f, 0x1.555450p-3f, 0x1.fffff6p-2f, 1.0f, 1.0f})
    p = fma(p, x, Floats::all(c));
  return times_power_of_two(p, m);
}

// σ(x) = 1/2 + x P(x²) / Q(x²); the constants are those of MLAS (logistic.cpp), which names Eigen as their source.
template <class Floats>
Floats sigmoid(Floats x) {
  x = max(Floats::all(-18.0f), x);
  x = min(Floats::all(18.0f), x);
  const Floats square = x * x;
  Floats p = Floats::all(4.37031012579801e-11f), q = Floats::all(6.10247389755681e-13f);
  for (const float c : {1.15627324459942e-07f, 6.08574864600143e-05f, 8.51377133304701e-03f, 2.48287947061529e-01f})
    p = fma(p, square, Floats::all(c));
  for (const float c : {5.76102136993427e-09f, 6.29106785017040e-06f, 1.70198817374094e-03f, 1.16817656904453e-01f,
                        9.93151921023180e-01f})
    q = fma(q, square, Floats::all(c));
  const Floats y = p * x / q + Floats::all(0.5f);
  return min(max(y, Floats::all(0)), Floats::all(1.0f));
}

// tanh(x) = x P(x²) / Q(x²); the constants are those of MLAS (tanh.cpp), which names Eigen as their source.
template <class Floats>
Floats tangent(Floats x) {
  x = max(Floats::all(-9.0f), x);
  x = min(Floats::all(9.0f), x);
  const Floats square = x * x;
  Floats p = Floats::all(-2.76076847742355e-16f), q = Floats::all(1.19825839466702e-06f);
  for (const float c : {2.00018790482477e-13f, -8.60467152213735e-11f, 5.12229709037114e-08f, 1.48572235717979e-05f,
                        6.37261928875436e-04f, 4.89352455891786e-03f})
    p = fma(p, square, Floats::all(c));
  for (const float c : {1.18534705686654e-04f, 2.26843463243900e-03f, 4.89352518554385e-03f})
    q = fma(q, square, Floats::all(c));
  return p * x / q;
}

}  // namespace rrwkv::lanes
