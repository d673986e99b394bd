/* avx2_matmul.c - products with weights of every stored type, and their widening.
 *
 * Two recipes define the bits of one dot product, whatever the blocking around them:
 *  - f32, f16, bf16: element k goes by fused multiply-add to partial sum k % 16, held in two
 * vectors a0 and a1; the result is reduce(a0 + a1).
 *  - q8: a block of 32 gives t = q0*x0 + q1*x1 + q2*x2 + q3*x3 over its four vectors of integers,
 *    and the one vector of partial sums takes a = d*t + a; the result is reduce(a).
 * One vector (m = 1) streams groups of 4 rows, fetching the next group meanwhile: the memory is the
 * limit. More vectors (m >= 2) widen W_ROWS rows by K_BLOCK columns into a panel that stays in the
 * first cache, and run tiles of 2 rows x 3 vectors over it; partial sums wait in memory between
 * panels.
 */
#include <string.h>

#include "engine/base/half.h"
#include "engine/kernels/avx2.h"

#define W_ROWS  8   /* weight rows of a panel */
#define X_ROWS  24  /* vectors that one pass over the weights serves */
#define K_BLOCK 512 /* columns of a panel */
#define GROUP   4   /* weight rows that the matrix-vector product takes at once */
#define LINE    64  /* bytes of a cache line */

typedef struct panel {
    float w[W_ROWS][K_BLOCK];                /* values; for q8 the integers */
    float d[W_ROWS][K_BLOCK / KVASS_QBLOCK]; /* q8: the scale of each block */
    float sums[W_ROWS][X_ROWS][2 * VEC];     /* partial sums; q8 uses the first vector */
} panel;

FORCE_INLINE bool is_q8(kvass_dtype dtype)
{
    return dtype == KVASS_DTYPE_Q8_0 || dtype == KVASS_DTYPE_Q8_F32;
}

/* bytes of n elements in front of a block's start */
FORCE_INLINE size_t bytes_of(kvass_dtype dtype, int32_t n)
{
    switch (dtype) {
    case KVASS_DTYPE_F32:
        return (size_t)n * sizeof(float);
    case KVASS_DTYPE_Q8_0:
        return (size_t)(n / KVASS_QBLOCK) * (sizeof(uint16_t) + KVASS_QBLOCK);
    case KVASS_DTYPE_Q8_F32:
        return (size_t)(n / KVASS_QBLOCK) * (sizeof(float) + KVASS_QBLOCK);
    default:
        return (size_t)n * sizeof(uint16_t);
    }
}

/* the scale of a q8 block in all lanes; *q is where its integers start */
FORCE_INLINE __m256 load_scale(kvass_dtype dtype, const uint8_t *block, const uint8_t **q)
{
    if (dtype == KVASS_DTYPE_Q8_0) {
        uint16_t d;
        memcpy(&d, block, sizeof d);
        *q = block + sizeof d;
        return _mm256_cvtph_ps(_mm_set1_epi16((short)d));
    }
    float d;
    memcpy(&d, block, sizeof d);
    *q = block + sizeof d;
    return _mm256_set1_ps(d);
}

/* integers 8*i .. 8*i+7 of a q8 block */
FORCE_INLINE __m256 load_q8(const uint8_t *q, int32_t i)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(q + VEC * i));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* ---- one vector ------------------------------------------------------------------------------ */

/* Asks for the line at p, which may lie past the weights: a fetch never faults. */
FORCE_INLINE void fetch(const uint8_t *p, size_t offset)
{
    _mm_prefetch((const char *)((uintptr_t)p + offset), _MM_HINT_T0);
}

