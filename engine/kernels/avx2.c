/* avx2.c - kernels for AVX2 with FMA and F16C. */
#include "engine/kernels/kernels.h"

void kvass_kernels_fill_avx2(kvass_kernels *k)
{
    (void)k;
}
