/* parity_compare.c - distances between two runs of a text; see parity.h. */
#include <math.h>

#include "tests/parity/parity.h"

static double standard_deviation(const float *x, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    double mean = sum / (double)n;
    return sqrt(squares / (double)n - mean * mean);
}

double parity_worst(const parity_text *text, const float *a, const float *b)
{
    size_t n = (size_t)text->n_tokens * (size_t)text->n_vocab;
    double worst = 0, spread = standard_deviation(a, n);
    assert_true(spread > 0);
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst / spread;
}

static double log_sum_exp(const float *x, int32_t n)
{
    double max = x[0], sum = 0;
    for (int32_t i = 1; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    for (int32_t i = 0; i < n; i++) {
        sum += exp(x[i] - max);
    }
    return max + log(sum);
}

double parity_mean_kl(const parity_text *text, const float *a, const float *b)
{
    double total = 0;
    for (int32_t t = 0; t < text->n_tokens; t++, a += text->n_vocab, b += text->n_vocab) {
        double za = log_sum_exp(a, text->n_vocab), zb = log_sum_exp(b, text->n_vocab);
        for (int32_t i = 0; i < text->n_vocab; i++) {
            total += exp(a[i] - za) * ((a[i] - za) - (b[i] - zb));
        }
    }
    return total / text->n_tokens;
}
