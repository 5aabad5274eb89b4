// What the module exports: a host puts weights into its memory, says what a graph's call says of them, and runs it. An
// error ends the module: see runtime.cc.
#include <cstdlib>

#include "wasm/session.h"

#define RRWKV_EXPORT(name) __attribute__((export_name(name)))

extern "C" {

// Memory for so many bytes, at a multiple of 64; null where there is none.
RRWKV_EXPORT("allocate") void* rrwkv_allocate(size_t bytes) {
  return bytes > SIZE_MAX - 128 ? nullptr : std::aligned_alloc(64, (bytes / 64 + 1) * 64 + 64);
}
RRWKV_EXPORT("release") void rrwkv_release(void* memory) { std::free(memory); }

RRWKV_EXPORT("call") rrwkv::HostCall* rrwkv_call() { return new rrwkv::HostCall(); }
RRWKV_EXPORT("attribute") void rrwkv_attribute(rrwkv::HostCall* call, const char* name, double value) {
  call->set(name, value);
}
RRWKV_EXPORT("input") void rrwkv_input(rrwkv::HostCall* call, const char* name) { call->name(name); }
// dims [rank]
RRWKV_EXPORT("constant")
void rrwkv_constant(rrwkv::HostCall* call, const char* name, int type, const double* dims, size_t rank,
                    const void* data, size_t bytes) {
  rrwkv::Shape shape;
  for (size_t i = 0; i < rank; ++i) shape.push_back(static_cast<int64_t>(dims[i]));
  call->set(name, type, shape, data, bytes);
}

// Of the operator and its call, which is released.
RRWKV_EXPORT("session") rrwkv::Session* rrwkv_session(const char* named, rrwkv::HostCall* call, size_t slots) {
  auto* made = new rrwkv::Session(named, *call, slots);
  delete call;
  return made;
}
RRWKV_EXPORT("release_session") void rrwkv_release_session(rrwkv::Session* session) { delete session; }

// Of a state: the number of its axes, whose sizes are written; 0 if there is none.
RRWKV_EXPORT("state_shape") size_t rrwkv_state_shape(const rrwkv::Session* session, size_t state, double* sizes) {
  const rrwkv::Shape& shape = session->shape(state);
  for (size_t i = 0; i < shape.size(); ++i) sizes[i] = static_cast<double>(shape[i]);
  return shape.size();
}
RRWKV_EXPORT("vocabulary") size_t rrwkv_vocabulary(const rrwkv::Session* session) { return session->vocabulary(); }
RRWKV_EXPORT("most_tokens") size_t rrwkv_most_tokens(const rrwkv::Session* session) { return session->most_tokens(); }

RRWKV_EXPORT("run") void rrwkv_run(const rrwkv::Session* session, const rrwkv::Run* run) { session->run(*run); }

RRWKV_EXPORT("kernels") const char* rrwkv_kernels() { return rrwkv::kernels_here().name; }

// Whether a b + c is rounded once: 1 + 2^-22 and a last bit, squared, less its rounding.
RRWKV_EXPORT("fused") bool rrwkv_fused() {
  volatile float given = 0x1.000002p0f;
  const float x[2] = {1, given}, rows[2] = {-(given * given), given};
  float y = 0;
  rrwkv::kernels_here().floats.sum_rows(x, rows, 2, 1, 1, &y);
  return y != 0;
}
}
