// Loads a library of kernels as onnxruntime does, and prints the tables that it has here: `loads LIBRARY`. Where there
// is no onnxruntime, as with musl, this is what a wheel's library can be tried with.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

struct ApiBase {
  const void* (*get)(uint32_t);
  const char* (*version)(void);
};

// An onnxruntime that is too old: the library must let its graphs be.
static const void* none(uint32_t version) { return (void)version, NULL; }
static const char* version(void) { return "0"; }

int main(int count, char** arguments) {
  void* library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) return fprintf(stderr, "%s\n", count == 2 ? dlerror() : "loads LIBRARY"), 1;
  const char* (*tables)(void) = (const char* (*)(void))dlsym(library, "rrwkv_native_tables");
  void* (*add)(void*, const struct ApiBase*) =
      (void* (*)(void*, const struct ApiBase*))dlsym(library, "RegisterCustomOps");
  if (!tables || !add) return fprintf(stderr, "%s\n", dlerror()), 1;
  const struct ApiBase old = {none, version};
  if (add(NULL, &old)) return fprintf(stderr, "it does not let an old onnxruntime be\n"), 1;
  return printf("%s\n", tables()) < 0;
}