/* y[n_rows] = w[n_rows, n_in] . x[n_in] for floats; n_rows is GROUP or 1 */
FORCE_INLINE void rows_floats(kvass_dtype dtype, const uint8_t *w, size_t row_bytes, int32_t n_rows,
                              int32_t n_in, const float *x, float *y)
{
    __m256 a0[GROUP], a1[GROUP];
    int32_t k = 0;
#pragma GCC unroll 4
    for (int32_t r = 0; r < GROUP; r++) {
        a0[r] = a1[r] = _mm256_setzero_ps();
    }
    for (; k + 2 * VEC <= n_in; k += 2 * VEC) {
        __m256 x0 = _mm256_loadu_ps(x + k);
        __m256 x1 = _mm256_loadu_ps(x + k + VEC);
#pragma GCC unroll 4
        for (int32_t r = 0; r < n_rows; r++) {
            const uint8_t *row = w + (size_t)r * row_bytes;
            fetch(row, (size_t)n_rows * row_bytes + bytes_of(dtype, k));
            a0[r] = _mm256_fmadd_ps(load_vec(dtype, row, k), x0, a0[r]);
            a1[r] = _mm256_fmadd_ps(load_vec(dtype, row, k + VEC), x1, a1[r]);
        }
    }
    if (k < n_in) {
        int32_t n0 = n_in - k;
        int32_t n1 = n0 - VEC;
        __m256 x0 = load_part(x + k, n0);
        __m256 x1 = n1 > 0 ? load_part(x + k + VEC, n1) : _mm256_setzero_ps();
#pragma GCC unroll 4
        for (int32_t r = 0; r < n_rows; r++) {
            const uint8_t *row = w + (size_t)r * row_bytes;
            a0[r] = _mm256_fmadd_ps(load_vec_part(dtype, row, k, n0), x0, a0[r]);
            if (n1 > 0) {
                a1[r] = _mm256_fmadd_ps(load_vec_part(dtype, row, k + VEC, n1), x1, a1[r]);
            }
        }
    }
    if (n_rows == GROUP) {
        _mm_storeu_ps(y, reduce4(_mm256_add_ps(a0[0], a1[0]), _mm256_add_ps(a0[1], a1[1]),
                                 _mm256_add_ps(a0[2], a1[2]), _mm256_add_ps(a0[3], a1[3])));
    } else {
        y[0] = reduce(_mm256_add_ps(a0[0], a1[0]));
    }
}

/* the same for q8 */
FORCE_INLINE void rows_q8(kvass_dtype dtype, const uint8_t *w, size_t row_bytes, int32_t n_rows,
                          int32_t n_in, const float *x, float *y)
{
    __m256 a[GROUP];
#pragma GCC unroll 4
    for (int32_t r = 0; r < GROUP; r++) {
        a[r] = _mm256_setzero_ps();
    }
    for (int32_t k = 0; k < n_in; k += KVASS_QBLOCK) {
        __m256 x0 = _mm256_loadu_ps(x + k);
        __m256 x1 = _mm256_loadu_ps(x + k + VEC);
        __m256 x2 = _mm256_loadu_ps(x + k + 2 * VEC);
        __m256 x3 = _mm256_loadu_ps(x + k + 3 * VEC);
#pragma GCC unroll 4
        for (int32_t r = 0; r < n_rows; r++) {
            const uint8_t *block = w + (size_t)r * row_bytes + bytes_of(dtype, k);
            const uint8_t *q;
            __m256 d = load_scale(dtype, block, &q);
            fetch(block, (size_t)n_rows * row_bytes);
            __m256 t = _mm256_mul_ps(load_q8(q, 0), x0);
            t = _mm256_fmadd_ps(load_q8(q, 1), x1, t);
            t = _mm256_fmadd_ps(load_q8(q, 2), x2, t);
            t = _mm256_fmadd_ps(load_q8(q, 3), x3, t);
            a[r] = _mm256_fmadd_ps(d, t, a[r]);
        }
    }
    if (n_rows == GROUP) {
        _mm_storeu_ps(y, reduce4(a[0], a[1], a[2], a[3]));
    } else {
        y[0] = reduce(a[0]);
    }
}

FORCE_INLINE void rows_times_vector(kvass_dtype dtype, const uint8_t *w, size_t row_bytes,
                                    int32_t n_rows, int32_t n_in, const float *x, float *y)
{
    if (is_q8(dtype)) {
        rows_q8(dtype, w, row_bytes, n_rows, n_in, x, y);
    } else {
        rows_floats(dtype, w, row_bytes, n_rows, n_in, x, y);
    }
}

/* y[row0..row1-1] = w[n_out, n_in] . x[n_in] */
FORCE_INLINE void matvec(kvass_dtype dtype, const uint8_t *w, size_t row_bytes, int32_t n_in,
                         int32_t row0, int32_t row1, const float *x, float *y)
{
    int32_t r = row0;
    for (; r + GROUP <= row1; r += GROUP) {
        rows_times_vector(dtype, w + (size_t)r * row_bytes, row_bytes, GROUP, n_in, x, y + r);
    }
    for (; r < row1; r++) {
        rows_times_vector(dtype, w + (size_t)r * row_bytes, row_bytes, 1, n_in, x, y + r);
    }
}

