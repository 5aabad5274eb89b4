#define RRWKV_DOTS vnni
#define RRWKV_NAME "avx2-vnni"
#include "kernels/avx2/table.h"
