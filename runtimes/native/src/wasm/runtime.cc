// What C++ asks of its runtime where there is none. An error ends the module: it keeps what the error says for its host
// to read, and traps; no memory of it is used again.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <typeinfo>

namespace {

char message[512];

[[noreturn]] void fail(const char* what) {
  std::strncpy(message, what, sizeof message - 1);
  __builtin_trap();
}

}  // namespace

extern "C" {

// Of the error that ended the module; empty if none did.
__attribute__((export_name("error"))) const char* rrwkv_error() { return message; }

void* __cxa_allocate_exception(size_t size) { return std::malloc(size); }

[[noreturn]] void __cxa_throw(void* thrown, std::type_info* type, void (*)(void*)) {
  if (*type == typeid(std::runtime_error)) fail(static_cast<std::runtime_error*>(thrown)->what());
  fail(type->name());
}

// What belongs to a thread stays until the module goes.
int __cxa_thread_atexit(void (*)(void*), void*, void*) { return 0; }
}

void* operator new(size_t size) {
  void* memory = std::malloc(size);
  if (!memory) fail("the module's memory is full");
  return memory;
}
void* operator new(size_t size, std::align_val_t alignment) {
  const auto align = static_cast<size_t>(alignment);
  void* memory = std::aligned_alloc(align, (size + align - 1) / align * align);
  if (!memory) fail("the module's memory is full");
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
