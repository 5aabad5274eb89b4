#define RRWKV_DOTS plain
#define RRWKV_NAME "avx2"
#include "kernels/avx2/table.h"
