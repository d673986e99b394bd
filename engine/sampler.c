/* sampler.c - logits to one token id.
 * Order: repetition penalty, greedy shortcut, temperature, top-k, softmax over what is left, top-p,
 * min-p, draw. Everything is taken at open; a pick allocates nothing. Candidates are ordered by
 * (logit, lowest id first), a total order, so the same logits and seed give the same id anywhere
 * the arithmetic is the same. The best candidate always stays, whatever the filters say.
 */
#include "engine/base/checked.h"
#include "engine/base/error.h"
#include "engine/base/options.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GREEDY_BELOW 1e-2f /* temperatures under this only magnify rounding */

typedef struct candidate {
    float logit;
    int32_t id;
    double weight; /* exp((logit - best) / temperature): 1 for the best */
} candidate;

struct kvass_sampler {
    kvass_sampler_options opt;
    int32_t n_vocab;
    uint64_t rng[4];
    candidate *cand; /* cand[n_vocab] */
    float *work;     /* work[n_vocab]: logits after the penalty */
};

/* ---- generator: xoshiro256++ (Blackman & Vigna 2019), its state filled by splitmix64 -------- */

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t rotate_left(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t rng_next(uint64_t s[4])
{
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* uniform in [0, 1), 53 bits */
static double rng_uniform(uint64_t s[4])
{
    return (double)(rng_next(s) >> 11) * 0x1p-53;
}

/* ---- open ----------------------------------------------------------------------------------- */

kvass_sampler_options kvass_sampler_options_default(void)
{
    return (kvass_sampler_options){.struct_size = sizeof(kvass_sampler_options),
                                   .temperature = 0.8f,
                                   .top_k = 40,
                                   .top_p = 0.95f,
                                   .min_p = 0.05f,
                                   .repeat_penalty = 1.0f,
                                   .repeat_last = 64,
                                   .seed = 0};
}

/* Written as !(inside) so that NaN is refused, too. */
static kvass_status check_options(const kvass_sampler_options *opt, kvass_error *err)
{
    const struct {
        const char *name, *range;
        double value;
        bool inside;
    } checks[] = {
        {"temperature", "0 or more", opt->temperature,
         opt->temperature >= 0 && opt->temperature <= FLT_MAX},
        {"top_k", "0 (off) or more", opt->top_k, opt->top_k >= 0},
        {"top_p", "above 0, up to 1", opt->top_p, opt->top_p > 0 && opt->top_p <= 1},
        {"min_p", "0 or more, below 1", opt->min_p, opt->min_p >= 0 && opt->min_p < 1},
        {"repeat_penalty", "above 0, finite", opt->repeat_penalty,
         opt->repeat_penalty > 0 && opt->repeat_penalty <= FLT_MAX},
        {"repeat_last", "0 or more", opt->repeat_last, opt->repeat_last >= 0},
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if (!checks[i].inside) {
            return kvass_fail(err, KVASS_INVALID, "SAMPLER_RANGE",
                              "sampler: %s: expected %s, found %g", checks[i].name, checks[i].range,
                              checks[i].value);
        }
    }
    return KVASS_OK;
}

kvass_status kvass_sampler_open(kvass_sampler **out, int32_t n_vocab,
                                const kvass_sampler_options *given, kvass_error *err)
{
    if (!out) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "sampler: out is NULL");
    }
    *out = NULL;
    kvass_sampler_options opt = kvass_sampler_options_default();
    kvass_status status = kvass_options_take(&opt, sizeof opt, given, "kvass_sampler_open", err);
    if (status != KVASS_OK) {
        return status;
    }
    if (n_vocab < 1) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "sampler: n_vocab: expected 1 or more, found %d", (int)n_vocab);
    }
    status = check_options(&opt, err);
    if (status != KVASS_OK) {
        return status;
    }
    size_t cand_bytes, work_bytes;
    if (!kvass_mul_size((size_t)n_vocab, sizeof(candidate), &cand_bytes) ||
        !kvass_mul_size((size_t)n_vocab, sizeof(float), &work_bytes)) {
        return kvass_fail_nomem(err, SIZE_MAX, "sampler candidates");
    }
    kvass_sampler *sampler = calloc(1, sizeof *sampler);
    candidate *cand = malloc(cand_bytes);
    float *work = malloc(work_bytes);
    if (!sampler || !cand || !work) {
        free(sampler);
        free(cand);
        free(work);
        return kvass_fail_nomem(err, cand_bytes, "sampler candidates");
    }
    sampler->opt = opt;
    sampler->n_vocab = n_vocab;
    sampler->cand = cand;
    sampler->work = work;
    uint64_t state = opt.seed;
    for (int i = 0; i < 4; i++) {
        sampler->rng[i] = splitmix64(&state);
    }
    *out = sampler;
    return KVASS_OK;
}

