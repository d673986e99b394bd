/* check_int.c - checks of the integer products: how activations are rounded, and every type's
 * product, packed and not.
 *
 * The scalar table is held to a double oracle, the others to its bits. A y row has the bits that
 * m = 1 gives, however the weight rows are split over calls.
 */
#include <math.h>
#include <string.h>

#include "engine/base/half.h"
#include "engine/base/packed.h"
#include "tests/kernels/check.h"

enum {
    N_OUT = 37, /* rows: two groups and a few */
    ROW0 = 16,  /* of which these are computed, besides all */
    SPLIT = 32,
    MAX_M = 35,
    MAX_IN = 1536,
    GAP = 3,
    LDY = N_OUT + GAP
};

/* ---- rounding -------------------------------------------------------------------------------- */

/* what the header says, in double */
static void check_rounded(check *c, const float *x, int32_t n, const int8_t *q, const float *d,
                          const int32_t *sum)
{
    for (int32_t k = 0; k < n; k += KVASS_QBLOCK) {
        double max = 0.0;
        int32_t total[2] = {0}, b = k / KVASS_QBLOCK;
        bool finite = true;
        for (int32_t i = k; i < k + KVASS_QBLOCK; i++) {
            finite = finite && isfinite(x[i]);
            max = fabs((double)x[i]) > max ? fabs((double)x[i]) : max;
            total[i % KVASS_QBLOCK / KVASS_QHALF] += q[i];
        }
        if (total[0] != sum[2 * b] || total[1] != sum[2 * b + 1]) {
            check_fail(c, "quantize: n = %d: sums %d, %d of integers that sum to %d, %d", (int)n,
                       (int)sum[2 * b], (int)sum[2 * b + 1], (int)total[0], (int)total[1]);
        }
        double size = !finite ? NAN : max < 0x1p-100 ? 0.0 : max / 127.0;
        check_close_to(c, "quantize: scale", n, b, d[b], size, size * UNIT_ROUNDOFF + TINY);
        for (int32_t i = k; i < k + KVASS_QBLOCK; i++) {
            double exact = finite && size > 0.0 ? x[i] / size : 0.0;
            check_close_to(c, "quantize", n, i, q[i], exact, 0.5 + 127.0 * 3.0 * UNIT_ROUNDOFF);
        }
    }
}

void check_quantize(check *c, const kvass_kernels *k)
{
    static int8_t other_q[8192];
    static float other_d[8192 / KVASS_QBLOCK];
    static int32_t other_sum[8192 / KVASS_QHALF];
    int32_t turn = 0;
    for (check_case t = {0}; check_next(c, &t); turn++) {
        int32_t n_blocks = t.n % 130, n = n_blocks * KVASS_QBLOCK;
        float *x = check_take_floats(c, 0, (size_t)n, t.place, t.fill);
        int8_t *q = check_take(c, 1, (size_t)n, 1, t.place);
        float *d = check_take(c, 2, (size_t)n_blocks, sizeof *d, t.place);
        int32_t *sum = check_take(c, 3, 2 * (size_t)n_blocks, sizeof *sum, t.place);
        if (n > 0 && turn % 5 == 0) {
            static const float odd[] = {NAN, INFINITY, -INFINITY, 1e-31f, 0x1p-100f, -0.0f};
            x[check_random(c) % (uint64_t)n] = odd[turn / 5 % 6];
        }
        check_freeze(c, 0);
        k->quantize(x, n, q, d, sum);
        check_rounded(c, x, n, q, d, sum);
        c->scalar->quantize(x, n, other_q, other_d, other_sum);
        if (memcmp(q, other_q, (size_t)n) != 0 || !check_same(d, other_d, n_blocks) ||
            memcmp(sum, other_sum, 2 * (size_t)n_blocks * sizeof *sum) != 0) {
            check_fail(c, "quantize: n = %d: not the bits of scalar", (int)n);
        }
        check_guards(c, "quantize", n);
    }
}

/* ---- products -------------------------------------------------------------------------------- */

/* whether byte i of a block is the second of one of its halves */
static bool ends_half(kvass_dtype dtype, int32_t i)
{
    bool minimum = kvass_packed_head(dtype) > 2;
    int32_t at = dtype == KVASS_DTYPE_Q2_K   ? 80
                 : dtype == KVASS_DTYPE_Q3_K ? 108
                 : dtype == KVASS_DTYPE_Q6_K ? 208
                                             : 0;
    return i == at + 1 || (minimum && i == at + 3);
}

/* Blocks of any bytes, but of halves below 2: the top bit of their exponents is cleared. Their
 * values are the scalar kernel's, which a golden holds to the reference. */
static void fill_weights(check *c, kvass_dtype dtype, int32_t n_in, size_t row_bytes,
                         unsigned char *w, float *values)
{
    const int32_t block_bytes = kvass_dtype_get(dtype)->block_bytes;
    for (int32_t r = 0; r < N_OUT; r++, w += row_bytes) {
        for (size_t i = 0; i < row_bytes; i++) {
            uint64_t byte = check_random(c);
            bool half = ends_half(dtype, (int32_t)(i % (size_t)block_bytes));
            w[i] = (unsigned char)(half ? byte & 0xbf : byte);
        }
        c->scalar->widen[dtype](w, n_in, values + (size_t)r * (size_t)n_in);
    }
}

