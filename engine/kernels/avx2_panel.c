/* avx2_panel.c - products of stored weights with many vectors at once.
 *
 * Called by avx2_matmul.c, whose two recipes for a dot product it keeps. W_ROWS weight rows by
 * K_BLOCK columns are widened into a panel that stays in the first cache; tiles of 2 rows x 3
 * vectors run over it, and partial sums wait in memory from one panel to the next. Each tile
 * fetches a few lines of the rows that come next, so that the memory works while the arithmetic
 * does.
 */
#include "engine/kernels/avx2.h"

#define W_ROWS  8   /* weight rows of a panel */
#define X_ROWS  24  /* vectors that use a panel once it is filled */
#define K_BLOCK 512 /* columns of a panel */

typedef struct panel {
    float w[W_ROWS][K_BLOCK];                /* values; for q8 the integers */
    float d[W_ROWS][K_BLOCK / KVASS_QBLOCK]; /* q8: the scale of each block */
    float sums[W_ROWS][X_ROWS][2 * VEC];     /* partial sums; q8 uses the first vector */
} panel;

/* A load that stays one: compilers would fold it into each instruction that uses it. */
FORCE_INLINE __m256 load_once(const float *p)
{
    __m256 v = _mm256_loadu_ps(p);
    __asm__("" : "+x"(v));
    return v;
}

/* The rows that the next panel will widen, fetched a few lines with each tile of this one. */
typedef struct fetch_plan {
    const uint8_t *row; /* where the next line is: in this row, */
    size_t at;          /* so far into it */
    size_t row_bytes;
    size_t n_bytes; /* of each row that will be read */
    size_t n_lines; /* per tile */
    int32_t n_rows; /* rows left */
} fetch_plan;

FORCE_INLINE void fetch_lines(fetch_plan *plan)
{
    for (size_t i = 0; i < plan->n_lines && plan->n_rows > 0; i++) {
        _mm_prefetch((const char *)((uintptr_t)plan->row + plan->at), _MM_HINT_T1);
        plan->at += LINE;
        if (plan->at >= plan->n_bytes) {
            plan->at = 0;
            plan->row = (const uint8_t *)((uintptr_t)plan->row + plan->row_bytes);
            plan->n_rows--;
        }
    }
}

/* Widens columns k0 .. k0+n-1 of n_rows rows. Float columns are padded with zeros to a whole step.
 */
