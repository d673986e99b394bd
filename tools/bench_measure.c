/* bench_measure.c - the timed part of `kvass bench`.
 * Token ids are random. Inside the time: the network and a greedy pick from the logits; outside:
 * the tokenizer (there is none), resetting, and the prefill that fills the cache before decoding is
 * timed. The modes take turns within a repetition, so that a machine that grows slower slows them
 * all.
 */
#include "tools/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNCACHED_STEPS 4 /* at most: each costs a prefill of all that came before */

typedef struct bench {
    const bench_args *args;
    kvass_context *ctx[2]; /* with the cache, and without */
    kvass_seq *seq[2];
    kvass_seq *batch[BENCH_MAX_SEQS]; /* with the cache; the first is seq[0] */
    kvass_sampler *sampler;
    int32_t *ids; /* ids[n_ctx], random */
    int32_t n_vocab;
} bench;

const char *bench_mode_name(bench_mode mode)
{
    static const char *const names[] = {"prefill", "cached", "uncached"};
    return names[mode];
}

void bench_uncached_options(kvass_context_options *opt)
{
    opt->retain = KVASS_RETAIN_NONE;
    opt->window = opt->n_sinks = 0;
    opt->positions = KVASS_POSITIONS_ORIGINAL;
    opt->select = KVASS_SELECT_ALL;
    opt->n_topk = opt->n_dense_layers = opt->n_recent = 0;
    opt->n_seqs = 1;
    opt->offload_path = NULL;
}

static kvass_status open_one(bench *b, int i, const kvass_model *model, bool cached,
                             kvass_error *err)
{
    kvass_context_options opt = b->args->opts.context;
    if (!cached) {
        bench_uncached_options(&opt);
    }
    kvass_status status = kvass_context_open(&b->ctx[i], model, &opt, err);
    if (status == KVASS_OK) {
        kvass_context_set_cancel(b->ctx[i], cli_cancel, NULL);
        status = kvass_seq_open(&b->seq[i], b->ctx[i], err);
        b->batch[0] = b->seq[0];
    }
    return status;
}

static kvass_status open_bench(bench *b, const kvass_model *model, kvass_error *err)
{
    kvass_sampler_options greedy = kvass_sampler_options_default();
    greedy.temperature = 0;
    kvass_status status = kvass_sampler_open(&b->sampler, b->n_vocab, &greedy, err);
    if (status == KVASS_OK) {
        status = open_one(b, 0, model, true, err);
    }
    if (status == KVASS_OK && b->args->modes[BENCH_UNCACHED]) {
        status = open_one(b, 1, model, false, err);
    }
    uint32_t random = 20240229;
    for (int32_t i = 0; i < b->args->opts.context.n_ctx; i++) {
        random = random * 1664525u + 1013904223u;
        b->ids[i] = (int32_t)((random >> 8) % (uint32_t)b->n_vocab);
    }
    return status;
}

static void close_bench(bench *b)
{
    kvass_context_close(&b->ctx[0]);
    kvass_context_close(&b->ctx[1]);
    kvass_sampler_close(&b->sampler);
    free(b->ids);
}

static kvass_status pick(bench *b, int i, kvass_error *err)
{
    int32_t token;
    return kvass_sampler_pick(b->sampler, kvass_seq_logits(b->seq[i]), NULL, 0, &token, err);
}

/* n_gen steps of n_seqs sequences together, all of the row's depth; *seconds is set. */
static kvass_status decode_together(bench *b, bench_row *row, double *seconds, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    int32_t tokens[BENCH_MAX_SEQS], n = row->n_seqs;
    for (int32_t s = 1; s < n && status == KVASS_OK; s++) {
        status = kvass_seq_open(&b->batch[s], b->ctx[0], err);
        if (status == KVASS_OK && row->n_ctx_before > 0) { /* no page is shared */
            status = kvass_prefill(b->batch[s], b->ids, row->n_ctx_before, err);
        }
    }
    double start = cli_now();
    for (int32_t i = 0; i < row->n_gen && status == KVASS_OK; i++) {
        for (int32_t s = 0; s < n; s++) {
            tokens[s] = b->ids[row->n_ctx_before + i];
        }
        status = kvass_decode_batch(b->batch, tokens, n, err);
        for (int32_t s = 0; s < n && status == KVASS_OK; s++) {
            status = kvass_sampler_pick(b->sampler, kvass_seq_logits(b->batch[s]), NULL, 0,
                                        &tokens[s], err);
        }
    }
    *seconds = cli_now() - start;
    kvass_cache_usage usage;
    kvass_context_get_usage(b->ctx[0], &usage);
    row->kv_bytes = usage.bytes_used;
    for (int32_t s = 1; s < n; s++) {
        kvass_seq_close(&b->batch[s]);
    }
    return status;
}

/* Whether a row that only decodes finds its context from the repetition before. */
static bool holds(const kvass_seq *seq, const bench_row *row)
{
    return row->mode == BENCH_CACHED && row->n_seqs <= 1 &&
           kvass_seq_n_tokens(seq) >= row->n_ctx_before &&
           kvass_seq_can_truncate(seq) <= row->n_ctx_before;
}

