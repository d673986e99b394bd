/* eval_score.c - how well, and how differently, the network predicts with a given cache.
 * Two contexts of one model are fed the same windows: one with the cache asked for, one with the
 * full f32 cache (that one of another model, if asked for). Every scored position gives -log p of
 * the token that follows, and the Kullback-Leibler divergence of the first from the second. All
 * sums are in double.
 */
#include "tools/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOOR_TOKENS = 64 }; /* positions that the floor is measured on */

typedef struct scorer {
    const cli_options *opts;
    /* the third is the full f32 cache again, on another number of threads */
    eval_side test, reference, floor;
    int32_t n_vocab, n_chunk;
    float *kept, *expected; /* [n_chunk, n_vocab]: logits of the test side, of the reference */
    double *kld;            /* kld[n_scored] */
    int64_t n_kld, n_scored;
    eval_scores *scores;
} scorer;

/* KL(softmax(reference) || softmax(test)) of logits[n] whose log sum exp are known */
static double divergence(const float *reference, double reference_lse, const float *test,
                         double test_lse, int32_t n)
{
    double kld = 0;
    for (int32_t i = 0; i < n; i++) {
        double log_p = (double)reference[i] - reference_lse;
        kld += exp(log_p) * (log_p - ((double)test[i] - test_lse));
    }
    return kld < 0 ? 0 : kld; /* rounding can leave -1e-17; NaN stays */
}

eval_row eval_compare(const float *test, const float *reference, int32_t n_vocab, int32_t next)
{
    int32_t test_top, reference_top;
    double test_lse = eval_log_sum_exp(test, n_vocab, &test_top);
    double reference_lse = eval_log_sum_exp(reference, n_vocab, &reference_top);
    return (eval_row){.nats = test_lse - (double)test[next],
                      .reference_nats = reference_lse - (double)reference[next],
                      .kld = divergence(reference, reference_lse, test, test_lse, n_vocab),
                      .same_top = test_top == reference_top};
}

static void score_row(scorer *s, const float *test, const float *reference, int32_t next)
{
    eval_row row = eval_compare(test, reference, s->n_vocab, next);
    s->kld[s->n_kld++] = row.kld;
    s->scores->nats += row.nats;
    s->scores->reference_nats += row.reference_nats;
    s->scores->n_same_top += row.same_top;
}

/* the floor's side predicts ids[n] by the path that the reference did not take */
static kvass_status measure_floor(scorer *s, const int32_t *ids, int32_t n, kvass_error *err)
{
    int64_t left = FLOOR_TOKENS - s->scores->n_floor;
    n = n < left ? n : (int32_t)left;
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
        status = eval_feed(&s->floor, ids + i, 1, true, NULL, err);
        if (status == KVASS_OK) {
            const float *reference = s->expected + (size_t)i * (size_t)s->n_vocab;
            const float *again = kvass_seq_logits(s->floor.seq);
            int32_t top;
            double reference_lse = eval_log_sum_exp(reference, s->n_vocab, &top);
            s->scores->kld_floor +=
                divergence(reference, reference_lse, again,
                           eval_log_sum_exp(again, s->n_vocab, &top), s->n_vocab);
            s->scores->n_floor++;
        }
    }
    return status;
}

static void note_usage(scorer *s)
{
    kvass_cache_usage usage;
    kvass_context_get_usage(s->test.ctx, &usage);
    if (usage.bytes_used < s->scores->usage.bytes_used) {
        usage.bytes_used = s->scores->usage.bytes_used;
        usage.n_pages_used = s->scores->usage.n_pages_used;
        usage.bytes_shared = s->scores->usage.bytes_shared;
    }
    s->scores->usage = usage;
}

