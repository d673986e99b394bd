/* tradeoff_run.c - one run of `kvass tradeoff`: half of the tokens by a prefill, half by the cached
 * path, timed; and on the side, out of the time, the full f32 cache fed the same. A cache that
 * keeps nothing runs all tokens again for each: there only a few, at even distances, are decoded,
 * and what lies between them comes by prefill, which is the same recomputation once for many.
 */
#include "tools/tradeoff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 32, N_UNCACHED = 4 };

typedef struct runner {
    eval_side side;
    const tradeoff_text *text;
    tradeoff_oracle *oracle; /* NULL: not scored */
    eval_scores *scores;
    bool keeps; /* the cache does keep something */
    int64_t n_recomputed;
    kvass_cache_usage before; /* after the warm-up: its counters have begun to count */
} runner;

/* ---- the oracle ----------------------------------------------------------------------------- */

void tradeoff_oracle_close(tradeoff_oracle *oracle)
{
    eval_side_close(&oracle->side);
    free(oracle->kept);
    free(oracle->expected);
    free(oracle->kld);
    *oracle = (tradeoff_oracle){0};
}

static kvass_status no_memory(const char *what, kvass_error *err)
{
    *err = (kvass_error){.code = KVASS_NOMEM, .rule = "NOMEM"};
    (void)snprintf(err->message, sizeof err->message, "out of memory for %s", what);
    return KVASS_NOMEM;
}

/* opened once for all runs of a length */
static kvass_status open_oracle(tradeoff_oracle *oracle, const kvass_model *model,
                                const kvass_context_options *opt, kvass_error *err)
{
    if (oracle->n_ctx == opt->n_ctx) {
        kvass_seq_reset(oracle->side.seq);
        return KVASS_OK;
    }
    tradeoff_oracle_close(oracle);
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    kvass_context_options full = eval_reference_options(opt);
    size_t n_floats = (size_t)full.n_logits * (size_t)info.n_vocab;
    oracle->kept = calloc(n_floats, sizeof *oracle->kept);
    oracle->expected = calloc(n_floats, sizeof *oracle->expected);
    oracle->kld = calloc((size_t)opt->n_ctx, sizeof *oracle->kld);
    if (!oracle->kept || !oracle->expected || !oracle->kld) {
        return no_memory("logits", err);
    }
    kvass_status status = eval_side_open(&oracle->side, model, &full, err);
    oracle->n_ctx = status == KVASS_OK ? opt->n_ctx : 0;
    return status;
}

/* ---- the run -------------------------------------------------------------------------------- */

static kvass_status warm_up(runner *r, kvass_error *err)
{
    int32_t half = r->text->n_ctx / 2, n = half < WARM_UP ? half : WARM_UP;
    kvass_status status = kvass_prefill(r->side.seq, r->text->ids, n, err);
    if (status == KVASS_OK) {
        status = kvass_decode(r->side.seq, r->text->ids[n], err);
    }
    kvass_seq_reset(r->side.seq);
    kvass_context_get_usage(r->side.ctx, &r->before);
    return status;
}

static int64_t recomputed(const runner *r)
{
    kvass_cache_usage usage;
    kvass_context_get_usage(r->side.ctx, &usage);
    return usage.recomputed_tokens;
}

/* How many of the n tokens from `at` on come in one piece. With a cache all are decoded; without,
 * *decoded says whether the last of the piece is. */
static int32_t piece_at(const runner *r, int32_t at, bool *decoded)
{
    int32_t half = r->text->n_ctx / 2, n_left = r->text->n_ctx - at, n = n_left;
    int32_t step = (r->text->n_ctx - half) / N_UNCACHED;
    *decoded = r->keeps;
    if (!r->keeps) {
        /* the next of half + step / 2, half + step / 2 + step, ...; each of them when they are few
         */
        int32_t next = step < 1 ? at : half + step / 2;
        while (next < at) {
            next += step;
        }
        *decoded = next < r->text->n_ctx;
        n = *decoded ? next - at + 1 : n_left;
    }
    if (n > r->side.n_chunk) {
        n = r->side.n_chunk;
        *decoded = r->keeps;
    }
    return n;
}

/* tokens [at, at + n): as piece_at has laid them out */
static kvass_status feed_piece(runner *r, int32_t at, int32_t n, bool decoded, kvass_error *err)
{
    const int32_t *ids = r->text->ids + at;
    float *logits = r->oracle ? r->oracle->kept : NULL;
    int32_t n_prefilled = r->keeps ? 0 : n - decoded;
    kvass_status status = KVASS_OK;
    if (n_prefilled > 0) {
        status = eval_feed(&r->side, ids, n_prefilled, false, logits, err);
    }
    if (n_prefilled < n && status == KVASS_OK) {
        int64_t before = recomputed(r);
        logits = logits ? logits + (size_t)n_prefilled * (size_t)r->side.n_vocab : NULL;
        status = eval_feed(&r->side, ids + n_prefilled, n - n_prefilled, true, logits, err);
        r->n_recomputed += recomputed(r) - before;
    }
    return status;
}

