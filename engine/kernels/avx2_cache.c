/* avx2_cache.c - attention's reading of cache rows: scores and weighted sums.
 *
 * Two recipes define the bits, whatever the blocking around them:
 *  - kv_dot: element d goes by fused multiply-add to partial sum d % 8; scale * reduce(sums).
 *  - kv_acc: out[d] = w*row[d] + out[d], fused, one row after another.
 * Query heads that share the rows are taken up to 4 at a time, so that a row is read and widened
 * once for all of them.
 */
#include "engine/kernels/avx2.h"

enum {
    ACC_ROWS = 64, /* rows that kv_acc goes over again for each part of the head: they stay in L1 */
    FEW_ROWS = 32  /* a page of the cache */
};

FORCE_INLINE const void *row_at(kvass_dtype dtype, const void *rows, int32_t head_dim, int32_t j)
{
    return (const uint8_t *)rows + (size_t)j * bytes_of(dtype, head_dim);
}

/* scores[n_q, n_rows] = scale * q[n_q, head_dim] . rows[n_rows, head_dim]^T; (n_q, n_rows) is a
 * constant pair whose product is at most 8, n_rows 4, 2 or 1 */
FORCE_INLINE void dot_tile(kvass_dtype dtype, const float *q, int32_t n_q, int32_t head_dim,
                           const void *rows, int32_t n_rows, float scale, float *scores,
                           int32_t ld_scores)
{
    __m256 a[4][4]; /* [n_q][n_rows] */
#pragma GCC unroll 4
    for (int32_t g = 0; g < n_q; g++) {
#pragma GCC unroll 4
        for (int32_t j = 0; j < 4; j++) {
            a[g][j] = _mm256_setzero_ps();
        }
    }
    int32_t d = 0;
    for (; d + VEC <= head_dim; d += VEC) {
        __m256 v[4];
#pragma GCC unroll 4
        for (int32_t j = 0; j < n_rows; j++) {
            v[j] = load_vec(dtype, row_at(dtype, rows, head_dim, j), d);
        }
#pragma GCC unroll 4
        for (int32_t g = 0; g < n_q; g++) {
            __m256 qv = _mm256_loadu_ps(q + (size_t)g * (size_t)head_dim + d);
#pragma GCC unroll 4
            for (int32_t j = 0; j < n_rows; j++) {
                a[g][j] = _mm256_fmadd_ps(qv, v[j], a[g][j]);
            }
        }
    }
    if (d < head_dim) {
        int32_t n = head_dim - d;
        __m256 v[4];
#pragma GCC unroll 4
        for (int32_t j = 0; j < n_rows; j++) {
            v[j] = load_vec_part(dtype, row_at(dtype, rows, head_dim, j), d, n);
        }
#pragma GCC unroll 4
        for (int32_t g = 0; g < n_q; g++) {
            __m256 qv = load_part(q + (size_t)g * (size_t)head_dim + d, n);
#pragma GCC unroll 4
            for (int32_t j = 0; j < n_rows; j++) {
                a[g][j] = _mm256_fmadd_ps(qv, v[j], a[g][j]);
            }
        }
    }
#pragma GCC unroll 4
    for (int32_t g = 0; g < n_q; g++) {
        float *s = scores + (size_t)g * (size_t)ld_scores;
        __m128 sums = _mm_mul_ps(_mm_set1_ps(scale), reduce4(a[g][0], a[g][1], a[g][2], a[g][3]));
        if (n_rows == 4) {
            _mm_storeu_ps(s, sums);
        } else if (n_rows == 2) {
            _mm_storel_pi((__m64 *)s, sums);
        } else {
            _mm_store_ss(s, sums);
        }
    }
}

