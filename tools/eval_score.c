/* eval_score.c - how well, and how differently, the network predicts with a given cache.
 * Two contexts of one model are fed the same windows: one with the cache asked for, one with the
 * full f32 cache. Every scored position gives -log p of the token that follows, and the
 * Kullback-Leibler divergence of the first from the second. All sums are in double.
 */
#include "tools/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FLOATS (4 << 20) /* logits held at once, per context */

typedef struct eval_side {
    kvass_context *ctx;
    kvass_seq *seq;
} eval_side;

typedef struct scorer {
    eval_side test, reference;
    int32_t n_vocab, n_chunk;
    kvass_row *rows; /* rows[n_chunk] */
    float *kept;     /* kept[n_chunk, n_vocab]: logits of the test side */
    double *kld;     /* kld[n_scored] */
    double *step_ms; /* step_ms[n_scored], --path decode */
    int64_t n_kld, n_steps;
    eval_scores *scores;
} scorer;

int32_t eval_chunk(int32_t n_vocab, int32_t n_batch)
{
    int32_t most = CHUNK_FLOATS / n_vocab;
    return most < 1 ? 1 : most < n_batch ? most : n_batch;
}

kvass_context_options eval_reference_options(const kvass_context_options *opt)
{
    kvass_context_options reference = *opt;
    reference.retain = KVASS_RETAIN_FULL;
    reference.store = KVASS_STORE_F32;
    reference.select = KVASS_SELECT_ALL;
    reference.kv_budget = 0;
    reference.window = reference.n_sinks = 0;
    reference.positions = KVASS_POSITIONS_ORIGINAL;
    reference.share = KVASS_SHARE_MODEL;
    return reference;
}

/* log sum exp of x[n]; *top is the place of the maximum, the lowest among equals */
static double log_sum_exp(const float *x, int32_t n, int32_t *top)
{
    *top = 0;
    for (int32_t i = 1; i < n; i++) {
        if (x[i] > x[*top]) {
            *top = i;
        }
    }
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - (double)x[*top]);
    }
    return (double)x[*top] + log(sum);
}

/* One position: test[n_vocab] and reference[n_vocab] predict `next`. */
static void score_row(scorer *s, const float *test, const float *reference, int32_t next)
{
    int32_t test_top, reference_top;
    double test_lse = log_sum_exp(test, s->n_vocab, &test_top);
    double reference_lse = log_sum_exp(reference, s->n_vocab, &reference_top);
    double kld = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        double log_p = (double)reference[i] - reference_lse;
        kld += exp(log_p) * (log_p - ((double)test[i] - test_lse));
    }
    s->kld[s->n_kld++] = kld > 0 ? kld : 0; /* rounding can leave -1e-17; NaN compares false */
    if (isnan(kld)) {
        s->kld[s->n_kld - 1] = kld;
    }
    s->scores->nats += test_lse - (double)test[next];
    s->scores->reference_nats += reference_lse - (double)reference[next];
    s->scores->n_same_top += test_top == reference_top;
}

static kvass_status forward(scorer *s, const eval_side *side, const int32_t *ids, int32_t n,
                            kvass_phase phase, kvass_error *err)
{
    for (int32_t i = 0; i < n; i++) {
        s->rows[i] = (kvass_row){side->seq, ids[i], phase, true};
    }
    return kvass_forward(side->ctx, s->rows, n, err);
}

/* Logits of ids[n] into s->kept, by the path asked for. */
static kvass_status run_test(scorer *s, const int32_t *ids, int32_t n, bool decode,
                             kvass_error *err)
{
    kvass_status status = KVASS_OK;
    int32_t n_call = decode ? 1 : n;
    for (int32_t at = 0; at < n && status == KVASS_OK; at += n_call) {
        double start = cli_now();
        status = forward(s, &s->test, ids + at, n_call, decode ? KVASS_DECODE : KVASS_PREFILL, err);
        double seconds = cli_now() - start;
        s->scores->seconds += seconds;
        if (decode) {
            s->step_ms[s->n_steps++] = seconds * 1e3;
        }
        for (int32_t i = 0; i < n_call && status == KVASS_OK; i++) {
            memcpy(s->kept + (size_t)(at + i) * (size_t)s->n_vocab,
                   kvass_context_logits(s->test.ctx, i), (size_t)s->n_vocab * sizeof *s->kept);
        }
    }
    return status;
}

