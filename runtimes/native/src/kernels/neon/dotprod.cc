#define RRWKV_DOTS dotprod
#define RRWKV_NAME "neon"
#include "kernels/neon/table.h"