FORCE_INLINE void panel_fill(panel *p, kvass_dtype dtype, const uint8_t *w, size_t row_bytes,
                             int32_t n_rows, int32_t k0, int32_t n)
{
    for (int32_t r = 0; r < n_rows; r++) {
        const uint8_t *in = w + (size_t)r * row_bytes + bytes_of(dtype, k0);
        int32_t k = 0;
        if (dtype == KVASS_DTYPE_Q8_F32) {
            for (; k < n; k += KVASS_QBLOCK) {
                const uint8_t *q;
                __m256 d = load_scale(in + bytes_of(dtype, k), &q);
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
                __m256 xv = load_once(x + (size_t)i * (size_t)ldx + k + h * VEC);
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
                __m256 xv = load_once(x + (size_t)i * (size_t)ldx + k + h * VEC);
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
                                int32_t ldx, int32_t m, bool first, fetch_plan *plan)
{
    int32_t n_x;
    for (int32_t i = 0; i < m; i += n_x) {
        const float *xi = x + (size_t)i * (size_t)ldx;
        n_x = m - i == 2 || m - i == 4 ? 2 : 3;
        for (int32_t r = 0; r < n_rows; r += 2) {
            int32_t r1 = r + 1 < n_rows ? r + 1 : r; /* without a partner: computed twice */
            float *s = p->sums[r][i];
            fetch_lines(plan);
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

/* the vector of 8 partial sums of row r and vector i */
FORCE_INLINE __m256 panel_sums(const panel *p, bool q8, int32_t r, int32_t i)
{
    __m256 v = _mm256_loadu_ps(p->sums[r][i]);
    return q8 ? v : _mm256_add_ps(v, _mm256_loadu_ps(p->sums[r][i] + VEC));
}

/* y[m, n_rows] from the sums */
FORCE_INLINE void panel_finish(const panel *p, bool q8, int32_t n_rows, int32_t m, float *y,
                               int32_t ldy)
{
    for (int32_t i = 0; i < m; i++, y += ldy) {
        int32_t r = 0;
        for (; r + 4 <= n_rows; r += 4) {
            _mm_storeu_ps(y + r, reduce4(panel_sums(p, q8, r, i), panel_sums(p, q8, r + 1, i),
                                         panel_sums(p, q8, r + 2, i), panel_sums(p, q8, r + 3, i)));
        }
        for (; r < n_rows; r++) {
            y[r] = reduce(panel_sums(p, q8, r, i));
        }
    }
}

/* y[m, n_rows] = x[m, n_in] . w[n_rows, n_in]^T with 2 <= m <= X_ROWS, n_rows <= W_ROWS */
FORCE_INLINE void matmul_block(kvass_dtype dtype, panel *p, const uint8_t *w, size_t row_bytes,
                               int32_t n_rows, int32_t n_in, const float *x, int32_t ldx, int32_t m,
                               float *y, int32_t ldy)
{
    for (int32_t k = 0; k == 0 || k < n_in; k += K_BLOCK) {
        int32_t n = min_i32(K_BLOCK, n_in - k);
        const size_t n_bytes = bytes_of(dtype, n);
        fetch_plan plan = {
            .row = (const uint8_t *)((uintptr_t)w + W_ROWS * row_bytes + bytes_of(dtype, k)),
            .row_bytes = row_bytes,
            .n_bytes = n_bytes,
            .n_lines = W_ROWS * n_bytes / LINE / (size_t)(m * 4 / 3) + 1,
            .n_rows = W_ROWS};
        panel_fill(p, dtype, w, row_bytes, n_rows, k, n);
        panel_product(p, dtype == KVASS_DTYPE_Q8_F32, n_rows, n, x + k, ldx, m, k == 0, &plan);
    }
    panel_finish(p, dtype == KVASS_DTYPE_Q8_F32, n_rows, m, y, ldy);
}

FORCE_INLINE void matmul(kvass_dtype dtype, const void *w, size_t row_bytes, int32_t n_in,
                         int32_t row0, int32_t row1, const float *x, int32_t ldx, int32_t m,
                         float *y, int32_t ldy)
{
    panel p;
    for (int32_t r = row0; r < row1; r += W_ROWS) {
        int32_t n_rows = min_i32(W_ROWS, row1 - r);
        const uint8_t *rows = (const uint8_t *)w + (size_t)r * row_bytes;
        for (int32_t i = 0, n; i < m; i += n) {
            const float *xi = x + (size_t)i * (size_t)ldx;
            float *yi = y + (size_t)i * (size_t)ldy + r;
            n = m - i == X_ROWS + 1 ? X_ROWS - 1 : min_i32(X_ROWS, m - i); /* never 1 */
            matmul_block(dtype, &p, rows, row_bytes, n_rows, n_in, xi, ldx, n, yi, ldy);
        }
    }
}

void kvass_avx2_matmul_panel(kvass_dtype dtype, const void *w, size_t row_bytes, int32_t n_in,
                             int32_t row0, int32_t row1, const float *x, int32_t ldx, int32_t m,
                             float *y, int32_t ldy)
{
    switch (dtype) { /* each case is compiled for its type */
    case KVASS_DTYPE_F32:
        matmul(KVASS_DTYPE_F32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
        break;
    case KVASS_DTYPE_F16:
        matmul(KVASS_DTYPE_F16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
        break;
    case KVASS_DTYPE_BF16:
        matmul(KVASS_DTYPE_BF16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
        break;
    case KVASS_DTYPE_Q8_F32:
        matmul(KVASS_DTYPE_Q8_F32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
        break;
    default: /* the other types are multiplied as integers */
        break;
    }
}
