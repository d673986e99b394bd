/* quants.h - the blocks of quantized weights that GGUF files hold, taken apart.
 *
 * A block becomes small integers q and, for each group of them, two numbers: value = d * q + m, the
 * product rounded before the sum. Groups are 32 integers, or 16. Types without an offset have
 * m = -0, which leaves every product as it is, a negative zero too. Included by the scalar and the
 * AVX2 kernels, so that both widen to the same bits.
 *
 * The types with 32 elements (q4_0 .. q5_1) hold 4 bits of each integer, elements 0 .. 15 low and
 * 16 .. 31 high; q5 has the fifth bits in 4 bytes more. The others hold 256 elements, whose groups
 * have scales that are quantized themselves.
 */
#ifndef KVASS_KERNELS_QUANTS_H
#define KVASS_KERNELS_QUANTS_H

#include <string.h>

#include "engine/base/half.h"
#include "engine/base/tensor.h"

#define KVASS_SUPER 256 /* elements of the large blocks */

/* a block of activations whose largest is outside of these is zero or NaN: 127 / max is finite */
#define KVASS_ACT_MIN 0x1p-100f
#define KVASS_ACT_MAX 0x1.fffffep127f

typedef struct kvass_quants {
    int8_t q[KVASS_SUPER];
    float d[KVASS_SUPER / 16], m[KVASS_SUPER / 16];
} kvass_quants;

