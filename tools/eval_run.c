/* eval_run.c - a network under measurement: its context, its two ways of being fed, the time they
 * took.
 */
#include "tools/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_FLOATS (4 << 20) /* logits held at once, per context */

const char *const eval_path_names[3] = {"prefill", "decode", "both"};

int32_t eval_chunk(int32_t n_vocab, int32_t n_batch)
{
    int32_t most = CHUNK_FLOATS / n_vocab;
    return most < 1 ? 1 : most < n_batch ? most : n_batch;
}

kvass_context_options eval_reference_options(const kvass_context_options *opt)
{
    kvass_context_options reference = kvass_context_options_default();
    reference.n_ctx = opt->n_ctx;
    reference.n_batch = opt->n_batch;
    reference.n_logits = opt->n_logits;
    reference.n_threads = opt->n_threads;
    reference.deterministic = opt->deterministic;
    reference.isa = opt->isa;
    reference.store = KVASS_STORE_F32;
    return reference;
}

bool eval_is_approximate(const kvass_context_options *opt)
{
    return opt->retain == KVASS_RETAIN_WINDOW || opt->share != KVASS_SHARE_MODEL ||
           opt->select != KVASS_SELECT_ALL ||
           (opt->store != KVASS_STORE_F32 && opt->store != KVASS_STORE_F16);
}

kvass_status eval_side_open(eval_side *side, const kvass_model *model,
                            const kvass_context_options *opt, kvass_error *err)
{
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    side->n_vocab = info.n_vocab;
    side->n_chunk = opt->n_logits;
    side->rows = calloc((size_t)side->n_chunk, sizeof *side->rows);
    if (!side->rows) {
        err->code = KVASS_NOMEM;
        err->rule = "NOMEM";
        (void)snprintf(err->message, sizeof err->message, "out of memory for %d rows",
                       (int)side->n_chunk);
        return KVASS_NOMEM;
    }
    kvass_status status = kvass_context_open(&side->ctx, model, opt, err);
    if (status == KVASS_OK) {
        kvass_context_set_cancel(side->ctx, cli_cancel, NULL);
        status = kvass_seq_open(&side->seq, side->ctx, err);
    }
    return status;
}

void eval_side_close(eval_side *side)
{
    kvass_context_close(&side->ctx);
    free(side->rows);
    free(side->step_ms);
    *side = (eval_side){0};
}

static kvass_status feed_prefill(eval_side *side, const int32_t *ids, int32_t n, float *logits,
                                 kvass_error *err)
{
    kvass_status status = KVASS_OK;
    size_t n_vocab = (size_t)side->n_vocab;
    for (int32_t at = 0; at < n && status == KVASS_OK; at += side->n_chunk) {
        int32_t n_call = n - at < side->n_chunk ? n - at : side->n_chunk;
        for (int32_t i = 0; i < n_call; i++) {
            side->rows[i] =
                (kvass_row){side->seq, ids[at + i], KVASS_PREFILL, logits || at + i + 1 == n};
        }
        double start = cli_now();
        status = kvass_forward(side->ctx, side->rows, n_call, err);
        side->prefill_seconds += cli_now() - start;
        side->n_prefilled += n_call;
        for (int32_t i = 0; logits && i < n_call && status == KVASS_OK; i++) {
            memcpy(logits + (size_t)(at + i) * n_vocab, kvass_context_logits(side->ctx, i),
                   n_vocab * sizeof *logits);
        }
    }
    return status;
}

kvass_status eval_feed(eval_side *side, const int32_t *ids, int32_t n, bool decode, float *logits,
                       kvass_error *err)
{
    if (!decode) {
        return feed_prefill(side, ids, n, logits, err);
    }
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
        double start = cli_now();
        status = kvass_decode(side->seq, ids[i], err);
        double seconds = cli_now() - start;
        side->decode_seconds += seconds;
        if (side->step_ms && side->n_decoded < side->cap_steps) {
            side->step_ms[side->n_decoded] = seconds * 1e3;
        }
        side->n_decoded++;
        if (logits && status == KVASS_OK) {
            memcpy(logits + (size_t)i * (size_t)side->n_vocab, kvass_seq_logits(side->seq),
                   (size_t)side->n_vocab * sizeof *logits);
        }
    }
    return status;
}

double eval_log_sum_exp(const float *x, int32_t n, int32_t *top)
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

void eval_progress(const cli_options *opts, const char *what, int64_t n_done, int64_t n_total)
{
    static double last;
    static int width;
    if (opts->quiet || !isatty(STDERR_FILENO)) {
        return;
    }
    if (n_total == 0) {
        if (width > 0) {
            (void)fprintf(stderr, "\r%*s\r", width, "");
        }
        width = 0;
        return;
    }
    double now = cli_now();
    if (now - last < 0.2) {
        return;
    }
    last = now;
    int n = fprintf(stderr, "\r%s: %lld of %lld ", what, (long long)n_done, (long long)n_total);
    width = n > width ? n : width;
}