/* the same for any n_rows; n_q is a constant, step * n_q at most 8 */
FORCE_INLINE void dot_rows(kvass_dtype dtype, const float *q, int32_t n_q, int32_t head_dim,
                           const void *rows, int32_t n_rows, int32_t step, float scale,
                           float *scores, int32_t ld_scores)
{
    const size_t tile_bytes = bytes_of(dtype, step * head_dim);
    /* many rows are likely part of more; what lies behind few is another's */
    int32_t fetch_end =
        n_rows > FEW_ROWS ? n_rows : n_rows - KVASS_AHEAD / (int32_t)bytes_of(dtype, head_dim);
    int32_t j = 0;
    for (; j + step <= n_rows; j += step) {
        for (size_t i = 0; i < tile_bytes && j < fetch_end; i += LINE) {
            fetch(row_at(dtype, rows, head_dim, j), KVASS_AHEAD + i);
        }
        dot_tile(dtype, q, n_q, head_dim, row_at(dtype, rows, head_dim, j), step, scale, scores + j,
                 ld_scores);
    }
    for (; j < n_rows; j++) {
        dot_tile(dtype, q, n_q, head_dim, row_at(dtype, rows, head_dim, j), 1, scale, scores + j,
                 ld_scores);
    }
}

FORCE_INLINE void kv_dot(kvass_dtype dtype, const float *q, int32_t n_q, int32_t head_dim,
                         const void *rows, int32_t n_rows, float scale, float *scores,
                         int32_t ld_scores)
{
    int32_t g = 0;
    while (g < n_q) {
        const float *qg = q + (size_t)g * (size_t)head_dim;
        float *s = scores + (size_t)g * (size_t)ld_scores;
        if (n_q - g >= 4) {
            dot_rows(dtype, qg, 4, head_dim, rows, n_rows, 2, scale, s, ld_scores);
            g += 4;
        } else if (n_q - g >= 2) {
            dot_rows(dtype, qg, 2, head_dim, rows, n_rows, 4, scale, s, ld_scores);
            g += 2;
        } else {
            dot_rows(dtype, qg, 1, head_dim, rows, n_rows, 4, scale, s, ld_scores);
            g += 1;
        }
    }
}

/* out[n_q, n_vec * 8] += w[n_q, n_rows] . rows[n_rows, n_vec * 8]; out and rows have head_dim
 * columns; the last vector has n_last columns. n_q * n_vec is a constant of at most 8. */
FORCE_INLINE void acc_tile(kvass_dtype dtype, const float *w, int32_t ld_w, int32_t n_q,
                           int32_t head_dim, const void *rows, int32_t n_rows, int32_t d,
                           int32_t n_vec, int32_t n_last, float *out)
{
    __m256 a[4][8]; /* [n_q][n_vec] */
#pragma GCC unroll 4
    for (int32_t g = 0; g < n_q; g++) {
#pragma GCC unroll 8
        for (int32_t v = 0; v < n_vec; v++) {
            const float *o = out + (size_t)g * (size_t)head_dim + d + v * VEC;
            a[g][v] = n_last < VEC ? load_part(o, n_last) : _mm256_loadu_ps(o);
        }
    }
    for (int32_t j = 0; j < n_rows; j++) {
        const void *row = row_at(dtype, rows, head_dim, j);
        __m256 wj[4];
#pragma GCC unroll 4
        for (int32_t g = 0; g < n_q; g++) {
            wj[g] = _mm256_set1_ps(w[(size_t)g * (size_t)ld_w + (size_t)j]);
        }
#pragma GCC unroll 8
        for (int32_t v = 0; v < n_vec; v++) {
            __m256 x = n_last < VEC ? load_vec_part(dtype, row, d + v * VEC, n_last)
                                    : load_vec(dtype, row, d + v * VEC);
#pragma GCC unroll 4
            for (int32_t g = 0; g < n_q; g++) {
                a[g][v] = _mm256_fmadd_ps(wj[g], x, a[g][v]);
            }
        }
    }
#pragma GCC unroll 4
    for (int32_t g = 0; g < n_q; g++) {
#pragma GCC unroll 8
        for (int32_t v = 0; v < n_vec; v++) {
            float *o = out + (size_t)g * (size_t)head_dim + d + v * VEC;
            if (n_last < VEC) {
                store_part(o, n_last, a[g][v]);
            } else {
                _mm256_storeu_ps(o, a[g][v]);
            }
        }
    }
}

