/* check_kv_bound.c - checks of the kernel that bounds what groups of keys can score.
 *
 * Values come from the definition, in double; a score has the bits that its probe and row give
 * alone.
 */
#include "tests/kernels/check.h"

#include <math.h>

enum { MAX_ROWS = 64, MAX_BLOCKS = 5, MAX_Q = 5, LD = MAX_ROWS + 2 };

static const int32_t row_counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 31, 64};
#define N_OF(a) ((int32_t)(sizeof(a) / sizeof(a)[0]))

typedef struct bound_case {
    int32_t n_q, n_blocks, n_rows, place;
    kvass_probe probe;
    int8_t *bounds;
    float *scales;
} bound_case;

/* Takes slots 0 to 4. Integers are of any size up to the greatest, zeros among them. */
static void take_case(check *c, bound_case *t)
{
    size_t n_probe = (size_t)(t->n_q * t->n_blocks), n_bound = (size_t)(t->n_rows * t->n_blocks);
    t->bounds = check_take(c, 0, n_bound * 2 * KVASS_KV_BLOCK, 1, t->place);
    t->scales = check_take_floats(c, 1, n_bound, t->place, FILL_NORMAL);
    t->probe.w = check_take(c, 2, n_probe * KVASS_KV_BLOCK, sizeof *t->probe.w, t->place);
    t->probe.d = check_take_floats(c, 3, n_probe, t->place, FILL_NORMAL);
    t->probe.lost = check_take_floats(c, 4, n_probe, t->place, FILL_NORMAL);
    for (size_t i = 0; i < n_bound * 2 * KVASS_KV_BLOCK; i++) {
        t->bounds[i] = (int8_t)((int32_t)(check_random(c) % 255) - 127);
    }
    for (size_t i = 0; i < n_probe * KVASS_KV_BLOCK; i++) {
        int32_t size = (int32_t)(32767u >> check_random(c) % 16);
        t->probe.w[i] = (int16_t)(check_random(c) % 2 ? size : -size);
    }
    for (int32_t i = 0; i < 5; i++) {
        check_freeze(c, i);
    }
}

static double expected_score(const bound_case *t, int32_t g, int32_t j, double *size)
{
    double score = 0.0;
    *size = 0.0;
    for (int32_t b = 0; b < t->n_blocks; b++) {
        int32_t at = g * t->n_blocks + b, row = j * t->n_blocks + b;
        double sum = 0.0;
        for (int32_t i = 0; i < KVASS_KV_BLOCK; i++) {
            double w = t->probe.w[at * KVASS_KV_BLOCK + i];
            double low = t->bounds[row * 2 * KVASS_KV_BLOCK + i];
            double high = t->bounds[(row * 2 + 1) * KVASS_KV_BLOCK + i];
            sum += w < 0 ? w * low : w * high;
            *size += fabs((double)t->scales[row] * (double)t->probe.d[at] * w * 127.0);
        }
        score +=
            (double)t->scales[row] * ((double)t->probe.d[at] * sum + (double)t->probe.lost[at]);
        *size += fabs((double)t->scales[row] * (double)t->probe.lost[at]);
    }
    return score;
}

static void check_bound_case(check *c, const kvass_kernels *k, bound_case *t)
{
    static float reference[MAX_Q * LD];
    take_case(c, t);
    float *scores = check_take_floats(c, 5, (size_t)(t->n_q * LD), t->place, FILL_EQUAL);
    k->kv_bound(&t->probe, t->n_q, t->n_blocks, t->bounds, t->scales, t->n_rows, scores, LD);
    c->scalar->kv_bound(&t->probe, t->n_q, t->n_blocks, t->bounds, t->scales, t->n_rows, reference,
                        LD);
    for (int32_t i = 0; i < t->n_q * LD; i++) {
        int32_t g = i / LD, j = i % LD;
        if (j >= t->n_rows) {
            check_close_to(c, "kv_bound", t->n_blocks, i, scores[i], 0.37f, 0.0);
            continue;
        }
        double size, expected = expected_score(t, g, j, &size);
        check_close_to(c, "kv_bound", t->n_blocks, i, scores[i], expected,
                       16 * UNIT_ROUNDOFF * size);
        int32_t at = g * t->n_blocks, row = j * t->n_blocks;
        kvass_probe one = {t->probe.w + (size_t)at * KVASS_KV_BLOCK, t->probe.d + at,
                           t->probe.lost + at};
        float alone;
        k->kv_bound(&one, 1, t->n_blocks, t->bounds + (size_t)row * 2 * KVASS_KV_BLOCK,
                    t->scales + row, 1, &alone, LD);
        if (!check_same(&alone, &scores[i], 1)) {
            check_fail(c, "kv_bound: %d blocks, n_q %d: score %d, %d has other bits than alone",
                       (int)t->n_blocks, (int)t->n_q, (int)g, (int)j);
        }
        check_agree(c, scores[i], reference[i]);
    }
    check_guards(c, "kv_bound", t->n_blocks);
}

void check_kv_bound(check *c, const kvass_kernels *k)
{
    int32_t turn = 0;
    for (int32_t n_blocks = 1; n_blocks <= MAX_BLOCKS; n_blocks++) {
        for (int32_t r = 0; r < N_OF(row_counts); r++) {
            for (int32_t n_q = 1; n_q <= MAX_Q && !c->failed; n_q++, turn++) {
                bound_case t = {.n_q = n_q,
                                .n_blocks = n_blocks,
                                .n_rows = row_counts[r],
                                .place = turn % c->n_places};
                check_bound_case(c, k, &t);
            }
        }
    }
    check_agree_end(c, "bounds");
}