static inline float kvass_quants_half(const uint8_t *p)
{
    return kvass_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* 16 bytes -> 32 integers of 4 bits */
static inline void kvass_quants_nibbles(const uint8_t *in, int32_t n, int8_t *q)
{
    for (int32_t i = 0; i < n; i++) {
        q[i] = (int8_t)(in[i] & 15);
        q[n + i] = (int8_t)(in[i] >> 4);
    }
}

/* q[i] += 16 * bit i of the 4 bytes at p, - offset */
static inline void kvass_quants_fifth(const uint8_t *p, int8_t offset, int8_t *q)
{
    uint32_t bits =
        (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    for (int32_t i = 0; i < KVASS_QBLOCK; i++) {
        q[i] = (int8_t)(q[i] + (int8_t)((bits >> i & 1u) << 4) - offset);
    }
}

/* f16 d, 32 int8: d * q */
static inline void kvass_quants_q8_0(const uint8_t *block, kvass_quants *out)
{
    out->d[0] = kvass_quants_half(block);
    out->m[0] = -0.0f;
    memcpy(out->q, block + 2, KVASS_QBLOCK);
}

/* f16 d, 16 bytes: d * (q - 8) */
static inline void kvass_quants_q4_0(const uint8_t *block, kvass_quants *out)
{
    out->d[0] = kvass_quants_half(block);
    out->m[0] = -0.0f;
    kvass_quants_nibbles(block + 2, 16, out->q);
    for (int32_t i = 0; i < KVASS_QBLOCK; i++) {
        out->q[i] = (int8_t)(out->q[i] - 8);
    }
}

/* f16 d, f16 m, 16 bytes: d * q + m */
static inline void kvass_quants_q4_1(const uint8_t *block, kvass_quants *out)
{
    out->d[0] = kvass_quants_half(block);
    out->m[0] = kvass_quants_half(block + 2);
    kvass_quants_nibbles(block + 4, 16, out->q);
}

/* f16 d, 4 bytes of fifth bits, 16 bytes: d * (q - 16) */
static inline void kvass_quants_q5_0(const uint8_t *block, kvass_quants *out)
{
    out->d[0] = kvass_quants_half(block);
    out->m[0] = -0.0f;
    kvass_quants_nibbles(block + 6, 16, out->q);
    kvass_quants_fifth(block + 2, 16, out->q);
}

/* f16 d, f16 m, 4 bytes of fifth bits, 16 bytes: d * q + m */
static inline void kvass_quants_q5_1(const uint8_t *block, kvass_quants *out)
{
    out->d[0] = kvass_quants_half(block);
    out->m[0] = kvass_quants_half(block + 2);
    kvass_quants_nibbles(block + 8, 16, out->q);
    kvass_quants_fifth(block + 4, 0, out->q);
}

/* out[4, n] = the bits 2j .. 2j + 1 of in[n], j = 0 .. 3 */
static inline void kvass_quants_pairs(const uint8_t *in, int32_t n, int8_t *out)
{
    for (int32_t j = 0; j < 4; j++) {
        for (int32_t i = 0; i < n; i++) {
            out[j * n + i] = (int8_t)(in[i] >> 2 * j & 3);
        }
    }
}

/* 16 bytes of scales, 64 bytes, f16 d, f16 dmin; in groups of 16: d * (scale & 15) * q
 * - dmin * (scale >> 4) */
static inline void kvass_quants_q2_k(const uint8_t *block, kvass_quants *out)
{
    float d = kvass_quants_half(block + 80), dmin = kvass_quants_half(block + 82);
    for (int32_t g = 0; g < 16; g++) {
        out->d[g] = d * (float)(block[g] & 15);
        out->m[g] = -(dmin * (float)(block[g] >> 4));
    }
    kvass_quants_pairs(block + 16, 32, out->q);
    kvass_quants_pairs(block + 48, 32, out->q + 128);
}

/* 32 bytes of third bits, 64 bytes, 12 bytes of scales with 6 bits, f16 d; in groups of 16:
 * d * (scale - 32) * (q - 4 where the third bit is not set) */
static inline void kvass_quants_q3_k(const uint8_t *block, kvass_quants *out)
{
    const uint8_t *scales = block + 96;
    float d = kvass_quants_half(block + 108);
    for (int32_t g = 0; g < 16; g++) {
        int32_t low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
        int32_t high = scales[8 + g % 4] >> g / 4 * 2 & 3;
        out->d[g] = d * (float)((low | high << 4) - 32);
        out->m[g] = -0.0f;
    }
    kvass_quants_pairs(block + 32, 32, out->q);
    kvass_quants_pairs(block + 64, 32, out->q + 128);
    for (int32_t j = 0; j < 8; j++) {
        for (int32_t i = 0; i < 32; i++) {
            out->q[j * 32 + i] = (int8_t)(out->q[j * 32 + i] - ((~block[i] >> j & 1) << 2));
        }
    }
}

/* f16 d, f16 dmin and 12 bytes: eight scales and eight offsets of 6 bits, for groups of 32 */
static inline void kvass_quants_scales_k(const uint8_t *block, kvass_quants *out)
{
    const uint8_t *s = block + 4;
    float d = kvass_quants_half(block), dmin = kvass_quants_half(block + 2);
    for (int32_t g = 0; g < 8; g++) {
        int32_t scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        int32_t offset = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4;
        out->d[g] = d * (float)scale;
        out->m[g] = -(dmin * (float)offset);
    }
}

/* the scales above, 128 bytes */
static inline void kvass_quants_q4_k(const uint8_t *block, kvass_quants *out)
{
    kvass_quants_scales_k(block, out);
    for (int32_t j = 0; j < 4; j++) {
        kvass_quants_nibbles(block + 16 + 32 * j, 32, out->q + 64 * j);
    }
}

/* the scales above, 32 bytes of fifth bits, 128 bytes */
static inline void kvass_quants_q5_k(const uint8_t *block, kvass_quants *out)
{
    kvass_quants_scales_k(block, out);
    for (int32_t j = 0; j < 4; j++) {
        kvass_quants_nibbles(block + 48 + 32 * j, 32, out->q + 64 * j);
    }
    for (int32_t j = 0; j < 8; j++) {
        for (int32_t i = 0; i < 32; i++) {
            out->q[j * 32 + i] = (int8_t)(out->q[j * 32 + i] | (block[16 + i] >> j & 1) << 4);
        }
    }
}

/* 128 bytes of low bits, 64 bytes of high pairs, 16 int8 scales, f16 d; in groups of 16:
 * d * scale * (q - 32) */
static inline void kvass_quants_q6_k(const uint8_t *block, kvass_quants *out)
{
    int8_t high[KVASS_SUPER];
    float d = kvass_quants_half(block + 208);
    for (int32_t g = 0; g < 16; g++) {
        out->d[g] = d * (float)(int8_t)block[192 + g];
        out->m[g] = -0.0f;
    }
    for (int32_t j = 0; j < 2; j++) {
        kvass_quants_nibbles(block + 64 * j, 64, out->q + 128 * j);
        kvass_quants_pairs(block + 128 + 32 * j, 32, high + 128 * j);
    }
    for (int32_t i = 0; i < KVASS_SUPER; i++) {
        out->q[i] = (int8_t)((out->q[i] | high[i] << 4) - 32);
    }
}

/* X(NAME, name, elements of a block, of a group, bytes of a block, whether it has offsets) for all
 * types here */
#define KVASS_QUANTS_MAP(X)                                                                        \
    X(Q8_0, q8_0, 32, 32, 34, false)                                                               \
    X(Q4_0, q4_0, 32, 32, 18, false)                                                               \
    X(Q4_1, q4_1, 32, 32, 20, true)                                                                \
    X(Q5_0, q5_0, 32, 32, 22, false)                                                               \
    X(Q5_1, q5_1, 32, 32, 24, true)                                                                \
    X(Q2_K, q2_k, 256, 16, 84, true)                                                               \
    X(Q3_K, q3_k, 256, 16, 110, false)                                                             \
    X(Q4_K, q4_k, 256, 32, 144, true)                                                              \
    X(Q5_K, q5_k, 256, 32, 176, true)                                                              \
    X(Q6_K, q6_k, 256, 16, 210, false)

#endif