void kvass_sampler_close(kvass_sampler **sampler)
{
    if (sampler && *sampler) {
        free((*sampler)->cand);
        free((*sampler)->work);
        free(*sampler);
        *sampler = NULL;
    }
}

/* ---- ordering ------------------------------------------------------------------------------- */

static bool better(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Restore the heap c[n], worst on top, below position i. */
static void sift_down(candidate *c, int32_t n, int32_t i)
{
    candidate moving = c[i];
    while (i < n / 2) {
        int32_t child = 2 * i + 1;
        if (child + 1 < n && better(&c[child], &c[child + 1])) {
            child++;
        }
        if (!better(&moving, &c[child])) {
            break;
        }
        c[i] = c[child];
        i = child;
    }
    c[i] = moving;
}

static void make_heap(candidate *c, int32_t n)
{
    for (int32_t i = n / 2; i-- > 0;) {
        sift_down(c, n, i);
    }
}

/* Sort the heap c[n], best first. */
static void sort_heap(candidate *c, int32_t n)
{
    for (int32_t end = n - 1; end > 0; end--) {
        candidate worst = c[0];
        c[0] = c[end];
        c[end] = worst;
        sift_down(c, end, 0);
    }
}

/* ---- pick ----------------------------------------------------------------------------------- */

static kvass_status check_pick(const kvass_sampler *sampler, const float *logits,
                               const int32_t *recent, int32_t n_recent, const int32_t *token,
                               kvass_error *err)
{
    if (!sampler || !logits || !token || n_recent < 0 || (n_recent > 0 && !recent)) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "sampler: NULL argument or negative n_recent");
    }
    int32_t n_nan = 0, n_finite = 0; /* no branch inside: this loop becomes vector code */
    for (int32_t i = 0; i < sampler->n_vocab; i++) {
        n_nan += logits[i] != logits[i];
        n_finite += fabsf(logits[i]) <= FLT_MAX;
    }
    if (n_nan > 0) {
        int32_t at = 0;
        while (!isnan(logits[at])) {
            at++;
        }
        return kvass_fail(err, KVASS_NAN_LOGITS, "NAN_LOGITS", "sampler: logit %d of %d is NaN",
                          (int)at, (int)sampler->n_vocab);
    }
    if (n_finite == 0) {
        return kvass_fail(err, KVASS_NAN_LOGITS, "NAN_LOGITS",
                          "sampler: none of %d logits is finite", (int)sampler->n_vocab);
    }
    for (int32_t i = 0; i < n_recent; i++) {
        if (recent[i] < 0 || recent[i] >= sampler->n_vocab) {
            return kvass_fail(err, KVASS_INVALID, "TOKEN_ID",
                              "sampler: recent[%d] is %d, expected an id below %d", (int)i,
                              (int)recent[i], (int)sampler->n_vocab);
        }
    }
    return KVASS_OK;
}

/* work[n_vocab] = logits, those of recent tokens made less likely, once each however often a token
 * occurs: toward 0 when positive, away from it when negative (Keskar et al. 2019). */
static void penalize(kvass_sampler *sampler, const float *logits, const int32_t *recent,
                     int32_t n_recent)
{
    float penalty = sampler->opt.repeat_penalty;
    memcpy(sampler->work, logits, (size_t)sampler->n_vocab * sizeof *logits);
    if (penalty == 1.0f) {
        return;
    }
    int32_t first = n_recent > sampler->opt.repeat_last ? n_recent - sampler->opt.repeat_last : 0;
    for (int32_t i = first; i < n_recent; i++) {
        float logit = logits[recent[i]]; /* not work: a second occurrence changes nothing */
        if (isfinite(logit)) {
            float lower = logit > 0 ? logit / penalty : logit * penalty;
            sampler->work[recent[i]] = fminf(fmaxf(lower, -FLT_MAX), FLT_MAX);
        }
    }
}