/* ---- several vectors ------------------------------------------------------------------------- */

/* Widens columns k0 .. k0+n-1 of n_rows rows. Float columns are padded with zeros to a whole step.
 */
FORCE_INLINE void panel_fill(panel *p, kvass_dtype dtype, const uint8_t *w, size_t row_bytes,
                             int32_t n_rows, int32_t k0, int32_t n)
{
    for (int32_t r = 0; r < n_rows; r++) {
        const uint8_t *in = w + (size_t)r * row_bytes + bytes_of(dtype, k0);
        int32_t k = 0;
        for (size_t i = 0; i < bytes_of(dtype, n); i += LINE) {
            fetch(in, W_ROWS * row_bytes + i);
        }
        if (is_q8(dtype)) {
            for (; k < n; k += KVASS_QBLOCK) {
                const uint8_t *q;
                __m256 d = load_scale(dtype, in + bytes_of(dtype, k), &q);
                p->d[r][k / KVASS_QBLOCK] = _mm256_cvtss_f32(d);
                for (int32_t i = 0; i < KVASS_QBLOCK / VEC; i++) {
                    _mm256_storeu_ps(&p->w[r][k + i * VEC], load_q8(q, i));
                }
            }
            continue;
        }
        for (; k + VEC <= n; k += VEC) {
            _mm256_storeu_ps(&p->w[r][k], load_vec(dtype, in, k));
        }
        for (; k % (2 * VEC) != 0 || k < n; k += VEC) {
            _mm256_storeu_ps(&p->w[r][k],
                             n - k > 0 ? load_vec_part(dtype, in, k, n - k) : _mm256_setzero_ps());
        }
    }
}

/* sums[2, n_x] += w[2, n] . x[n_x, n]^T over a panel of floats; n_x is 2 or 3. `first` ignores what
 * the sums hold. */
FORCE_INLINE void tile_floats(const float *w0, const float *w1, const float *x, int32_t ldx,
                              int32_t n_x, int32_t n, bool first, float *sums)
{
    const float *w[2] = {w0, w1};
    __m256 a[2][3][2];
#pragma GCC unroll 2
    for (int32_t r = 0; r < 2; r++) {
#pragma GCC unroll 3
        for (int32_t i = 0; i < n_x; i++) {
            const float *s = sums + (r * X_ROWS + i) * 2 * VEC;
            a[r][i][0] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(s);
            a[r][i][1] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(s + VEC);
        }
    }
    int32_t k = 0;
    for (; k + 2 * VEC <= n; k += 2 * VEC) {
#pragma GCC unroll 2
        for (int32_t h = 0; h < 2; h++) {
            __m256 v0 = _mm256_loadu_ps(w[0] + k + h * VEC);
            __m256 v1 = _mm256_loadu_ps(w[1] + k + h * VEC);
#pragma GCC unroll 3
            for (int32_t i = 0; i < n_x; i++) {
                __m256 xv = _mm256_loadu_ps(x + (size_t)i * (size_t)ldx + k + h * VEC);
                a[0][i][h] = _mm256_fmadd_ps(v0, xv, a[0][i][h]);
                a[1][i][h] = _mm256_fmadd_ps(v1, xv, a[1][i][h]);
            }
        }
    }
#pragma GCC unroll 2
    for (int32_t h = 0; h < 2; h++) {
        int32_t n_left = n - k - h * VEC;
        if (n_left > 0) {
            __m256 v0 = _mm256_loadu_ps(w[0] + k + h * VEC);
            __m256 v1 = _mm256_loadu_ps(w[1] + k + h * VEC);
#pragma GCC unroll 3
            for (int32_t i = 0; i < n_x; i++) {
                __m256 xv = load_part(x + (size_t)i * (size_t)ldx + k + h * VEC, n_left);
                a[0][i][h] = _mm256_fmadd_ps(v0, xv, a[0][i][h]);
                a[1][i][h] = _mm256_fmadd_ps(v1, xv, a[1][i][h]);
            }
        }
    }
#pragma GCC unroll 2
    for (int32_t r = 0; r < 2; r++) {
#pragma GCC unroll 3
        for (int32_t i = 0; i < n_x; i++) {
            float *s = sums + (r * X_ROWS + i) * 2 * VEC;
            _mm256_storeu_ps(s, a[r][i][0]);
            _mm256_storeu_ps(s + VEC, a[r][i][1]);
        }
    }
}

