/* avx512.h - what the AVX-512 files share. Included by them alone, which are compiled with
 * -mavx512f -mavx512bw -mavx512vnni.
 */
#ifndef KVASS_KERNELS_AVX512_H
#define KVASS_KERNELS_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "engine/base/packed.h"
#include "engine/kernels/kernels.h"

#define FORCE_INLINE static inline __attribute__((always_inline))
#define LINE         64 /* bytes of a vector, and of a cache line */
#define MOST         8  /* vectors at a time */

/* 4 activations in all lanes */
FORCE_INLINE __m512i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm512_set1_epi32(v);
}

FORCE_INLINE __m512i load(const uint8_t *w)
{
    return _mm512_loadu_si512((const void *)w);
}

/* Asks for the line at p, which may lie past the weights: a fetch never faults. */
FORCE_INLINE void fetch(const uint8_t *p, size_t offset)
{
    _mm_prefetch((const char *)((uintptr_t)p + offset), _MM_HINT_T0);
}

#endif
