/* half.h - f16 and bf16 <-> f32, portable and exact.
 * Narrowing rounds to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
 */
#ifndef KVASS_BASE_HALF_H
#define KVASS_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float kvass_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t kvass_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float kvass_bf16_to_f32(uint16_t h)
{
    return kvass_bits_f32((uint32_t)h << 16);
}

static inline float kvass_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(h & 0x7fffu);
    if (rest >= 0x7c00u) { /* infinity, NaN (made quiet, as the hardware does) */
        uint32_t quiet = rest > 0x7c00u ? 0x00400000u : 0u;
        return kvass_bits_f32(sign | 0x7f800000u | (rest & 0x3ffu) << 13 | quiet);
    }
    if (rest < 0x0400u) { /* zero, subnormal: rest * 2^-24 is exact in f32 */
        float tiny = (float)rest * 0x1p-24f;
        return kvass_bits_f32(sign | kvass_f32_bits(tiny));
    }
    return kvass_bits_f32(sign | ((rest << 13) + (112u << 23)));
}

static inline uint16_t kvass_f32_to_f16(float f)
{
    uint32_t u = kvass_f32_bits(f);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    uint32_t rest = u & 0x7fffffffu;
    if (rest > 0x7f800000u) { /* NaN: keep the top of the payload, make it quiet */
        return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x3ffu));
    }
    if (rest >= 0x477ff000u) { /* >= 65520 rounds to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (rest < 0x38800000u) { /* below 2^-14: adding 0.5 lets the FPU round at 2^-24 */
        float shifted = kvass_bits_f32(rest) + 0.5f;
        return (uint16_t)(sign | (kvass_f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t odd = rest >> 13 & 1u;
    return (uint16_t)(sign | ((rest - (112u << 23) + 0xfffu + odd) >> 13));
}

static inline uint16_t kvass_f32_to_bf16(float f)
{
    uint32_t u = kvass_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

#endif