/* the same over a panel of q8 integers with the scales d0, d1[n / KVASS_QBLOCK] */
FORCE_INLINE void tile_q8(const float *w0, const float *w1, const float *d0, const float *d1,
                          const float *x, int32_t ldx, int32_t n_x, int32_t n, bool first,
                          float *sums)
{
    __m256 a[2][3], t[2][3];
#pragma GCC unroll 3
    for (int32_t i = 0; i < n_x; i++) {
        const float *s = sums + i * 2 * VEC;
        a[0][i] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(s);
        a[1][i] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(s + X_ROWS * 2 * VEC);
    }
    for (int32_t k = 0; k < n; k += KVASS_QBLOCK) {
#pragma GCC unroll 4
        for (int32_t h = 0; h < KVASS_QBLOCK / VEC; h++) {
            __m256 v0 = _mm256_loadu_ps(w0 + k + h * VEC);
            __m256 v1 = _mm256_loadu_ps(w1 + k + h * VEC);
#pragma GCC unroll 3
            for (int32_t i = 0; i < n_x; i++) {
                __m256 xv = _mm256_loadu_ps(x + (size_t)i * (size_t)ldx + k + h * VEC);
                t[0][i] = h == 0 ? _mm256_mul_ps(v0, xv) : _mm256_fmadd_ps(v0, xv, t[0][i]);
                t[1][i] = h == 0 ? _mm256_mul_ps(v1, xv) : _mm256_fmadd_ps(v1, xv, t[1][i]);
            }
        }
        __m256 s0 = _mm256_set1_ps(d0[k / KVASS_QBLOCK]);
        __m256 s1 = _mm256_set1_ps(d1[k / KVASS_QBLOCK]);
#pragma GCC unroll 3
        for (int32_t i = 0; i < n_x; i++) {
            a[0][i] = _mm256_fmadd_ps(s0, t[0][i], a[0][i]);
            a[1][i] = _mm256_fmadd_ps(s1, t[1][i], a[1][i]);
        }
    }
#pragma GCC unroll 3
    for (int32_t i = 0; i < n_x; i++) {
        float *s = sums + i * 2 * VEC;
        _mm256_storeu_ps(s, a[0][i]);
        _mm256_storeu_ps(s + X_ROWS * 2 * VEC, a[1][i]);
    }
}

/* sums[n_rows, m] += panel[n_rows, n] . x[m, n]^T */
FORCE_INLINE void panel_product(panel *p, bool q8, int32_t n_rows, int32_t n, const float *x,
                                int32_t ldx, int32_t m, bool first)
{
    int32_t n_x;
    for (int32_t i = 0; i < m; i += n_x) {
        const float *xi = x + (size_t)i * (size_t)ldx;
        n_x = m - i == 2 || m - i == 4 ? 2 : 3;
        for (int32_t r = 0; r < n_rows; r += 2) {
            int32_t r1 = r + 1 < n_rows ? r + 1 : r; /* without a partner: computed twice */
            float *s = p->sums[r][i];
            if (q8 && n_x == 3) {
                tile_q8(p->w[r], p->w[r1], p->d[r], p->d[r1], xi, ldx, 3, n, first, s);
            } else if (q8) {
                tile_q8(p->w[r], p->w[r1], p->d[r], p->d[r1], xi, ldx, 2, n, first, s);
            } else if (n_x == 3) {
                tile_floats(p->w[r], p->w[r1], xi, ldx, 3, n, first, s);
            } else {
                tile_floats(p->w[r], p->w[r1], xi, ldx, 2, n, first, s);
            }
        }
    }
}

/* y[m, n_rows] from the sums */
FORCE_INLINE void panel_finish(const panel *p, bool q8, int32_t n_rows, int32_t m, float *y,
                               int32_t ldy)
{
    for (int32_t i = 0; i < m; i++) {
        for (int32_t r = 0; r < n_rows; r++) {
            __m256 v = _mm256_loadu_ps(p->sums[r][i]);
            if (!q8) {
                v = _mm256_add_ps(v, _mm256_loadu_ps(p->sums[r][i] + VEC));
            }
            y[(size_t)i * (size_t)ldy + (size_t)r] = reduce(v);
        }
    }
}