/* what tokens [at, at + n) predict, against the oracle */
static kvass_status score_piece(runner *r, int32_t at, int32_t n, kvass_error *err)
{
    tradeoff_oracle *oracle = r->oracle;
    eval_scores *scores = r->scores;
    const int32_t *ids = r->text->ids;
    kvass_status status = eval_feed(&oracle->side, ids + at, n, false, oracle->expected, err);
    for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
        size_t row = (size_t)i * (size_t)r->side.n_vocab;
        eval_row scored = eval_compare(oracle->kept + row, oracle->expected + row, r->side.n_vocab,
                                       ids[at + i + 1]);
        scores->nats += scored.nats;
        scores->reference_nats += scored.reference_nats;
        scores->n_same_top += scored.same_top;
        oracle->kld[scores->n_scored++] = scored.kld;
    }
    return status;
}

static kvass_status read_all(runner *r, kvass_error *err)
{
    const tradeoff_text *text = r->text;
    int32_t half = text->n_ctx / 2;
    double start = cli_now();
    kvass_status status = kvass_prefill(r->side.seq, text->ids, half, err);
    r->scores->prefill_seconds = cli_now() - start;
    r->scores->n_prefilled = half;
    if (status == KVASS_OK && r->oracle) {
        status = eval_feed(&r->oracle->side, text->ids, half, false, NULL, err);
    }
    for (int32_t at = half; at < text->n_ctx && status == KVASS_OK;) {
        bool decoded;
        int32_t n = piece_at(r, at, &decoded);
        status = feed_piece(r, at, n, decoded, err);
        if (status == KVASS_OK && r->oracle) {
            status = score_piece(r, at, n, err);
        }
        at += n;
    }
    return status;
}

static void summarise(runner *r)
{
    eval_scores *scores = r->scores;
    eval_side *side = &r->side;
    scores->n_fed = r->text->n_ctx;
    scores->n_decoded = side->n_decoded;
    scores->decode_seconds = side->decode_seconds;
    cli_sort(side->step_ms, side->n_decoded);
    scores->p50_ms = cli_quantile(side->step_ms, side->n_decoded, 0.5);
    scores->p99_ms = cli_quantile(side->step_ms, side->n_decoded, 0.99);
    kvass_context_get_info(side->ctx, &scores->context);
    kvass_context_get_usage(side->ctx, &scores->usage);
    scores->usage.evicted_tokens -= r->before.evicted_tokens;
    scores->usage.pages_read -= r->before.pages_read;
    scores->kld_floor = NAN;
    if (r->oracle) {
        double sum = 0;
        for (int64_t i = 0; i < scores->n_scored; i++) {
            sum += r->oracle->kld[i];
        }
        scores->n_bytes = r->text->n_bytes;
        scores->kld_mean = sum / (double)scores->n_scored;
        cli_sort(r->oracle->kld, scores->n_scored);
        scores->kld_p99 = cli_quantile(r->oracle->kld, scores->n_scored, 0.99);
        scores->kld_max = cli_quantile(r->oracle->kld, scores->n_scored, 1);
    }
}

kvass_status tradeoff_run(const kvass_model *model, const kvass_context_options *opt,
                          const tradeoff_text *text, tradeoff_oracle *oracle, eval_scores *scores,
                          int64_t *n_recomputed, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    *scores = (eval_scores){0};
    runner r = {.text = text,
                .oracle = oracle,
                .scores = scores,
                .keeps = opt->retain != KVASS_RETAIN_NONE};
    if (oracle) {
        status = open_oracle(oracle, model, opt, err);
    }
    if (status == KVASS_OK) {
        status = eval_side_open(&r.side, model, opt, err);
    }
    if (status == KVASS_OK) {
        r.side.cap_steps = text->n_ctx;
        r.side.step_ms = calloc((size_t)text->n_ctx, sizeof *r.side.step_ms);
        status = r.side.step_ms ? warm_up(&r, err) : no_memory("the time of each token", err);
    }
    if (status == KVASS_OK) {
        status = read_all(&r, err);
    }
    if (status == KVASS_OK) {
        summarise(&r);
        *n_recomputed = r.n_recomputed;
    }
    eval_side_close(&r.side);
    return status;
}