static int32_t best_of(const float *logits, int32_t n_vocab)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n_vocab; i++) {
        if ((best < 0 || logits[i] > logits[best]) && isfinite(logits[i])) {
            best = i;
        }
    }
    return best;
}

/* cand[n] = the finite logits in order of id; returns n. */
static int32_t take_all(kvass_sampler *sampler)
{
    int32_t n = 0;
    for (int32_t i = 0; i < sampler->n_vocab; i++) {
        if (isfinite(sampler->work[i])) {
            sampler->cand[n++] = (candidate){.logit = sampler->work[i], .id = i};
        }
    }
    return n;
}

/* cand[n] = the k best finite logits (fewer if there are fewer), best first; returns n. One pass
 * with a heap of k: ids come in rising order, so an equal logit never displaces one that is in. */
static int32_t take_top_k(kvass_sampler *sampler, int32_t k)
{
    candidate *c = sampler->cand;
    int32_t n = 0, i = 0;
    for (; i < sampler->n_vocab && n < k; i++) {
        if (isfinite(sampler->work[i])) {
            c[n++] = (candidate){.logit = sampler->work[i], .id = i};
        }
    }
    make_heap(c, n);
    for (; i < sampler->n_vocab; i++) {
        if (sampler->work[i] > c[0].logit && isfinite(sampler->work[i])) {
            c[0] = (candidate){.logit = sampler->work[i], .id = i};
            sift_down(c, n, 0);
        }
    }
    sort_heap(c, n);
    return n;
}

/* Fill the weights of cand[n]; returns their sum, taken in the order they stand in. */
static double softmax(kvass_sampler *sampler, int32_t n, float best_logit)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        candidate *c = &sampler->cand[i];
        c->weight = exp(((double)c->logit - best_logit) / sampler->opt.temperature);
        sum += c->weight;
    }
    return sum;
}

/* Keep what top-p and min-p let through, best first; returns how many, at least 1. */
static int32_t filter_by_mass(kvass_sampler *sampler, int32_t n, double sum, bool sorted)
{
    candidate *c = sampler->cand;
    double top_p = sampler->opt.top_p;
    /* All candidates lighter than (1 - top_p) * sum / n together weigh less than what top-p leaves
     * out, so it never reaches them: drop them before the sort. Half of it keeps clear of rounding.
     */
    double least = fmax(sampler->opt.min_p, (1 - top_p) * sum / n * 0.5);
    int32_t n_kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (c[i].weight >= least || c[i].weight == 1.0) {
            c[n_kept++] = c[i];
        }
    }
    if (!sorted) {
        make_heap(c, n_kept);
        sort_heap(c, n_kept);
    }
    if (top_p < 1) {
        double mass = 0;
        for (int32_t i = 0; i < n_kept; i++) {
            mass += c[i].weight;
            if (mass >= top_p * sum) {
                return i + 1;
            }
        }
    }
    return n_kept;
}

static int32_t draw(kvass_sampler *sampler, int32_t n)
{
    const candidate *c = sampler->cand;
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += c[i].weight;
    }
    double target = rng_uniform(sampler->rng) * sum;
    int32_t chosen = 0;
    for (int32_t i = 0; i < n; i++) {
        if (c[i].weight > 0) {
            chosen = i;
            target -= c[i].weight;
            if (target < 0) {
                break;
            }
        }
    }
    return c[chosen].id;
}

kvass_status kvass_sampler_pick(kvass_sampler *sampler, const float *logits, const int32_t *recent,
                                int32_t n_recent, int32_t *token, kvass_error *err)
{
    kvass_status status = check_pick(sampler, logits, recent, n_recent, token, err);
    if (status != KVASS_OK) {
        return status;
    }
    const kvass_sampler_options *opt = &sampler->opt;
    penalize(sampler, logits, recent, n_recent);
    int32_t best = best_of(sampler->work, sampler->n_vocab);
    if (opt->temperature < GREEDY_BELOW) {
        *token = best;
        return KVASS_OK;
    }
    bool sorted = opt->top_k > 0 && opt->top_k < sampler->n_vocab;
    int32_t n = sorted ? take_top_k(sampler, opt->top_k) : take_all(sampler);
    double sum = softmax(sampler, n, sampler->work[best]);
    if (opt->top_p < 1 || opt->min_p > 0) {
        n = filter_by_mass(sampler, n, sum, sorted);
    }
    *token = draw(sampler, n);
    return KVASS_OK;
}
