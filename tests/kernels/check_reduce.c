/* check_reduce.c - checks of the kernels with a sum or a maximum over their whole input. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

#define MAX_N 4101

/* What a sum of n terms in 16 or more partial sums may lose, beside the sum of the terms' sizes. */
static double sum_bound(int32_t n)
{
    return (n / 16 + 10) * UNIT_ROUNDOFF;
}

void check_dot(check *c, const kvass_kernels *k)
{
    for (check_case t = {0}; check_next(c, &t);) {
        float *a = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float *b = check_take_floats(c, 1, (size_t)t.n, (t.place + 1) % c->n_places, t.fill);
        check_freeze(c, 0);
        check_freeze(c, 1);
        float value = k->dot(a, b, t.n);
        double expected = 0.0, size = 0.0;
        for (int32_t i = 0; i < t.n; i++) {
            expected += (double)a[i] * b[i];
            size += fabs((double)a[i] * b[i]);
        }
        check_close_to(c, "dot", t.n, 0, value, expected, sum_bound(t.n) * size + t.n * TINY);
        if (t.fill == FILL_NORMAL) {
            check_agree(c, value, c->scalar->dot(a, b, t.n));
        }
        if (t.n > 0) {
            float keep = a[t.n - 1];
            a[t.n - 1] = NAN;
            if (!isnan(k->dot(a, b, t.n))) {
                check_fail(c, "dot: n = %d: a NaN was lost", (int)t.n);
            }
            a[t.n - 1] = keep;
        }
        check_guards(c, "dot", t.n);
    }
    check_agree_end(c, "dot");
}

/* Oracle of both norms: y = (x - mean) * w / sqrt(mean of squares + eps) + b; mean 0 for rmsnorm.
 */
static void check_norm(check *c, const char *what, int32_t n, const float *x, const float *w,
                       const float *b, bool centred, double eps, const float *y)
{
    double mean = 0.0, size = 0.0, squares = 0.0;
    for (int32_t i = 0; i < n; i++) {
        mean += centred ? (double)x[i] / n : 0.0;
        size += centred ? fabs((double)x[i]) / n : 0.0;
    }
    for (int32_t i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean) / n;
    }
    double inv = 1.0 / sqrt(squares + eps);
    /* the mean is off by sum_bound * size; that much moves every element, and the variance by its
     * square beside what the sum itself loses */
    double slip = sum_bound(n) * size + 2 * TINY;
    double off = (slip * slip + sum_bound(n) * squares) / (squares + eps) + 4 * UNIT_ROUNDOFF;
    for (int32_t i = 0; i < n; i++) {
        double scaled = (x[i] - mean) * inv * w[i];
        double shift = b ? b[i] : 0.0;
        double bound = fabs(scaled) * off + fabs(inv * w[i]) * (slip + UNIT_ROUNDOFF * fabs(x[i])) +
                       UNIT_ROUNDOFF * (fabs(scaled) + fabs(shift)) + 4 * TINY;
        check_close_to(c, what, n, i, y[i], scaled + shift, bound);
    }
}

static void check_norms(check *c, const kvass_kernels *k, bool centred)
{
    const char *what = centred ? "layernorm" : "rmsnorm";
    const float eps = 1e-5f;
    static float in[MAX_N], reference[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        bool in_place = t.n % 2 == 0;
        bool biased = t.place % 2 == 0;
        float *x = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float *w = check_take_floats(c, 1, (size_t)t.n, t.place, FILL_NORMAL);
        float *b = check_take_floats(c, 2, (size_t)t.n, t.place, FILL_NORMAL);
        float *y = in_place ? x : check_take_floats(c, 3, (size_t)t.n, t.place, FILL_EQUAL);
        memcpy(in, x, (size_t)t.n * sizeof *x);
        for (int32_t i = 0; i < 3; i++) {
            if (i > 0 || !in_place) {
                check_freeze(c, i);
            }
        }
        if (centred) {
            k->layernorm(x, w, biased ? b : NULL, t.n, eps, y);
            c->scalar->layernorm(in, w, biased ? b : NULL, t.n, eps, reference);
        } else {
            k->rmsnorm(x, w, t.n, eps, y);
            c->scalar->rmsnorm(in, w, t.n, eps, reference);
        }
        check_norm(c, what, t.n, in, w, centred && biased ? b : NULL, centred, eps, y);
        for (int32_t i = 0; i < t.n && t.fill == FILL_NORMAL; i++) {
            check_agree(c, y[i], reference[i]);
        }
        check_guards(c, what, t.n);
    }
    check_agree_end(c, what);
}