/* One repetition of one row; *tok_s is set. */
static kvass_status repeat(bench *b, bench_row *row, double *tok_s, kvass_error *err)
{
    int i = row->mode == BENCH_UNCACHED ? 1 : 0;
    kvass_seq *seq = b->seq[i];
    kvass_status status = KVASS_OK;
    bool there = holds(seq, row);
    if (there) {
        status = kvass_seq_truncate(seq, row->n_ctx_before, err);
    } else {
        kvass_seq_reset(seq);
    }
    double start = cli_now();
    if (row->n_ctx_before > 0 && !there) {
        status = kvass_prefill(seq, b->ids, row->n_ctx_before, err);
    }
    if (status == KVASS_OK && row->mode == BENCH_PREFILL) {
        status = pick(b, i, err);
    }
    if (row->n_seqs > 1 && status == KVASS_OK) {
        double seconds;
        status = decode_together(b, row, &seconds, err);
        *tok_s = (double)row->n_seqs * row->n_gen / seconds;
        return status;
    }
    double n_tokens = row->n_ctx_before;
    if (row->mode != BENCH_PREFILL) {
        n_tokens = row->n_gen;
        start = cli_now();
        for (int32_t n = 0; n < row->n_gen && status == KVASS_OK; n++) {
            status = kvass_decode(seq, b->ids[row->n_ctx_before + n], err);
            if (status == KVASS_OK) {
                status = pick(b, i, err);
            }
        }
    }
    *tok_s = n_tokens / (cli_now() - start);
    kvass_cache_usage usage;
    kvass_context_get_usage(b->ctx[i], &usage);
    row->kv_bytes = usage.bytes_used;
    return status;
}

static void summarise(bench_row *row)
{
    double sorted[BENCH_MAX_REPS], sum = 0, squares = 0;
    int n = row->n_reps;
    memcpy(sorted, row->tok_s, (size_t)n * sizeof sorted[0]);
    cli_sort(sorted, n);
    for (int i = 0; i < n; i++) {
        sum += sorted[i];
    }
    row->mean = sum / n;
    for (int i = 0; i < n; i++) {
        squares += (sorted[i] - row->mean) * (sorted[i] - row->mean);
    }
    row->sd = n > 1 ? sqrt(squares / (n - 1)) : 0;
    row->median = cli_median(sorted, n);
    row->p5 = cli_quantile(sorted, n, 0.05);
    row->p95 = cli_quantile(sorted, n, 0.95);
    row->ms_per_token = 1e3 / row->median;
}

/* The rows of one depth; a prefill of nothing is no row. */
static int add_rows(const bench_args *args, int32_t depth, bench_row *rows)
{
    int n = 0;
    for (int mode = 0; mode < BENCH_N_MODES; mode++) {
        if (!args->modes[mode] || (mode == BENCH_PREFILL && depth == 0)) {
            continue;
        }
        int32_t n_gen = mode == BENCH_PREFILL                                    ? 0
                        : mode == BENCH_UNCACHED && args->n_gen > UNCACHED_STEPS ? UNCACHED_STEPS
                                                                                 : args->n_gen;
        int n_counts = mode == BENCH_CACHED ? args->n_counts : 1;
        for (int i = 0; i < n_counts; i++) {
            rows[n++] = (bench_row){.mode = (bench_mode)mode,
                                    .n_ctx_before = depth,
                                    .n_gen = n_gen,
                                    .n_seqs = mode == BENCH_CACHED ? args->counts[i] : 1};
        }
    }
    return n;
}

static kvass_status measure_depth(bench *b, bench_row *rows, int n_rows, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (int rep = -b->args->warmup; rep < b->args->reps; rep++) {
        for (int i = 0; i < n_rows && status == KVASS_OK; i++) {
            double tok_s;
            status = repeat(b, &rows[i], &tok_s, err);
            if (rep >= 0) {
                rows[i].tok_s[rows[i].n_reps++] = tok_s;
            }
        }
    }
    for (int i = 0; i < n_rows && status == KVASS_OK; i++) {
        summarise(&rows[i]);
    }
    return status;
}

int bench_measure(const bench_args *args, const kvass_model *model, bench_result *result)
{
    kvass_error err = {0};
    bench b = {.args = args, .n_vocab = result->info.n_vocab};
    b.ids = calloc((size_t)args->opts.context.n_ctx, sizeof *b.ids);
    size_t per_depth = BENCH_N_MODES - 1 + (size_t)args->n_counts;
    result->rows = calloc((size_t)args->n_depths * per_depth, sizeof *result->rows);
    if (!b.ids || !result->rows) {
        free(b.ids);
        cli_say("out of memory for the measurements");
        return CLI_NO_ROOM;
    }
    kvass_status status = open_bench(&b, model, &err);
    for (int d = 0; d < args->n_depths && status == KVASS_OK; d++) {
        bench_row *rows = &result->rows[result->n_rows];
        int n_rows = add_rows(args, args->depths[d], rows);
        status = measure_depth(&b, rows, n_rows, &err);
        result->n_rows += n_rows;
    }
    if (status == KVASS_OK) {
        kvass_context_info info;
        kvass_context_get_info(b.ctx[0], &info);
        result->isa = info.isa; /* a name of static storage */
        result->n_threads = info.n_threads;
    }
    close_bench(&b);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}