static void check_oracle(check *c, const kvass_weight *w, const float *values, const kvass_acts *x,
                         int32_t m, const float *y)
{
    for (int32_t i = 0; i < m; i++) {
        for (int32_t r = 0; r < N_OUT; r++) {
            double expected = 0.0, size = 0.0;
            for (int32_t k = 0; k < w->n_in; k++) {
                size_t at = (size_t)i * (size_t)w->n_in + (size_t)k;
                double term = (double)values[(size_t)r * (size_t)w->n_in + (size_t)k] *
                              (double)x->d[at / KVASS_QBLOCK] * x->q[at];
                expected += term;
                size += fabs(term);
            }
            /* a group with an offset is two numbers of up to 16 times the values' size */
            double bound = (w->n_in / 8 + 20) * UNIT_ROUNDOFF * 32.0 * size + 200.0 * TINY;
            check_close_to(c, "matmul_int", w->n_in, i * N_OUT + r, y[i * LDY + r], expected,
                           bound);
        }
    }
}

static void check_bits(check *c, const kvass_kernels *k, const kvass_weight *w, const kvass_acts *x,
                       int32_t m, const float *y, const float *before)
{
    static float other[MAX_M * LDY];
    memcpy(other, before, (size_t)(m * LDY) * sizeof *other);
    c->scalar->matmul_int[w->dtype](w, 0, N_OUT, x, m, other, LDY);
    if (!check_same(y, other, m * LDY)) {
        check_fail(c, "matmul_int: %s, n_in = %d, m = %d: not the bits of scalar",
                   kvass_dtype_name(w->dtype), (int)w->n_in, (int)m);
    }
    memcpy(other, before, (size_t)(m * LDY) * sizeof *other);
    k->matmul_int[w->dtype](w, 0, ROW0, x, m, other, LDY);
    k->matmul_int[w->dtype](w, ROW0, SPLIT, x, m, other, LDY);
    k->matmul_int[w->dtype](w, SPLIT, N_OUT, x, m, other, LDY);
    if (!check_same(y, other, m * LDY)) {
        check_fail(c, "matmul_int: %s, n_in = %d, m = %d: splitting the rows changes bits",
                   kvass_dtype_name(w->dtype), (int)w->n_in, (int)m);
    }
    for (int32_t i = 0; i < m; i++) {
        size_t at = (size_t)i * (size_t)w->n_in;
        kvass_acts one = {x->q + at, x->d + at / KVASS_QBLOCK, x->sum + at / KVASS_QHALF};
        k->matmul_int[w->dtype](w, 0, N_OUT, &one, 1, other, LDY);
        if (!check_same(y + i * LDY, other, N_OUT)) {
            check_fail(c, "matmul_int: %s, n_in = %d, m = %d: row %d has other bits than m = 1",
                       kvass_dtype_name(w->dtype), (int)w->n_in, (int)m, (int)i);
        }
    }
}

static void check_product(check *c, const kvass_kernels *k, kvass_dtype dtype, int32_t n_in,
                          int32_t m, int32_t place, bool packed)
{
    static float values[N_OUT * MAX_IN], floats[MAX_M * MAX_IN], before[MAX_M * LDY];
    static unsigned char scratch[KVASS_PACK_ROWS * MAX_IN * 2];
    const size_t n = (size_t)m * (size_t)n_in, n_blocks = n / KVASS_QBLOCK;
    kvass_weight w = {.dtype = dtype, .n_out = N_OUT, .n_in = n_in, .packed = packed};
    kvass_dtype_row_bytes(dtype, n_in, &w.row_bytes);

    unsigned char *rows = check_take(c, 0, N_OUT * w.row_bytes / 2, 2, place);
    fill_weights(c, dtype, n_in, w.row_bytes, rows, values);
    if (packed) {
        kvass_pack_rows(dtype, rows, w.row_bytes, N_OUT, scratch);
    }
    w.data = rows;
    kvass_acts x = {check_take(c, 1, n, 1, place), check_take(c, 2, n_blocks, 4, place),
                    check_take(c, 3, 2 * n_blocks, 4, place)};
    check_fill_floats(c, FILL_NORMAL, floats, n);
    if (m % 3 == 0) {
        for (size_t i = 0; i < n; i++) {
            floats[i] = i % 7 < 4 ? -1.0f : 1.0f; /* the largest integers of either sign */
        }
    }
    c->scalar->quantize(floats, (int32_t)n, x.q, x.d, x.sum);
    float *y = check_take_floats(c, 4, (size_t)(m * LDY), place, FILL_NORMAL);
    memcpy(before, y, (size_t)(m * LDY) * sizeof *y);
    for (int32_t i = 0; i < 4; i++) {
        check_freeze(c, i);
    }
    k->matmul_int[dtype](&w, 0, N_OUT, &x, m, y, LDY);
    check_oracle(c, &w, values, &x, m, y);
    check_bits(c, k, &w, &x, m, y, before);
    check_guards(c, "matmul_int", n_in);
}

void check_matmul_int(check *c, const kvass_kernels *k)
{
    static const int32_t ms[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 33, 35};
    enum { N_MS = sizeof ms / sizeof ms[0] };
    for (int d = 0; d < KVASS_N_DTYPES; d++) {
        kvass_dtype dtype = (kvass_dtype)d;
        const int32_t unit = kvass_dtype_get(dtype)->n_block;
        for (int32_t i = 0; kvass_dtype_is_integer(dtype) && i < 3 * N_MS && !c->failed; i++) {
            int32_t n_in = unit * (int32_t)(1 + check_random(c) % (uint64_t)(MAX_IN / unit / 2));
            n_in = i % N_MS == 0 ? MAX_IN : i % N_MS == 1 ? unit : n_in;
            check_product(c, k, dtype, n_in, ms[i % N_MS], i % c->n_places, i % 3 > 0);
        }
    }
}