/* out[n_q, head_dim] += w[n_q, n_rows] . rows[n_rows, head_dim]; n_q is a constant, 1, 2 or 4 */
FORCE_INLINE void acc_rows(kvass_dtype dtype, const float *w, int32_t ld_w, int32_t n_q,
                           int32_t head_dim, const void *rows, int32_t n_rows, float *out)
{
    const int32_t n_vec = 8 / n_q;
    int32_t d = 0;
    for (; d + n_vec * VEC <= head_dim; d += n_vec * VEC) {
        acc_tile(dtype, w, ld_w, n_q, head_dim, rows, n_rows, d, n_vec, VEC, out);
    }
    if (n_vec / 2 > 1 && d + n_vec / 2 * VEC <= head_dim) {
        acc_tile(dtype, w, ld_w, n_q, head_dim, rows, n_rows, d, n_vec / 2, VEC, out);
        d += n_vec / 2 * VEC;
    }
    if (n_vec / 4 > 1 && d + n_vec / 4 * VEC <= head_dim) {
        acc_tile(dtype, w, ld_w, n_q, head_dim, rows, n_rows, d, n_vec / 4, VEC, out);
        d += n_vec / 4 * VEC;
    }
    for (; d + VEC <= head_dim; d += VEC) {
        acc_tile(dtype, w, ld_w, n_q, head_dim, rows, n_rows, d, 1, VEC, out);
    }
    if (d < head_dim) {
        acc_tile(dtype, w, ld_w, n_q, head_dim, rows, n_rows, d, 1, head_dim - d, out);
    }
}

FORCE_INLINE void kv_acc(kvass_dtype dtype, const float *w, int32_t ld_w, int32_t n_q,
                         int32_t head_dim, const void *rows, int32_t n_rows, float *out)
{
    for (int32_t j = 0; j < n_rows; j += ACC_ROWS) {
        const void *part = row_at(dtype, rows, head_dim, j);
        int32_t n = min_i32(ACC_ROWS, n_rows - j);
        int32_t g = 0;
        while (g < n_q) {
            const float *wg = w + (size_t)g * (size_t)ld_w + j;
            float *o = out + (size_t)g * (size_t)head_dim;
            if (n_q - g >= 4) {
                acc_rows(dtype, wg, ld_w, 4, head_dim, part, n, o);
                g += 4;
            } else if (n_q - g >= 2) {
                acc_rows(dtype, wg, ld_w, 2, head_dim, part, n, o);
                g += 2;
            } else {
                acc_rows(dtype, wg, ld_w, 1, head_dim, part, n, o);
                g += 1;
            }
        }
    }
}

static void kv_dot_f32(const float *q, int32_t n_q, int32_t head_dim, const float *rows,
                       int32_t n_rows, float scale, float *scores, int32_t ld_scores)
{
    kv_dot(KVASS_DTYPE_F32, q, n_q, head_dim, rows, n_rows, scale, scores, ld_scores);
}

static void kv_dot_f16(const float *q, int32_t n_q, int32_t head_dim, const uint16_t *rows,
                       int32_t n_rows, float scale, float *scores, int32_t ld_scores)
{
    kv_dot(KVASS_DTYPE_F16, q, n_q, head_dim, rows, n_rows, scale, scores, ld_scores);
}

static void kv_acc_f32(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                       const float *rows, int32_t n_rows, float *out)
{
    kv_acc(KVASS_DTYPE_F32, w, ld_w, n_q, head_dim, rows, n_rows, out);
}

static void kv_acc_f16(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                       const uint16_t *rows, int32_t n_rows, float *out)
{
    kv_acc(KVASS_DTYPE_F16, w, ld_w, n_q, head_dim, rows, n_rows, out);
}

static void fetch_bytes(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i += LINE) {
        fetch(p, i);
    }
}

void kvass_avx2_fill_cache(kvass_kernels *k)
{
    k->fetch = fetch_bytes;
    k->kv_dot_f32 = kv_dot_f32;
    k->kv_dot_f16 = kv_dot_f16;
    k->kv_acc_f32 = kv_acc_f32;
    k->kv_acc_f16 = kv_acc_f16;
}
