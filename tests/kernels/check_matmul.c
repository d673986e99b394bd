/* check_matmul.c - checks of the products with weights that are multiplied as floats.
 *
 * Beside the oracle: a y row has the bits that m = 1 gives, and the bits do not depend on how the
 * weight rows are split over calls.
 */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

#include "engine/base/half.h"

enum {
    N_OUT = 11, /* rows of the matrix, */
    ROW0 = 1,   /* of which these are computed: nine, more than any group of rows, and odd */
    ROW1 = 10,
    SPLIT = 5,
    MAX_M = 27, /* more than one block of vectors */
    GAP = 3,    /* unused floats between rows of x and of y */
    LDY = N_OUT + GAP
};

/* Fills w[N_OUT, n_in] in its stored form and values[N_OUT, n_in] with what the form says. */
static void fill_weights(check *c, kvass_dtype dtype, fill f, int32_t n_in, unsigned char *w,
                         double *values)
{
    const int32_t n = N_OUT * n_in;
    for (int32_t i = 0; i < n; i++) {
        float x = check_fill_value(c, f, i, dtype == KVASS_DTYPE_F16 ? 6e4 : 1e17);
        if (dtype == KVASS_DTYPE_F32) {
            memcpy(w + (size_t)i * sizeof x, &x, sizeof x);
            values[i] = x;
        } else if (dtype == KVASS_DTYPE_F16 || dtype == KVASS_DTYPE_BF16) {
            bool f16 = dtype == KVASS_DTYPE_F16;
            uint16_t h = f16 ? kvass_f32_to_f16(x) : kvass_f32_to_bf16(x);
            memcpy(w + (size_t)i * sizeof h, &h, sizeof h);
            values[i] = f16 ? check_f16_value(h) : check_bf16_value(h);
        }
    }
    for (int32_t i = 0; dtype == KVASS_DTYPE_Q8_F32 && i < n; i += KVASS_QBLOCK) {
        float d = check_fill_value(c, f, i / KVASS_QBLOCK, 1e12);
        memcpy(w, &d, sizeof d);
        w += sizeof d;
        for (int32_t j = 0; j < KVASS_QBLOCK; j++, w++) {
            *w = (unsigned char)check_random(c);
            values[i + j] = (double)d * (double)(int8_t)*w;
        }
    }
}

/* one call of the product: y[m, row0..row1-1] */
typedef struct product {
    const kvass_kernels *k;
    kvass_dtype dtype;
    const unsigned char *w;
    size_t row_bytes;
    int32_t n_in;
    const float *x; /* [m, n_in], n_in + GAP apart */
} product;

static void run(const product *p, int32_t row0, int32_t row1, int32_t i, int32_t m, float *y)
{
    p->k->matmul[p->dtype](p->w, p->row_bytes, p->n_in, row0, row1,
                           p->x + (size_t)i * (size_t)(p->n_in + GAP), p->n_in + GAP, m, y, LDY);
}

static void check_values(check *c, const product *p, const double *values, fill f, int32_t m,
                         const float *y)
{
    static float reference[MAX_M * LDY];
    product scalar = *p;
    scalar.k = c->scalar;
    run(&scalar, ROW0, ROW1, 0, m, reference);
    for (int32_t i = 0; i < m; i++) {
        const float *x = p->x + (size_t)i * (size_t)(p->n_in + GAP);
        for (int32_t r = ROW0; r < ROW1; r++) {
            double expected = 0.0, size = 0.0;
            for (int32_t j = 0; j < p->n_in; j++) {
                double term = values[(size_t)r * (size_t)p->n_in + (size_t)j] * x[j];
                expected += term;
                size += fabs(term);
            }
            double bound = (p->n_in / 16 + 10) * UNIT_ROUNDOFF * size + 200.0 * p->n_in * TINY;
            check_close_to(c, "matmul", p->n_in, i * N_OUT + r, y[i * LDY + r], expected, bound);
            if (f == FILL_NORMAL) {
                check_agree(c, y[i * LDY + r], reference[i * LDY + r]);
            }
        }
    }
}

