/* pack.c - see pack.h. Compiled with -ffp-contract=off: every product is rounded before the sum.
 *
 *   q8_0  d = max |x| / 127; q = x / d, halves away from zero
 *   q4_0  d = x of the largest magnitude / -8; q = x / d + 8.5, cut off, at most 15
 *   q4_1  d = (max - min) / 15, m = min; q = (x - m) / d + 0.5, cut off, at most 15
 *
 * where / d is a product with 1 / d, and d goes into the block rounded to f16.
 */
#include "engine/kernels/pack.h"

#include <math.h>

#include "engine/base/half.h"

enum { BLOCK = KVASS_QBLOCK };

#define MOST_HALF 65519.0f /* f16 rounds it to a finite number */

static void put_half(float value, uint8_t *out)
{
    uint16_t half = kvass_f32_to_f16(value);
    out[0] = (uint8_t)half;
    out[1] = (uint8_t)(half >> 8);
}

static float inverse(float d)
{
    return d == 0 ? 0 : 1 / d;
}

static void pack_q8_0(const float *x, uint8_t *out)
{
    float most = 0;
    for (int32_t i = 0; i < BLOCK; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    float d = most / 127, id = inverse(d);
    put_half(d, out);
    for (int32_t i = 0; i < BLOCK; i++) {
        float scaled = fabsf(x[i] * id), whole = floorf(scaled);
        float rounded = fminf(whole + floorf(2 * (scaled - whole)), 127);
        out[2 + i] = (uint8_t)(int8_t)(x[i] < 0 ? -rounded : rounded);
    }
}

/* 32 values of 0 .. 15 into 16 bytes, the second half of them high */
static void put_nibbles(const float *values, uint8_t *out)
{
    for (int32_t i = 0; i < BLOCK / 2; i++) {
        uint8_t low = (uint8_t)fmaxf(fminf(values[i], 15), 0);
        uint8_t high = (uint8_t)fmaxf(fminf(values[i + BLOCK / 2], 15), 0);
        out[i] = (uint8_t)(low | high << 4);
    }
}

static void pack_q4_0(const float *x, uint8_t *out)
{
    float most = x[0], values[BLOCK];
    for (int32_t i = 1; i < BLOCK; i++) {
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    }
    float d = most / -8, id = inverse(d);
    put_half(d, out);
    for (int32_t i = 0; i < BLOCK; i++) {
        values[i] = x[i] * id + 8.5f;
    }
    put_nibbles(values, out + 2);
}

static void pack_q4_1(const float *x, uint8_t *out)
{
    float least = x[0], most = x[0], values[BLOCK];
    for (int32_t i = 1; i < BLOCK; i++) {
        least = fminf(least, x[i]);
        most = fmaxf(most, x[i]);
    }
    float d = (most - least) / 15, id = inverse(d);
    put_half(d, out);
    put_half(least, out + 2);
    for (int32_t i = 0; i < BLOCK; i++) {
        values[i] = (x[i] - least) * id + 0.5f;
    }
    put_nibbles(values, out + 4);
}

/* The first of x[n] that does not fit, or -1; a block's scale must be a finite f16. */
static int32_t first_unfit(kvass_dtype dtype, const float *x, int32_t n)
{
    float most = dtype == KVASS_DTYPE_Q8_0   ? MOST_HALF * 127
                 : dtype == KVASS_DTYPE_Q4_0 ? MOST_HALF * 8
                                             : MOST_HALF;
    bool blocks =
        dtype == KVASS_DTYPE_Q8_0 || dtype == KVASS_DTYPE_Q4_0 || dtype == KVASS_DTYPE_Q4_1;
    for (int32_t i = 0; i < n; i++) {
        if (isfinite(x[i]) ? fabsf(x[i]) > most : blocks) {
            return i;
        }
    }
    return -1;
}

bool kvass_pack_knows(kvass_dtype dtype)
{
    return dtype == KVASS_DTYPE_F32 || dtype == KVASS_DTYPE_F16 || dtype == KVASS_DTYPE_BF16 ||
           dtype == KVASS_DTYPE_Q8_0 || dtype == KVASS_DTYPE_Q4_0 || dtype == KVASS_DTYPE_Q4_1;
}

static void pack_halves(kvass_dtype dtype, const float *x, int32_t n, uint8_t *out)
{
    for (int32_t i = 0; i < n; i++) {
        uint16_t half = dtype == KVASS_DTYPE_F16 ? kvass_f32_to_f16(x[i]) : kvass_f32_to_bf16(x[i]);
        memcpy(out + 2 * (size_t)i, &half, sizeof half);
    }
}

int32_t kvass_pack(kvass_dtype dtype, const float *x, int32_t n, void *out)
{
    uint8_t *to = out;
    if (dtype == KVASS_DTYPE_F32) {
        memcpy(out, x, (size_t)n * sizeof *x);
        return -1;
    }
    if (dtype == KVASS_DTYPE_BF16) {
        pack_halves(dtype, x, n, to);
        return -1;
    }
    int32_t unfit = first_unfit(dtype, x, n);
    if (unfit >= 0) {
        return unfit;
    }
    if (dtype == KVASS_DTYPE_F16) {
        pack_halves(dtype, x, n, to);
        return -1;
    }
    void (*pack)(const float *, uint8_t *) = dtype == KVASS_DTYPE_Q8_0   ? pack_q8_0
                                             : dtype == KVASS_DTYPE_Q4_0 ? pack_q4_0
                                                                         : pack_q4_1;
    for (int32_t at = 0; at < n; at += BLOCK) {
        pack(x + at, to);
        to += kvass_dtype_get(dtype)->block_bytes;
    }
    return -1;
}
