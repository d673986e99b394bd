/* check_kv_quant.c - checks of the kernels that read quantized cache rows.
 *
 * Values come from the definition, in double; a score has the bits that its query and row give
 * alone, and splitting the rows over calls, or the query heads, leaves the sums' bits as they are.
 */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

#include "engine/base/half.h"

enum { MAX_Q = 9, MAX_ROWS = 32, MAX_DIM = 512, GAP = 2, LD = MAX_ROWS + GAP };

static const int32_t head_dims[] = {1,  2,  5,  8,  15, 16, 31,  32,  33,  40,
                                    48, 63, 64, 72, 80, 96, 128, 255, 256, 290};
static const int32_t row_counts[] = {0, 1, 2, 3, 7, 31, 32};
static const int32_t query_counts[] = {1, 2, 3, 4, 5, 7, 9};
#define N_OF(a) ((int32_t)(sizeof(a) / sizeof(a)[0]))

typedef struct quant_case {
    bool is_q4, is_key;
    int32_t n_q, head_dim, n_rows, place;
    fill fill;
    const unsigned char *bytes;           /* the integers of the rows */
    const uint16_t *steps, *minima;       /* per channel, or per block of a row */
    double values[MAX_ROWS * MAX_DIM];    /* of the rows */
    double magnitude[MAX_ROWS * MAX_DIM]; /* |minimum| + |step * q|: what rounding is relative to */
} quant_case;

static int32_t row_bytes(const quant_case *t)
{
    return t->is_q4 ? kvass_kv_nibble_bytes(t->head_dim) : t->head_dim;
}

/* scales that belong to one row; those of q4's keys belong to all */
static int32_t row_scales(const quant_case *t)
{
    return t->is_q4 && t->is_key ? 0 : kvass_kv_blocks(t->head_dim);
}

static uint16_t random_half(check *c, double size)
{
    return kvass_f32_to_f16((float)(check_normal(c) * size));
}

/* the integer of row j, column d */
static int32_t integer_at(const quant_case *t, int32_t j, int32_t d)
{
    const unsigned char *row = t->bytes + (size_t)j * (size_t)row_bytes(t);
    if (!t->is_q4) {
        return (int8_t)row[d];
    }
    int32_t block = d / KVASS_KV_BLOCK, left = t->head_dim - block * KVASS_KV_BLOCK;
    int32_t half = ((left < KVASS_KV_BLOCK ? left : KVASS_KV_BLOCK) + 1) / 2;
    int32_t i = d % KVASS_KV_BLOCK;
    unsigned char byte = row[block * (KVASS_KV_BLOCK / 2) + i % half];
    return i < half ? byte % 16 : byte / 16;
}

/* Takes slots 0 to 2 for the rows of the case. */
static void take_rows(check *c, quant_case *t)
{
    size_t n_bytes = (size_t)t->n_rows * (size_t)row_bytes(t);
    int32_t n_scales = row_scales(t) > 0 ? t->n_rows * row_scales(t) : t->head_dim;
    unsigned char *bytes = check_take(c, 0, n_bytes, 1, t->place);
    uint16_t *steps = check_take(c, 1, (size_t)n_scales, sizeof *steps, t->place);
    uint16_t *minima = check_take(c, 2, (size_t)n_scales, sizeof *minima, t->place);
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = (unsigned char)check_random(c);
    }
    for (int32_t i = 0; i < n_scales; i++) {
        steps[i] = random_half(c, 0.02);
        minima[i] = random_half(c, 1.0);
    }
    t->bytes = bytes;
    t->steps = steps;
    t->minima = minima;
    for (int32_t j = 0; j < t->n_rows; j++) {
        for (int32_t d = 0; d < t->head_dim; d++) {
            int32_t per_row = row_scales(t);
            int32_t at = per_row > 0 ? j * per_row + d / KVASS_KV_BLOCK : d;
            double part = check_f16_value(steps[at]) * integer_at(t, j, d);
            double minimum = t->is_q4 ? check_f16_value(minima[at]) : 0.0;
            t->values[j * t->head_dim + d] = minimum + part;
            t->magnitude[j * t->head_dim + d] = fabs(minimum) + fabs(part);
        }
    }
    for (int32_t i = 0; i < 3; i++) {
        check_freeze(c, i);
    }
}

static void run_dot(const kvass_kernels *k, const quant_case *t, const float *q, int32_t n_q,
                    int32_t j, int32_t n_rows, float scale, float *scores)
{
    const unsigned char *rows = t->bytes + (size_t)j * (size_t)row_bytes(t);
    const uint16_t *steps = t->steps + (size_t)j * (size_t)row_scales(t);
    if (t->is_q4) {
        k->kv_dot_q4(q, n_q, t->head_dim, rows, t->minima, steps, n_rows, scale, scores, LD);
    } else {
        k->kv_dot_q8(q, n_q, t->head_dim, (const int8_t *)rows, steps, n_rows, scale, scores, LD);
    }
}

static void run_acc(const kvass_kernels *k, const quant_case *t, const float *w, int32_t n_q,
                    int32_t j, int32_t n_rows, float *out)
{
    const unsigned char *rows = t->bytes + (size_t)j * (size_t)row_bytes(t);
    size_t skip = (size_t)j * (size_t)row_scales(t);
    if (t->is_q4) {
        k->kv_acc_q4(w + j, LD, n_q, t->head_dim, rows, t->minima + skip, t->steps + skip, n_rows,
                     out);
    } else {
        k->kv_acc_q8(w + j, LD, n_q, t->head_dim, (const int8_t *)rows, t->steps + skip, n_rows,
                     out);
    }
}