static kvass_status score_window(scorer *s, const eval_window *window, eval_path path,
                                 kvass_error *err)
{
    eval_side *sides[] = {&s->test, &s->reference, &s->floor};
    kvass_status status = KVASS_OK;
    bool floor = s->floor.ctx && s->scores->n_floor < FLOOR_TOKENS;
    int32_t at = window->first - 1, n_fed = window->n - 1; /* row i predicts ids[i + 1] */
    for (int i = 0; i < 2 + floor && status == KVASS_OK; i++) {
        kvass_seq_reset(sides[i]->seq);
        status = eval_feed(sides[i], window->ids, at, i == 0 && path == EVAL_DECODE, NULL, err);
    }
    for (; at < n_fed && status == KVASS_OK; at += s->n_chunk) {
        int32_t n = n_fed - at < s->n_chunk ? n_fed - at : s->n_chunk;
        status = eval_feed(&s->test, window->ids + at, n, path != EVAL_PREFILL, s->kept, err);
        if (status == KVASS_OK) {
            status = eval_feed(&s->reference, window->ids + at, n, false, s->expected, err);
        }
        if (status == KVASS_OK && floor && s->scores->n_floor < FLOOR_TOKENS) {
            status = measure_floor(s, window->ids + at, n, err);
        }
        for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
            size_t row = (size_t)i * (size_t)s->n_vocab;
            score_row(s, s->kept + row, s->expected + row, window->ids[at + i + 1]);
        }
        eval_progress(s->opts, "scored", s->n_kld, s->n_scored);
    }
    note_usage(s);
    s->scores->n_fed += n_fed;
    s->scores->n_bytes += window->n_bytes;
    return status;
}

static void summarise(scorer *s)
{
    eval_scores *scores = s->scores;
    eval_side *test = &s->test;
    scores->n_scored = s->n_kld;
    double sum = 0;
    for (int64_t i = 0; i < s->n_kld; i++) {
        sum += s->kld[i];
    }
    scores->kld_mean = sum / (double)s->n_kld;
    scores->kld_floor /= (double)scores->n_floor;
    cli_sort(s->kld, s->n_kld);
    cli_sort(test->step_ms, test->n_decoded);
    scores->kld_p99 = cli_quantile(s->kld, s->n_kld, 0.99);
    scores->kld_max = cli_quantile(s->kld, s->n_kld, 1);
    scores->p50_ms = cli_quantile(test->step_ms, test->n_decoded, 0.5);
    scores->p99_ms = cli_quantile(test->step_ms, test->n_decoded, 0.99);
    scores->prefill_seconds = test->prefill_seconds;
    scores->decode_seconds = test->decode_seconds;
    scores->n_prefilled = test->n_prefilled;
    scores->n_decoded = test->n_decoded;
    kvass_context_get_info(test->ctx, &scores->context);
}

static void close_scorer(scorer *s)
{
    eval_side_close(&s->test);
    eval_side_close(&s->reference);
    eval_side_close(&s->floor);
    free(s->kept);
    free(s->expected);
    free(s->kld);
}

static kvass_status open_sides(scorer *s, const kvass_model *model, const kvass_model *reference,
                               kvass_error *err)
{
    const kvass_context_options *opt = &s->opts->context;
    kvass_context_options full = eval_reference_options(opt);
    kvass_status status = eval_side_open(&s->test, model, opt, err);
    if (status == KVASS_OK) {
        status = eval_side_open(&s->reference, reference, &full, err);
    }
    if (status == KVASS_OK) {
        kvass_context_info info;
        kvass_context_get_info(s->reference.ctx, &info);
        full.n_threads = info.n_threads == 1 ? 2 : 1;
        status = eval_side_open(&s->floor, reference, &full, err);
    }
    return status;
}

int eval_score(const cli_options *opts, const kvass_model *model, const kvass_model *reference,
               const eval_text *text, eval_path path, eval_scores *scores)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    *scores = (eval_scores){0};
    scorer s = {
        .opts = opts, .n_vocab = info.n_vocab, .n_chunk = opts->context.n_logits, .scores = scores};
    for (size_t i = 0; i < text->n_windows; i++) {
        s.n_scored += text->windows[i].n - text->windows[i].first;
        s.test.cap_steps += text->windows[i].n - 1;
    }
    size_t n_floats = (size_t)s.n_chunk * (size_t)s.n_vocab;
    s.kept = calloc(n_floats, sizeof *s.kept);
    s.expected = calloc(n_floats, sizeof *s.expected);
    s.kld = calloc((size_t)s.n_scored, sizeof *s.kld);
    s.test.step_ms = calloc((size_t)s.test.cap_steps, sizeof *s.test.step_ms);
    if (!s.kept || !s.expected || !s.kld || !s.test.step_ms) {
        close_scorer(&s);
        cli_say("out of memory for the scores of %lld tokens", (long long)s.n_scored);
        return CLI_NO_ROOM;
    }
    kvass_status status = open_sides(&s, model, reference, &err);
    for (size_t i = 0; i < text->n_windows && status == KVASS_OK; i++) {
        status = score_window(&s, &text->windows[i], path, &err);
    }
    eval_progress(opts, NULL, 0, 0);
    if (status == KVASS_OK) {
        summarise(&s);
    }
    close_scorer(&s);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}