void check_rmsnorm(check *c, const kvass_kernels *k)
{
    check_norms(c, k, false);
}

void check_layernorm(check *c, const kvass_kernels *k)
{
    check_norms(c, k, true);
}

void check_max(check *c, const kvass_kernels *k)
{
    for (check_case t = {0}; check_next(c, &t);) {
        if (t.n == 0) {
            continue;
        }
        float *s = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        int32_t at = (int32_t)(check_random(c) % (uint64_t)t.n);
        if (t.place == 1) {
            for (int32_t i = 0; i < t.n; i++) {
                s[i] = -INFINITY;
            }
        } else if (t.place == 2) {
            s[at] = NAN;
        } else if (t.place == 3) { /* all below zero: a lane filled with zeros would win */
            for (int32_t i = 0; i < t.n; i++) {
                s[i] = -1.0f - fabsf(s[i]);
            }
        }
        check_freeze(c, 0);
        double expected = s[0];
        for (int32_t i = 1; i < t.n; i++) {
            expected = s[i] > expected ? s[i] : expected;
        }
        if (t.place == 2) {
            expected = NAN;
        }
        check_close_to(c, "max", t.n, at, k->max(s, t.n), expected, 0.0);
        check_guards(c, "max", t.n);
    }
}

void check_exp_sum(check *c, const kvass_kernels *k)
{
    static float in[MAX_N], reference[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        float *s = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float max = t.n > 0 ? c->scalar->max(s, t.n) : 0.0f;
        memcpy(in, s, (size_t)t.n * sizeof *s);
        memcpy(reference, s, (size_t)t.n * sizeof *s);
        float sum = k->exp_sum(s, t.n, max);
        float reference_sum = c->scalar->exp_sum(reference, t.n, max);
        double expected_sum = 0.0;
        for (int32_t i = 0; i < t.n; i++) {
            double expected = exp((double)(in[i] - max));
            check_close_to(c, "exp_sum", t.n, i, s[i], expected,
                           4 * UNIT_ROUNDOFF * expected + TINY);
            expected_sum += expected;
            float alone = in[i];
            k->exp_sum(&alone, 1, max);
            if (!check_same(&alone, &s[i], 1)) {
                check_fail(c, "exp_sum: n = %d: element %d has other bits than alone", (int)t.n,
                           (int)i);
            }
            check_agree(c, s[i], reference[i]);
        }
        check_close_to(c, "exp_sum's sum", t.n, 0, sum, expected_sum,
                       2 * sum_bound(t.n) * expected_sum);
        check_agree(c, sum, reference_sum);
        check_guards(c, "exp_sum", t.n);
    }
    check_agree_end(c, "exp_sum");
}

void check_softmax(check *c, const kvass_kernels *k)
{
    static float in[MAX_N], reference[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        if (t.n == 0) {
            continue;
        }
        float *s = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        memcpy(in, s, (size_t)t.n * sizeof *s);
        memcpy(reference, s, (size_t)t.n * sizeof *s);
        k->softmax(s, t.n);
        c->scalar->softmax(reference, t.n);
        double max = in[0], sum = 0.0, total = 0.0;
        for (int32_t i = 1; i < t.n; i++) {
            max = in[i] > max ? in[i] : max;
        }
        for (int32_t i = 0; i < t.n; i++) {
            sum += exp(in[i] - max);
        }
        for (int32_t i = 0; i < t.n; i++) {
            /* in[i] - max is rounded before exp */
            double expected = exp(in[i] - max) / sum;
            double rounding = fabs(in[i] - max) < 200.0 ? fabs(in[i] - max) * UNIT_ROUNDOFF : 0.0;
            check_close_to(c, "softmax", t.n, i, s[i], expected,
                           (2 * sum_bound(t.n) + rounding) * expected + TINY);
            check_agree(c, s[i], reference[i]);
            total += s[i];
        }
        check_close_to(c, "softmax's sum", t.n, 0, total, 1.0, 2 * sum_bound(t.n));
        check_guards(c, "softmax", t.n);
    }
    check_agree_end(c, "softmax");
    float with_nan[] = {1.0f, NAN, 2.0f};
    k->softmax(with_nan, 3);
    if (!isnan(with_nan[0]) || !isnan(with_nan[1]) || !isnan(with_nan[2])) {
        check_fail(c, "softmax: NaN among the scores gave numbers");
    }
}