static kvass_status score_window(scorer *s, const eval_window *window, bool decode,
                                 kvass_error *err)
{
    kvass_status status = KVASS_OK;
    kvass_seq_reset(s->test.seq);
    kvass_seq_reset(s->reference.seq);
    int32_t n_fed = window->n - 1;
    for (int32_t at = 0; at < n_fed && status == KVASS_OK; at += s->n_chunk) {
        int32_t n = n_fed - at < s->n_chunk ? n_fed - at : s->n_chunk;
        status = run_test(s, window->ids + at, n, decode, err);
        if (status == KVASS_OK) {
            status = forward(s, &s->reference, window->ids + at, n, KVASS_PREFILL, err);
        }
        for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
            score_row(s, s->kept + (size_t)i * (size_t)s->n_vocab,
                      kvass_context_logits(s->reference.ctx, i), window->ids[at + i + 1]);
        }
    }
    kvass_cache_usage usage;
    kvass_context_get_usage(s->test.ctx, &usage);
    if (usage.bytes_used >= s->scores->usage.bytes_used) {
        s->scores->usage = usage;
    }
    s->scores->usage.bytes_touched = usage.bytes_touched;
    s->scores->usage.recomputed_tokens = usage.recomputed_tokens;
    s->scores->n_fed += n_fed;
    s->scores->n_bytes += window->n_bytes;
    return status;
}

static void summarise(scorer *s)
{
    eval_scores *scores = s->scores;
    scores->n_scored = s->n_kld;
    double sum = 0;
    for (int64_t i = 0; i < s->n_kld; i++) {
        sum += s->kld[i];
    }
    scores->kld_mean = sum / (double)s->n_kld;
    cli_sort(s->kld, s->n_kld);
    cli_sort(s->step_ms, s->n_steps);
    scores->kld_p99 = cli_quantile(s->kld, s->n_kld, 0.99);
    scores->kld_max = cli_quantile(s->kld, s->n_kld, 1);
    scores->p50_ms = cli_quantile(s->step_ms, s->n_steps, 0.5);
    scores->p99_ms = cli_quantile(s->step_ms, s->n_steps, 0.99);
    kvass_context_get_info(s->test.ctx, &scores->context);
}

static kvass_status open_side(eval_side *side, const kvass_model *model,
                              const kvass_context_options *opt, kvass_error *err)
{
    kvass_status status = kvass_context_open(&side->ctx, model, opt, err);
    if (status == KVASS_OK) {
        kvass_context_set_cancel(side->ctx, cli_cancel, NULL);
        status = kvass_seq_open(&side->seq, side->ctx, err);
    }
    return status;
}

static void close_scorer(scorer *s)
{
    kvass_context_close(&s->test.ctx);
    kvass_context_close(&s->reference.ctx);
    free(s->rows);
    free(s->kept);
    free(s->kld);
    free(s->step_ms);
}

int eval_score(const kvass_model *model, const kvass_context_options *opt, const eval_text *text,
               bool decode, eval_scores *scores)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    *scores = (eval_scores){0};
    scorer s = {.n_vocab = info.n_vocab, .n_chunk = opt->n_logits, .scores = scores};
    size_t n_scored = 0;
    for (size_t i = 0; i < text->n_windows; i++) {
        n_scored += (size_t)(text->windows[i].n - 1);
    }
    s.rows = calloc((size_t)s.n_chunk, sizeof *s.rows);
    s.kept = calloc((size_t)s.n_chunk * (size_t)s.n_vocab, sizeof *s.kept);
    s.kld = calloc(n_scored, sizeof *s.kld);
    s.step_ms = calloc(n_scored, sizeof *s.step_ms);
    if (!s.rows || !s.kept || !s.kld || !s.step_ms) {
        close_scorer(&s);
        cli_say("out of memory for the scores of %zu tokens", n_scored);
        return CLI_NO_ROOM;
    }
    kvass_context_options reference = eval_reference_options(opt);
    kvass_status status = open_side(&s.test, model, opt, &err);
    if (status == KVASS_OK) {
        status = open_side(&s.reference, model, &reference, &err);
    }
    for (size_t i = 0; i < text->n_windows && status == KVASS_OK; i++) {
        status = score_window(&s, &text->windows[i], decode, &err);
    }
    if (status == KVASS_OK) {
        summarise(&s);
    }
    close_scorer(&s);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}