/* y[m, row0..row1-1] = x[m, n_in] . w[n_out, n_in]^T with 2 <= m <= X_ROWS */
FORCE_INLINE void matmul_block(kvass_dtype dtype, const uint8_t *w, size_t row_bytes, int32_t n_in,
                               int32_t row0, int32_t row1, const float *x, int32_t ldx, int32_t m,
                               float *y, int32_t ldy)
{
    panel p;
    for (int32_t r = row0; r < row1; r += W_ROWS) {
        int32_t n_rows = min_i32(W_ROWS, row1 - r);
        const uint8_t *rows = w + (size_t)r * row_bytes;
        for (int32_t k = 0; k == 0 || k < n_in; k += K_BLOCK) {
            int32_t n = min_i32(K_BLOCK, n_in - k);
            panel_fill(&p, dtype, rows, row_bytes, n_rows, k, n);
            panel_product(&p, is_q8(dtype), n_rows, n, x + k, ldx, m, k == 0);
        }
        panel_finish(&p, is_q8(dtype), n_rows, m, y + r, ldy);
    }
}

FORCE_INLINE void matmul(kvass_dtype dtype, const void *w, size_t row_bytes, int32_t n_in,
                         int32_t row0, int32_t row1, const float *x, int32_t ldx, int32_t m,
                         float *y, int32_t ldy)
{
    for (int32_t i = 0, n; i < m; i += n) {
        const float *xi = x + (size_t)i * (size_t)ldx;
        float *yi = y + (size_t)i * (size_t)ldy;
        n = min_i32(X_ROWS, m - i);
        if (n == 1) {
            matvec(dtype, w, row_bytes, n_in, row0, row1, xi, yi);
        } else {
            matmul_block(dtype, w, row_bytes, n_in, row0, row1, xi, ldx, n, yi, ldy);
        }
    }
}

static void matmul_f32(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                       const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_F32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_f16(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                       const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_F16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_bf16(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                        const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_BF16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_q8_0(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                        const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q8_0, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_q8_f32(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                          const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q8_F32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

/* ---- widening -------------------------------------------------------------------------------- */

FORCE_INLINE void widen_halves(kvass_dtype dtype, const void *in, int32_t n, float *out)
{
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        _mm256_storeu_ps(out + i, load_vec(dtype, in, i));
    }
    store_part(out + i, n - i, load_vec_part(dtype, in, i, n - i));
}

FORCE_INLINE void widen_q8(kvass_dtype dtype, const void *in, int32_t n, float *out)
{
    for (int32_t i = 0; i < n; i += KVASS_QBLOCK) {
        const uint8_t *q;
        __m256 d = load_scale(dtype, (const uint8_t *)in + bytes_of(dtype, i), &q);
        for (int32_t j = 0; j < KVASS_QBLOCK / VEC; j++) {
            _mm256_storeu_ps(out + i + j * VEC, _mm256_mul_ps(d, load_q8(q, j)));
        }
    }
}

static void widen_f16(const void *in, int32_t n, float *out)
{
    widen_halves(KVASS_DTYPE_F16, in, n, out);
}

static void widen_bf16(const void *in, int32_t n, float *out)
{
    widen_halves(KVASS_DTYPE_BF16, in, n, out);
}

static void widen_q8_0(const void *in, int32_t n, float *out)
{
    widen_q8(KVASS_DTYPE_Q8_0, in, n, out);
}

static void widen_q8_f32(const void *in, int32_t n, float *out)
{
    widen_q8(KVASS_DTYPE_Q8_F32, in, n, out);
}

void kvass_avx2_fill_matmul(kvass_kernels *k)
{
    k->matmul[KVASS_DTYPE_F32] = matmul_f32;
    k->matmul[KVASS_DTYPE_F16] = matmul_f16;
    k->matmul[KVASS_DTYPE_BF16] = matmul_bf16;
    k->matmul[KVASS_DTYPE_Q8_0] = matmul_q8_0;
    k->matmul[KVASS_DTYPE_Q8_F32] = matmul_q8_f32;
    k->widen[KVASS_DTYPE_F16] = widen_f16; /* f32 is a copy: scalar's */
    k->widen[KVASS_DTYPE_BF16] = widen_bf16;
    k->widen[KVASS_DTYPE_Q8_0] = widen_q8_0;
    k->widen[KVASS_DTYPE_Q8_F32] = widen_q8_f32;
}
