// What the module exports: a host puts weights into its memory, says what a graph's call says of them, and runs it. An
// error ends the module: see runtime.cc.
#include "wasm/session.h"
#include "wasm/team.h"

#define RRWKV_EXPORT(name) __attribute__((export_name(name)))

namespace {

rrwkv::Team alone(1);
rrwkv::Team* team = &alone;

}  // namespace

extern "C" {

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

// helped: by the threads of the team; else this one does it all. The bits are the same.
RRWKV_EXPORT("run") void rrwkv_run(const rrwkv::Session* session, const rrwkv::Run* run, bool helped) {
  team->lead(helped, [&] { session->run(*run, *team); });
}

// From now on runs are shared by so many threads: the one that calls, and as many others as come to help.
RRWKV_EXPORT("team") void rrwkv_team(size_t threads) { team = new rrwkv::Team(threads); }
// A thread's life, in an instance of its own: it helps until the end that another one says.
RRWKV_EXPORT("help") void rrwkv_help() { team->help(); }
RRWKV_EXPORT("end") void rrwkv_end() { team->end(); }
// Of what an error ends while it helps: runs fail.
RRWKV_EXPORT("fail") void rrwkv_fail() { team->fail(); }

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
