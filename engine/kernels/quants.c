/* quants.c - the scalar kernels of the quantized types of quants.h.
 * Called by kvass_kernels_fill_scalar. Compiled with -ffp-contract=off: a product is rounded before
 * its offset is added.
 */
#include "engine/kernels/quants.h"

#include "engine/kernels/scalar.h"

#define X(NAME, name, n_block, n_group, n_bytes)                                                   \
    static void widen_##name(const void *in, int32_t n, float *out)                                \
    {                                                                                              \
        const uint8_t *block = in;                                                                 \
        kvass_quants quants;                                                                       \
        for (int32_t at = 0; at < n; at += n_block, block += n_bytes) {                            \
            kvass_quants_##name(block, &quants);                                                   \
            for (int32_t i = 0; i < n_block; i++) {                                                \
                out[at + i] = quants.d[i / n_group] * (float)quants.q[i] + quants.m[i / n_group];  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void matmul_##name(const void *w, size_t row_bytes, int32_t n_in, int32_t row0,         \
                              int32_t row1, const float *x, int32_t ldx, int32_t m, float *y,      \
                              int32_t ldy)                                                         \
    {                                                                                              \
        kvass_scalar_matmul(KVASS_DTYPE_##NAME, widen_##name, w, row_bytes, n_in, row0, row1, x,   \
                            ldx, m, y, ldy);                                                       \
    }
KVASS_QUANTS_MAP(X)
#undef X

void kvass_scalar_fill_quants(kvass_kernels *k)
{
#define X(NAME, name, n_block, n_group, n_bytes)                                                   \
    k->widen[KVASS_DTYPE_##NAME] = widen_##name;                                                   \
    k->matmul[KVASS_DTYPE_##NAME] = matmul_##name;
    KVASS_QUANTS_MAP(X)
#undef X
}
