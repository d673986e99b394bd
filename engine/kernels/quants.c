/* quants.c - the scalar kernels of the quantized types of quants.h.
 * Called by kvass_kernels_fill_scalar. Compiled with -ffp-contract=off: a product is rounded before
 * a sum. The integer products define the bits that every instruction set must give.
 */
#include "engine/kernels/quants.h"

#include <math.h>

#include "engine/base/packed.h"
#include "engine/kernels/scalar.h"

static void quantize(const float *x, int32_t n, int8_t *q, float *d, int32_t *sum)
{
    for (int32_t b = 0; b < n / KVASS_QBLOCK; b++, x += KVASS_QBLOCK, q += KVASS_QBLOCK) {
        uint32_t most = 0; /* sizes as bits are in order, NaN the largest */
        for (int32_t i = 0; i < KVASS_QBLOCK; i++) {
            uint32_t bits = kvass_f32_bits(x[i]) & 0x7fffffffu;
            most = bits > most ? bits : most;
        }
        float max = kvass_bits_f32(most);
        bool usable = max >= KVASS_ACT_MIN && max <= KVASS_ACT_MAX;
        d[b] = usable ? max / 127.0f : max < KVASS_ACT_MIN ? 0.0f : NAN;
        sum[2 * b] = sum[2 * b + 1] = 0;
        for (int32_t i = 0; i < KVASS_QBLOCK; i++) {
            q[i] = (int8_t)(usable ? lrintf(x[i] * (127.0f / max)) : 0);
            sum[2 * b + i / KVASS_QHALF] += q[i];
        }
    }
}

/* y + the products of one block's groups with the integers xq and their scales xd, one for each 32
 */
static float add_block(const kvass_quants *w, int32_t n_block, int32_t n_group, bool offset,
                       const int8_t *xq, const float *xd, float y)
{
    for (int32_t g = 0; g * n_group < n_block; g++) {
        int32_t s = 0, sum = 0;
        for (int32_t i = g * n_group; i < (g + 1) * n_group; i++) {
            s += w->q[i] * xq[i];
            sum += xq[i];
        }
        float d = xd[g * n_group / KVASS_QBLOCK];
        y += w->d[g] * d * (float)s;
        if (offset) {
            y += w->m[g] * d * (float)sum;
        }
    }
    return y;
}

#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
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
    static void matmul_##name(const kvass_weight *w, int32_t row0, int32_t row1,                   \
                              const kvass_acts *x, int32_t m, float *y, int32_t ldy)               \
    {                                                                                              \
        uint8_t bytes[n_bytes];                                                                    \
        kvass_quants quants;                                                                       \
        for (int32_t r = row0; r < row1; r++) {                                                    \
            for (int32_t i = 0; i < m; i++) {                                                      \
                y[(size_t)i * (size_t)ldy + (size_t)r] = 0.0f;                                     \
            }                                                                                      \
            for (int32_t k = 0; k < w->n_in; k += n_block) {                                       \
                kvass_quants_##name(kvass_weight_block(w, r, k / n_block, bytes), &quants);        \
                for (int32_t i = 0; i < m; i++) {                                                  \
                    size_t at = (size_t)i * (size_t)w->n_in + (size_t)k;                           \
                    float *out = y + (size_t)i * (size_t)ldy + (size_t)r;                          \
                    *out = add_block(&quants, n_block, n_group, offset, x->q + at,                 \
                                     x->d + at / KVASS_QBLOCK, *out);                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
KVASS_QUANTS_MAP(X)
#undef X

void kvass_scalar_fill_quants(kvass_kernels *k)
{
    k->quantize = quantize;
#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    k->widen[KVASS_DTYPE_##NAME] = widen_##name;                                                   \
    k->matmul_int[KVASS_DTYPE_##NAME] = matmul_##name;
    KVASS_QUANTS_MAP(X)
#undef X
}
