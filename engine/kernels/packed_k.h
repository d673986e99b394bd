/* packed_k.h - where the parts of packed blocks of 256 elements lie (engine/base/packed.h), and
 * their scales. Included by the kernels for packed rows, so that all make the same numbers.
 *
 * A packed block is its halves, then lines of 64 bytes, 4 of each of 16 rows: those of the block as
 * files have it, in its order. What a row has in a line is a lane of 32 bits here; the loops over
 * rows become vectors.
 */
#ifndef KVASS_KERNELS_PACKED_K_H
#define KVASS_KERNELS_PACKED_K_H

#include <string.h>

#include "engine/base/packed.h"

#define KVASS_LINE    64  /* bytes */
#define KVASS_SUPER_K 256 /* elements of a block */

/* An integer has `n_low` bits at one place and `n_high` more at another; the low ones are worth
 * less. It is kept raised by `raised`; groups of n_group integers share a scale; a block of a
 * row has n_bytes. */
typedef struct kvass_packed_form {
    int32_t n_low, n_high, raised, n_group, n_bytes;
    bool offset; /* whether there are minima */
} kvass_packed_form;

static inline kvass_packed_form kvass_packed_form_of(kvass_dtype dtype)
{
    switch (dtype) {
    case KVASS_DTYPE_Q2_K:
        return (kvass_packed_form){2, 0, 0, 16, 84, true};
    case KVASS_DTYPE_Q3_K:
        return (kvass_packed_form){2, 1, 4, 16, 110, false};
    case KVASS_DTYPE_Q4_K:
        return (kvass_packed_form){4, 0, 0, 32, 144, true};
    case KVASS_DTYPE_Q5_K:
        return (kvass_packed_form){4, 1, 0, 32, 176, true};
    default: /* q6_k */
        return (kvass_packed_form){4, 2, 32, 16, 210, false};
    }
}

/* The integers of columns 32k + 4u .. 32k + 4u + 3 lie in line number low + u, from bit low_bit of
 * each byte on; likewise the high bits. */
typedef struct kvass_packed_place {
    int32_t low, low_bit, high, high_bit;
} kvass_packed_place;

static inline kvass_packed_place kvass_packed_find(kvass_dtype dtype, int32_t k)
{
    switch (dtype) {
    case KVASS_DTYPE_Q2_K:
        return (kvass_packed_place){4 + k / 4 * 8, k % 4 * 2, 0, 0};
    case KVASS_DTYPE_Q3_K:
        return (kvass_packed_place){8 + k / 4 * 8, k % 4 * 2, 0, k};
    case KVASS_DTYPE_Q4_K:
        return (kvass_packed_place){3 + k / 2 * 8, k % 2 * 4, 0, 0};
    case KVASS_DTYPE_Q5_K:
        return (kvass_packed_place){11 + k / 2 * 8, k % 2 * 4, 3, k};
    default: /* q6_k */
        return (kvass_packed_place){k / 4 * 16 + k % 2 * 8, k % 4 / 2 * 4, 32 + k / 4 * 8,
                                    k % 4 * 2};
    }
}

/* Functions that are compiled for each type and number of vectors, which are constants in them, and
 * their loops. Not so where a sanitizer watches every line: that would take minutes. */
#ifdef __SANITIZE_ADDRESS__
#define KVASS_EACH static inline
#define KVASS_UNROLL(n)
#else
#define KVASS_EACH      static inline __attribute__((always_inline))
#define KVASS_PRAGMA(x) _Pragma(#x)
#define KVASS_UNROLL(n) KVASS_PRAGMA(GCC unroll n)
#endif

typedef uint32_t kvass_lanes[KVASS_PACK_ROWS];

/* what value = d * q + m needs for each group and row */
typedef struct kvass_packed_scales {
    float d[KVASS_SUPER_K / 16][KVASS_PACK_ROWS], m[KVASS_SUPER_K / 16][KVASS_PACK_ROWS];
} kvass_packed_scales;

static inline void kvass_packed_line(const uint8_t *lines, int32_t n, kvass_lanes out)
{
    memcpy(out, lines + n * KVASS_LINE, sizeof(kvass_lanes));
}

/* scale[16], offset[16]: four groups' of each row, from number 4*quad on, as bytes */
static inline void kvass_packed_bytes(kvass_dtype dtype, const uint8_t *lines, int32_t quad,
                                      kvass_lanes scale, kvass_lanes offset)
{
    kvass_lanes a, b, c;
    if (dtype == KVASS_DTYPE_Q2_K) { /* pairs of 4 bits */
        kvass_packed_line(lines, quad, a);
        for (int32_t r = 0; r < KVASS_PACK_ROWS; r++) {
            scale[r] = a[r] & 0x0f0f0f0fu;
            offset[r] = a[r] >> 4 & 0x0f0f0f0fu;
        }
    } else if (dtype == KVASS_DTYPE_Q3_K) { /* 6 bits: 4 and, in the last line, 2 */
        kvass_packed_line(lines, 24 + quad % 2, a);
        kvass_packed_line(lines, 26, c);
        for (int32_t r = 0; r < KVASS_PACK_ROWS; r++) {
            scale[r] = (a[r] >> quad / 2 * 4 & 0x0f0f0f0fu) | (c[r] >> quad * 2 & 0x03030303u) << 4;
            offset[r] = 0;
        }
    } else if (dtype == KVASS_DTYPE_Q6_K) {
        kvass_packed_line(lines, 48 + quad, scale);
        memset(offset, 0, sizeof(kvass_lanes));
    } else { /* 6 bits; of groups 4 .. 7 two of them above those of 0 .. 3 */
        kvass_packed_line(lines, 0, a);
        kvass_packed_line(lines, 1, b);
        kvass_packed_line(lines, 2, c);
        for (int32_t r = 0; r < KVASS_PACK_ROWS; r++) {
            uint32_t s = (c[r] & 0x0f0f0f0fu) | (a[r] >> 2 & 0x30303030u);
            uint32_t o = (c[r] >> 4 & 0x0f0f0f0fu) | (b[r] >> 2 & 0x30303030u);
            scale[r] = quad == 0 ? a[r] & 0x3f3f3f3fu : s;
            offset[r] = quad == 0 ? b[r] & 0x3f3f3f3fu : o;
        }
    }
}

/* From the rows' halves d[16], dmin[16] and the block's lines; dtype is a constant where this is
 * inlined. */
static inline void kvass_packed_scale(kvass_dtype dtype, const float *d, const float *dmin,
                                      const uint8_t *lines, kvass_packed_scales *out)
{
    const kvass_packed_form form = kvass_packed_form_of(dtype);
    for (int32_t quad = 0; quad < KVASS_SUPER_K / form.n_group / 4; quad++) {
        kvass_lanes scale, offset;
        kvass_packed_bytes(dtype, lines, quad, scale, offset);
        for (int32_t j = 0; j < 4; j++) {
            int32_t g = quad * 4 + j;
            for (int32_t r = 0; r < KVASS_PACK_ROWS; r++) {
                uint32_t byte = scale[r] >> 8 * j & 255u;
                int32_t s = dtype == KVASS_DTYPE_Q6_K   ? (int32_t)(byte ^ 128u) - 128
                            : dtype == KVASS_DTYPE_Q3_K ? (int32_t)byte - 32
                                                        : (int32_t)byte;
                out->d[g][r] = d[r] * (float)s;
                if (form.offset) {
                    out->m[g][r] = -(dmin[r] * (float)(int32_t)(offset[r] >> 8 * j & 255u));
                }
            }
        }
    }
}

#endif
