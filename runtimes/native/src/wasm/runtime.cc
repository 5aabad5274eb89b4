// What C++ asks of its runtime where there is none. An error ends the module: it keeps what the error says for its host
// to read, and traps; no memory of it is used again.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <typeinfo>

#include "wasm/waiting.h"

namespace {

char message[512];
std::atomic_flag failed = ATOMIC_FLAG_INIT;

// Of several threads that fail, the first one has its say.
[[noreturn]] void fail(const char* what) {
  if (!failed.test_and_set()) std::strncpy(message, what, sizeof message - 1);
  __builtin_trap();
}

// The C library's allocator, which knows no threads, is one thread's at a time. It is held for moments: for longer only
// if the thread that has it was ended.
class Allocator {
 public:
  Allocator() {
    constexpr int kPatience = 10000;
    for (int waits = 0; taken_.exchange(1); ++waits) {
      for (rrwkv::ShortWait wait; taken_.load() && wait.goes_on();) continue;
      if (waits == kPatience) fail("a thread ended while it allocated memory");
      if (waits) rrwkv::sleep(taken_, 1, rrwkv::kMillisecond);
    }
  }
  ~Allocator() { taken_.store(0); }
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  void* plain(size_t size) { return std::malloc(size); }
  void* aligned(size_t align, size_t size) { return std::aligned_alloc(align, (size + align - 1) / align * align); }
  void free(void* memory) { std::free(memory); }

 private:
  static inline std::atomic<uint32_t> taken_{0};
};

void* expected(void* memory) {
  if (!memory) fail("the module's memory is full");
  return memory;
}

}  // namespace

extern "C" {

// Of the error that ended the module; empty if none did.
__attribute__((export_name("error"))) const char* rrwkv_error() { return message; }

// Memory for so many bytes, at a multiple of 64; null where there is none.
__attribute__((export_name("allocate"))) void* rrwkv_allocate(size_t bytes) {
  return bytes > SIZE_MAX - 128 ? nullptr : Allocator().aligned(64, bytes + 64);
}
__attribute__((export_name("release"))) void rrwkv_release(void* memory) { Allocator().free(memory); }

void* __cxa_allocate_exception(size_t size) { return Allocator().plain(size); }

[[noreturn]] void __cxa_throw(void* thrown, std::type_info* type, void (*)(void*)) {
  if (*type == typeid(std::runtime_error)) fail(static_cast<std::runtime_error*>(thrown)->what());
  fail(type->name());
}

// What belongs to a thread stays until the module goes.
int __cxa_thread_atexit(void (*)(void*), void*, void*) { return 0; }
}

void* operator new(size_t size) { return expected(Allocator().plain(size)); }
void* operator new(size_t size, std::align_val_t alignment) {
  return expected(Allocator().aligned(static_cast<size_t>(alignment), size));
}
void operator delete(void* memory) noexcept { Allocator().free(memory); }
void operator delete(void* memory, size_t) noexcept { Allocator().free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Allocator().free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { Allocator().free(memory); }
