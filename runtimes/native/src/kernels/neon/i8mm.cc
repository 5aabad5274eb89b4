#define RRWKV_DOTS i8mm
#define RRWKV_NAME "neon-i8mm"
#include "kernels/neon/table.h"