/* y rows against m = 1, against rows split over calls; what lies beside the rows is as it was */
static void check_bits(check *c, const product *p, int32_t m, const float *y, const float *before)
{
    static float other[MAX_M * LDY];
    for (int32_t i = 0; i < m; i++) {
        run(p, ROW0, ROW1, i, 1, other);
        if (!check_same(y + i * LDY + ROW0, other + ROW0, ROW1 - ROW0)) {
            check_fail(c, "matmul: n_in = %d, m = %d: row %d has other bits than m = 1 gives",
                       (int)p->n_in, (int)m, (int)i);
        }
    }
    memcpy(other, before, (size_t)(m * LDY) * sizeof *other);
    run(p, ROW0, SPLIT, 0, m, other);
    run(p, SPLIT, ROW1, 0, m, other);
    if (!check_same(y, other, m * LDY)) {
        check_fail(c,
                   "matmul: n_in = %d, m = %d: splitting the rows changes bits, or a value "
                   "beside them was written",
                   (int)p->n_in, (int)m);
    }
    for (int32_t i = 0; i < m * LDY; i++) {
        int32_t r = i % LDY;
        if ((r < ROW0 || r >= ROW1) && !check_same(y + i, before + i, 1)) {
            check_fail(c, "matmul: n_in = %d, m = %d: wrote row %d of y", (int)p->n_in, (int)m,
                       (int)r);
        }
    }
}

static void check_product(check *c, const kvass_kernels *k, kvass_dtype dtype, int32_t n_in,
                          int32_t m, int32_t place, fill f)
{
    static double values[N_OUT * 4128];
    static float before[MAX_M * LDY];
    const size_t unit = dtype == KVASS_DTYPE_F32 || dtype == KVASS_DTYPE_Q8_F32 ? 4 : 2;
    product p = {.k = k, .dtype = dtype, .n_in = n_in};
    kvass_dtype_row_bytes(dtype, n_in, &p.row_bytes);

    unsigned char *w = check_take(c, 0, N_OUT * p.row_bytes / unit, unit, place);
    fill_weights(c, dtype, f, n_in, w, values);
    p.w = w;
    p.x = check_take_floats(c, 1, (size_t)((m - 1) * (n_in + GAP) + n_in), place, f);
    float *y = check_take_floats(c, 2, (size_t)(m * LDY), place, FILL_NORMAL);
    memcpy(before, y, (size_t)(m * LDY) * sizeof *y);
    check_freeze(c, 0);
    check_freeze(c, 1);

    run(&p, ROW0, ROW1, 0, m, y);
    check_values(c, &p, values, f, m, y);
    check_bits(c, &p, m, y, before);
    check_guards(c, "matmul", n_in);
}

static void check_matmul(check *c, const kvass_kernels *k, kvass_dtype dtype)
{
    static const int32_t ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 24, 25, 27};
    static const int32_t more[] = {511, 512, 513, 1000, 1056, 1300};
    const int32_t unit = kvass_dtype_get(dtype)->n_block;
    int32_t turn = 0;
    for (check_case t = {0}; check_next(c, &t); turn++) {
        int32_t n_in = unit == 1 ? t.n : t.n > 127 ? t.n / unit * unit : t.n % 5 * unit;
        check_product(c, k, dtype, n_in, ms[turn % 9], t.place, t.fill);
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0] && !c->failed; i++) {
        for (size_t j = 0; j < sizeof ms / sizeof ms[0] && !c->failed; j++) {
            check_product(c, k, dtype, more[i] / unit * unit, ms[j], (int32_t)j % c->n_places,
                          FILL_NORMAL);
        }
    }
    check_agree_end(c, "matmul");
}

void check_matmul_f32(check *c, const kvass_kernels *k)
{
    check_matmul(c, k, KVASS_DTYPE_F32);
}

void check_matmul_f16(check *c, const kvass_kernels *k)
{
    check_matmul(c, k, KVASS_DTYPE_F16);
}

void check_matmul_bf16(check *c, const kvass_kernels *k)
{
    check_matmul(c, k, KVASS_DTYPE_BF16);
}

void check_matmul_q8_f32(check *c, const kvass_kernels *k)
{
    check_matmul(c, k, KVASS_DTYPE_Q8_F32);
}
