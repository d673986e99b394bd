/* check_cache.c - checks of the kernels that read cache rows.
 *
 * Beside the oracle: a score has the bits that its query and row give alone, and splitting the rows
 * over calls, or the query heads, leaves the sums' bits as they are.
 */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

#include "engine/base/half.h"

enum { MAX_Q = 9, MAX_ROWS = 131, MAX_DIM = 256, GAP = 2, LD = MAX_ROWS + GAP };

static const int32_t head_dims[] = {4,  5,  6,  7,  8,  9,  10, 11, 12, 13,  14,  15,  16, 17,
                                    31, 32, 33, 48, 63, 64, 65, 80, 96, 127, 128, 255, 256};
static const int32_t row_counts[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 63, 64, 65, 131};
static const int32_t query_counts[] = {1, 2, 3, 4, 5, 6, 7, 9};
#define N_OF(a) ((int32_t)(sizeof(a) / sizeof(a)[0]))

typedef struct cache_case {
    bool f16;
    int32_t n_q, head_dim, n_rows, place;
    fill fill;
    const void *rows;
    double values[MAX_ROWS * MAX_DIM]; /* of the rows */
} cache_case;

/* Takes slot 0 for the rows of the case. */
static void take_rows(check *c, cache_case *t)
{
    int32_t n = t->n_rows * t->head_dim;
    if (t->f16) {
        uint16_t *rows = check_take(c, 0, (size_t)n, sizeof *rows, t->place);
        for (int32_t i = 0; i < n; i++) {
            rows[i] = kvass_f32_to_f16(check_fill_value(c, t->fill, i, 6e4));
            t->values[i] = check_f16_value(rows[i]);
        }
        t->rows = rows;
    } else {
        float *rows = check_take_floats(c, 0, (size_t)n, t->place, t->fill);
        for (int32_t i = 0; i < n; i++) {
            t->values[i] = rows[i];
        }
        t->rows = rows;
    }
    check_freeze(c, 0);
}

static const void *row_at(const cache_case *t, int32_t j)
{
    size_t value_bytes = t->f16 ? sizeof(uint16_t) : sizeof(float);
    return (const unsigned char *)t->rows + (size_t)(j * t->head_dim) * value_bytes;
}

static void run_dot(const kvass_kernels *k, const cache_case *t, const float *q, int32_t n_q,
                    int32_t j, int32_t n_rows, float scale, float *scores)
{
    if (t->f16) {
        k->kv_dot_f16(q, n_q, t->head_dim, row_at(t, j), n_rows, scale, scores, LD);
    } else {
        k->kv_dot_f32(q, n_q, t->head_dim, row_at(t, j), n_rows, scale, scores, LD);
    }
}

static void run_acc(const kvass_kernels *k, const cache_case *t, const float *w, int32_t n_q,
                    int32_t j, int32_t n_rows, float *out)
{
    if (t->f16) {
        k->kv_acc_f16(w + j, LD, n_q, t->head_dim, row_at(t, j), n_rows, out);
    } else {
        k->kv_acc_f32(w + j, LD, n_q, t->head_dim, row_at(t, j), n_rows, out);
    }
}

static void check_dot_case(check *c, const kvass_kernels *k, cache_case *t)
{
    static float reference[MAX_Q * LD];
    const float scale = 0.125f;
    take_rows(c, t);
    float *q = check_take_floats(c, 1, (size_t)(t->n_q * t->head_dim), t->place, t->fill);
    float *scores = check_take_floats(c, 2, (size_t)(t->n_q * LD), t->place, FILL_EQUAL);
    check_freeze(c, 1);
    run_dot(k, t, q, t->n_q, 0, t->n_rows, scale, scores);
    run_dot(c->scalar, t, q, t->n_q, 0, t->n_rows, scale, reference);
    for (int32_t i = 0; i < t->n_q * LD; i++) {
        int32_t g = i / LD, j = i % LD;
        if (j >= t->n_rows) {
            check_close_to(c, "kv_dot beside the scores", t->head_dim, i, scores[i], 0.37f, 0.0);
            continue;
        }
        double expected = 0.0, size = 0.0;
        for (int32_t d = 0; d < t->head_dim; d++) {
            double term = (double)q[g * t->head_dim + d] * t->values[j * t->head_dim + d];
            expected += term;
            size += fabs(term);
        }
        check_close_to(c, "kv_dot", t->head_dim, i, scores[i], expected * (double)scale,
                       (t->head_dim / 8 + 10) * UNIT_ROUNDOFF * size * (double)scale +
                           (t->head_dim + 1) * TINY);
        float alone;
        run_dot(k, t, q + g * t->head_dim, 1, j, 1, scale, &alone);
        if (!check_same(&alone, &scores[i], 1)) {
            check_fail(c,
                       "kv_dot: head_dim %d, n_q %d, n_rows %d: score %d, %d has other bits "
                       "than alone",
                       (int)t->head_dim, (int)t->n_q, (int)t->n_rows, (int)g, (int)j);
        }
        if (t->fill == FILL_NORMAL) {
            check_agree(c, scores[i], reference[i]);
        }
    }
    check_guards(c, "kv_dot", t->head_dim);
}