static void check_dot_case(check *c, const kvass_kernels *k, quant_case *t)
{
    static float reference[MAX_Q * LD];
    const char *what = t->is_q4 ? "kv_dot_q4" : "kv_dot_q8";
    const float scale = 0.125f;
    take_rows(c, t);
    float *q = check_take_floats(c, 3, (size_t)(t->n_q * t->head_dim), t->place, t->fill);
    float *scores = check_take_floats(c, 4, (size_t)(t->n_q * LD), t->place, FILL_EQUAL);
    check_freeze(c, 3);
    run_dot(k, t, q, t->n_q, 0, t->n_rows, scale, scores);
    run_dot(c->scalar, t, q, t->n_q, 0, t->n_rows, scale, reference);
    for (int32_t i = 0; i < t->n_q * LD; i++) {
        int32_t g = i / LD, j = i % LD;
        if (j >= t->n_rows) {
            check_close_to(c, what, t->head_dim, i, scores[i], 0.37f, 0.0);
            continue;
        }
        double expected = 0.0, size = 0.0;
        for (int32_t d = 0; d < t->head_dim; d++) {
            double x = q[g * t->head_dim + d];
            expected += x * t->values[j * t->head_dim + d];
            size += fabs(x) * t->magnitude[j * t->head_dim + d];
        }
        check_close_to(c, what, t->head_dim, i, scores[i], expected * (double)scale,
                       (t->head_dim + 10) * (UNIT_ROUNDOFF * size * (double)scale + TINY));
        float alone;
        run_dot(k, t, q + g * t->head_dim, 1, j, 1, scale, &alone);
        if (!check_same(&alone, &scores[i], 1)) {
            check_fail(c, "%s: head_dim %d, n_q %d: score %d, %d has other bits than alone", what,
                       (int)t->head_dim, (int)t->n_q, (int)g, (int)j);
        }
        if (t->fill == FILL_NORMAL) {
            check_agree(c, scores[i], reference[i]);
        }
    }
    check_guards(c, what, t->head_dim);
}

static void check_acc_case(check *c, const kvass_kernels *k, quant_case *t)
{
    static float in[MAX_Q * MAX_DIM], other[MAX_Q * MAX_DIM], reference[MAX_Q * MAX_DIM];
    const char *what = t->is_q4 ? "kv_acc_q4" : "kv_acc_q8";
    const int32_t n = t->n_q * t->head_dim;
    take_rows(c, t);
    float *w = check_take_floats(c, 3, (size_t)((t->n_q - 1) * LD + t->n_rows), t->place, t->fill);
    float *out = check_take_floats(c, 4, (size_t)n, t->place, t->fill);
    check_freeze(c, 3);
    memcpy(in, out, (size_t)n * sizeof *out);
    memcpy(reference, out, (size_t)n * sizeof *out);
    run_acc(k, t, w, t->n_q, 0, t->n_rows, out);
    run_acc(c->scalar, t, w, t->n_q, 0, t->n_rows, reference);
    for (int32_t i = 0; i < n; i++) {
        int32_t g = i / t->head_dim, d = i % t->head_dim;
        double expected = in[i], size = fabs((double)in[i]);
        for (int32_t j = 0; j < t->n_rows; j++) {
            double x = w[g * LD + j];
            expected += x * t->values[j * t->head_dim + d];
            size += fabs(x) * t->magnitude[j * t->head_dim + d];
        }
        check_close_to(c, what, t->head_dim, i, out[i], expected,
                       (t->n_rows + 4) * (UNIT_ROUNDOFF * size + TINY));
        if (t->fill == FILL_NORMAL) {
            check_agree(c, out[i], reference[i]);
        }
    }
    int32_t split = (int32_t)(check_random(c) % (uint64_t)(t->n_rows + 1));
    memcpy(other, in, (size_t)n * sizeof *out);
    for (int32_t g = 0; g < t->n_q; g++) {
        float *o = other + g * t->head_dim;
        run_acc(k, t, w + g * LD, 1, 0, split, o);
        run_acc(k, t, w + g * LD, 1, split, t->n_rows - split, o);
    }
    if (!check_same(out, other, n)) {
        check_fail(c, "%s: head_dim %d, n_q %d: splitting %d rows at %d changes bits", what,
                   (int)t->head_dim, (int)t->n_q, (int)t->n_rows, (int)split);
    }
    check_guards(c, what, t->head_dim);
}

/* All head_dims x row counts x query counts; places and fills take turns. */
static void check_cases(check *c, const kvass_kernels *k, bool is_q4, bool is_key)
{
    static quant_case t;
    int32_t turn = 0;
    t.is_q4 = is_q4;
    t.is_key = is_key;
    for (int32_t d = 0; d < N_OF(head_dims); d++) {
        for (int32_t r = 0; r < N_OF(row_counts); r++) {
            for (int32_t q = 0; q < N_OF(query_counts) && !c->failed; q++, turn++) {
                t.n_q = query_counts[q];
                t.n_rows = row_counts[r];
                t.head_dim = head_dims[d];
                t.place = turn % c->n_places;
                t.fill = (fill)(turn % 7 < N_FILLS ? turn % 7 : FILL_NORMAL);
                (is_key ? check_dot_case : check_acc_case)(c, k, &t);
            }
        }
    }
    check_agree_end(c, is_q4 ? "4-bit rows" : "8-bit rows");
}

void check_kv_dot_q8(check *c, const kvass_kernels *k)
{
    check_cases(c, k, false, true);
}

void check_kv_acc_q8(check *c, const kvass_kernels *k)
{
    check_cases(c, k, false, false);
}

void check_kv_dot_q4(check *c, const kvass_kernels *k)
{
    check_cases(c, k, true, true);
}

void check_kv_acc_q4(check *c, const kvass_kernels *k)
{
    check_cases(c, k, true, false);
}