static void check_acc_case(check *c, const kvass_kernels *k, cache_case *t)
{
    static float in[MAX_Q * MAX_DIM], other[MAX_Q * MAX_DIM], reference[MAX_Q * MAX_DIM];
    const int32_t n = t->n_q * t->head_dim;
    take_rows(c, t);
    float *w = check_take_floats(c, 1, (size_t)((t->n_q - 1) * LD + t->n_rows), t->place, t->fill);
    float *out = check_take_floats(c, 2, (size_t)n, t->place, t->fill);
    check_freeze(c, 1);
    memcpy(in, out, (size_t)n * sizeof *out);
    memcpy(reference, out, (size_t)n * sizeof *out);
    run_acc(k, t, w, t->n_q, 0, t->n_rows, out);
    run_acc(c->scalar, t, w, t->n_q, 0, t->n_rows, reference);
    for (int32_t i = 0; i < n; i++) {
        int32_t g = i / t->head_dim, d = i % t->head_dim;
        double expected = in[i], size = fabs((double)in[i]);
        for (int32_t j = 0; j < t->n_rows; j++) {
            double term = (double)w[g * LD + j] * t->values[j * t->head_dim + d];
            expected += term;
            size += fabs(term);
        }
        check_close_to(c, "kv_acc", t->head_dim, i, out[i], expected,
                       (t->n_rows + 2) * (UNIT_ROUNDOFF * size + TINY));
        if (t->fill == FILL_NORMAL) {
            check_agree(c, out[i], reference[i]);
        }
    }
    int32_t split = t->n_rows > 0 ? (int32_t)(check_random(c) % (uint64_t)(t->n_rows + 1)) : 0;
    memcpy(other, in, (size_t)n * sizeof *out);
    for (int32_t g = 0; g < t->n_q; g++) {
        float *o = other + g * t->head_dim;
        run_acc(k, t, w + g * LD, 1, 0, split, o);
        run_acc(k, t, w + g * LD, 1, split, t->n_rows - split, o);
    }
    if (!check_same(out, other, n)) {
        check_fail(c, "kv_acc: head_dim %d, n_q %d: splitting %d rows at %d changes bits",
                   (int)t->head_dim, (int)t->n_q, (int)t->n_rows, (int)split);
    }
    check_guards(c, "kv_acc", t->head_dim);
}

/* All head_dims x row counts x query counts; places and fills take turns. */
static void check_cases(check *c, const kvass_kernels *k,
                        void (*look)(check *, const kvass_kernels *, cache_case *))
{
    static cache_case t;
    int32_t turn = 0;
    for (int32_t d = 0; d < N_OF(head_dims); d++) {
        for (int32_t r = 0; r < N_OF(row_counts); r++) {
            for (int32_t q = 0; q < N_OF(query_counts) && !c->failed; q++, turn++) {
                t.n_q = query_counts[q];
                t.n_rows = row_counts[r];
                t.head_dim = head_dims[d];
                t.place = turn % c->n_places;
                t.fill = (fill)(turn % 7 < N_FILLS ? turn % 7 : FILL_NORMAL);
                t.f16 = false;
                look(c, k, &t);
                t.f16 = true;
                look(c, k, &t);
            }
        }
    }
}

void check_kv_dot(check *c, const kvass_kernels *k)
{
    check_cases(c, k, check_dot_case);
    check_agree_end(c, "kv_dot");
}

void check_kv_acc(check *c, const kvass_kernels *k)
{
    check_cases(c, k, check_acc_case);
    check_agree_end(c, "kv_acc");
}
