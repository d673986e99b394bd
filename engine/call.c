/* call.c - kvass_forward: a ragged batch checked whole, cut into chunks, committed chunk by chunk.
 * prefill, decode and batched decode are the same call with other rows. Everything that can be
 * foreseen (ids, order, capacity, pages) is refused before the first chunk, and then nothing has
 * changed.
 */
#include "engine/budget.h"
#include "engine/context.h"
#include "engine/forward.h"
#include "engine/reuse.h"

#include <string.h>

/* The rows of a call without an array of them: either rows[n], or tokens[n] of one sequence whose
 * last row wants logits, or one decode row for each of seqs[n]. */
typedef struct call_rows {
    const kvass_row *rows;
    kvass_seq *const *seqs;
    kvass_seq *seq;
    const int32_t *tokens;
    kvass_phase phase;
    int32_t n;
} call_rows;

static kvass_row row_at(const call_rows *call, int32_t i)
{
    if (call->rows) {
        return call->rows[i];
    }
    if (call->seqs) {
        return (kvass_row){call->seqs[i], call->tokens[i], KVASS_DECODE, true};
    }
    return (kvass_row){call->seq, call->tokens[i], call->phase, i + 1 == call->n};
}

static kvass_status check_row(const kvass_context *ctx, const kvass_row *row, int32_t i,
                              kvass_error *err)
{
    int32_t n_vocab = ctx->model->config.n_vocab;
    if (!row->seq || row->seq->ctx != ctx || !row->seq->open) {
        return kvass_fail(err, KVASS_INVALID, "ROW_SEQ",
                          "row %d: its sequence is not an open one of this context", i);
    }
    if (row->token < 0 || row->token >= n_vocab) {
        return kvass_fail(err, KVASS_INVALID, "TOKEN_RANGE",
                          "row %d: token id %d, expected 0 to %d", i, row->token, n_vocab - 1);
    }
    if (row->phase != KVASS_PREFILL && row->phase != KVASS_DECODE) {
        return kvass_fail(err, KVASS_INVALID, "ROW_PHASE", "row %d: phase %d is unknown", i,
                          (int)row->phase);
    }
    return KVASS_OK;
}

/* rows of one sequence become one run of ctx->call_runs */
static kvass_status add_to_runs(kvass_context *ctx, const kvass_row *row, int32_t i,
                                kvass_error *err)
{
    kvass_run *last = ctx->n_call_runs > 0 ? &ctx->call_runs[ctx->n_call_runs - 1] : NULL;
    if (last && last->seq == row->seq) {
        if (last->phase != row->phase) {
            return kvass_fail(err, KVASS_INVALID, "ROW_PHASE",
                              "row %d: rows of one sequence must share one phase", i);
        }
        last->n_rows++;
    } else {
        if (row->seq->in_call) {
            return kvass_fail(err, KVASS_INVALID, "ROW_ORDER",
                              "row %d: rows of one sequence must stand together", i);
        }
        row->seq->in_call = true;
        last = &ctx->call_runs[ctx->n_call_runs++];
        *last = (kvass_run){row->seq, &row->seq->kv, i, 1, row->seq->n_tokens, row->phase};
    }
    if (last->n_rows > ctx->n_ctx - last->pos) {
        return kvass_fail(err, KVASS_CONTEXT_FULL, "CONTEXT_FULL",
                          "context is full: %d tokens are in the sequence and it holds %d",
                          last->pos, ctx->n_ctx);
    }
    return KVASS_OK;
}

static kvass_status check_call(kvass_context *ctx, const call_rows *call, int32_t *n_wanted,
                               kvass_error *err)
{
    kvass_status status = KVASS_OK;
    ctx->n_call_runs = 0;
    *n_wanted = 0;
    for (int32_t i = 0; i < call->n && !status; i++) {
        kvass_row row = row_at(call, i);
        status = check_row(ctx, &row, i, err);
        if (!status) {
            status = add_to_runs(ctx, &row, i, err);
        }
        *n_wanted += row.want_logits;
    }
    for (int32_t i = 0; i < ctx->n_call_runs; i++) {
        ctx->call_runs[i].seq->in_call = false;
    }
    if (!status && *n_wanted > ctx->n_logits) {
        status = kvass_fail(err, KVASS_INVALID, "N_LOGITS",
                            "%d rows want logits, the context was opened for %d", *n_wanted,
                            ctx->n_logits);
    }
    return status;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static void chunk_begin(kvass_context *ctx)
{
    ctx->n_rows = 0;
    ctx->n_runs = 0;
    ctx->n_wanted = 0;
}

static void chunk_add(kvass_context *ctx, kvass_seq *seq, kv_seq *kv, int32_t token, int32_t pos,
                      kvass_phase phase, bool want_logits)
{
    int32_t row = ctx->n_rows++;
    if (ctx->n_runs == 0 || ctx->runs[ctx->n_runs - 1].seq != seq) {
        ctx->runs[ctx->n_runs++] = (kvass_run){seq, kv, row, 0, pos, phase};
    }
    ctx->runs[ctx->n_runs - 1].n_rows++;
    ctx->run_of_row[row] = ctx->n_runs - 1;
    ctx->tokens[row] = token;
    ctx->pos[row] = pos;
    if (want_logits) {
        ctx->wanted[ctx->n_wanted++] = row;
    }
}

/* Run the chunk; its logits go behind those of earlier chunks, and each sequence keeps its last
 * row. */
static kvass_status chunk_run(kvass_context *ctx, bool lone, kvass_error *err)
{
    size_t n_vocab = (size_t)ctx->model->config.n_vocab;
    float *logits = NULL;
    if (ctx->n_wanted > 0) {
        kvass_seq *first = ctx->runs[ctx->run_of_row[ctx->wanted[0]]].seq;
        logits = lone ? first->logits : ctx->logits + (size_t)ctx->n_logits_out * n_vocab;
    }
    kvass_status status = kvass_forward_chunk(ctx, logits, err);
    if (!status) {
        status = kv_cold_check(&ctx->pool, err);
    }
    for (int32_t i = 0; !status && i < ctx->n_wanted; i++) {
        kvass_seq *seq = ctx->runs[ctx->run_of_row[ctx->wanted[i]]].seq;
        bool last_of_seq =
            i + 1 == ctx->n_wanted || ctx->runs[ctx->run_of_row[ctx->wanted[i + 1]]].seq != seq;
        if (!lone && last_of_seq) {
            memcpy(seq->logits, logits + (size_t)i * n_vocab, n_vocab * sizeof(float));
        }
        seq->has_logits = true;
        ctx->lone_logits = lone ? logits : NULL;
        ctx->n_logits_out++;
    }
    return status;
}

/* Pages for the chunk's rows. Where a call was checked as a whole this cannot fail. */
static kvass_status chunk_reserve(kvass_context *ctx, kvass_error *err)
{
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        ctx->call_kv[i] = ctx->runs[i].kv;
        ctx->call_counts[i] = ctx->runs[i].n_rows;
    }
    bool fits = kv_reserve(&ctx->pool, ctx->call_kv, ctx->call_counts, ctx->n_runs);
    kvass_status status = kv_cold_check(&ctx->pool, err);
    while (!fits && !status && kvass_reuse_release(ctx)) {
        fits = kv_reserve(&ctx->pool, ctx->call_kv, ctx->call_counts, ctx->n_runs);
        status = kv_cold_check(&ctx->pool, err);
    }
    if (!fits && !status) {
        return kvass_budget_fail_pages(ctx, ctx->n_rows, err);
    }
    return status;
}

/* reserve, run, and make the rows part of their caches; or leave those as they were */
static kvass_status chunk_append(kvass_context *ctx, bool lone, kvass_error *err)
{
    kvass_status status = chunk_reserve(ctx, err);
    if (status) {
        return status;
    }
    status = chunk_run(ctx, lone, err);
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        kvass_run *run = &ctx->runs[i];
        if (status) {
            kv_seq_rollback(&ctx->pool, run->kv);
        } else {
            int32_t n_dropped = kv_seq_commit(&ctx->pool, run->kv, run->n_rows);
            ctx->evicted_tokens += ctx->keeps_rows ? n_dropped : 0;
        }
    }
    return status;
}

/* rows are kept: chunk by chunk */
static kvass_status run_cached(kvass_context *ctx, const call_rows *call, bool lone,
                               kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < call->n && !status;) {
        chunk_begin(ctx);
        for (; i < call->n && ctx->n_rows < ctx->n_batch; i++) {
            kvass_row row = row_at(call, i);
            bool continues = ctx->n_runs > 0 && ctx->runs[ctx->n_runs - 1].seq == row.seq;
            int32_t ahead = continues ? ctx->runs[ctx->n_runs - 1].n_rows : 0;
            chunk_add(ctx, row.seq, &row.seq->kv, row.token,
                      ctx->n_meta + row.seq->n_tokens + ahead, row.phase, row.want_logits);
        }
        status = chunk_append(ctx, lone, err);
        for (int32_t r = 0; r < ctx->n_runs && !status; r++) {
            const kvass_run *run = &ctx->runs[r];
            memcpy(run->seq->tokens + run->seq->n_tokens, ctx->tokens + run->first_row,
                   (size_t)run->n_rows * sizeof(int32_t));
            run->seq->n_tokens += run->n_rows;
        }
    }
    return status;
}

/* Whether the whole call finds pages, before its first chunk. Where nothing is kept each run has
 * the pool to itself, for its past as well. */
static kvass_status check_pages(kvass_context *ctx, kvass_error *err)
{
    int64_t n_rows = 0;
    bool fits = true;
    for (int32_t i = 0; i < ctx->n_call_runs; i++) {
        const kvass_run *run = &ctx->call_runs[i];
        int32_t n_past = ctx->keeps_rows ? 0 : ctx->n_meta + run->pos;
        ctx->call_kv[i] = ctx->keeps_rows ? run->kv : &ctx->transient;
        ctx->call_counts[i] = n_past + run->n_rows;
        n_rows += run->n_rows;
        if (!ctx->keeps_rows) {
            fits = fits && kv_can_reserve(&ctx->pool, &ctx->call_kv[i], &ctx->call_counts[i], 1);
        }
    }
    if (ctx->keeps_rows) {
        fits = kv_can_reserve(&ctx->pool, ctx->call_kv, ctx->call_counts, ctx->n_call_runs);
    }
    while (!fits && kvass_reuse_release(ctx)) {
        fits = kv_can_reserve(&ctx->pool, ctx->call_kv, ctx->call_counts, ctx->n_call_runs);
    }
    if (!fits) {
        return kvass_budget_fail_pages(ctx, n_rows, err);
    }
    return KVASS_OK;
}

/* rows [0, n_tokens) of ctx->prefix: meta tokens, then the prefix */
static int32_t prefix_token(const kvass_context *ctx, int32_t pos)
{
    return pos < ctx->n_meta ? ctx->model->config.n_vocab + pos
                             : ctx->prefix_tokens[pos - ctx->n_meta];
}

kvass_status kvass_context_run_prefix(kvass_context *ctx, kvass_error *err)
{
    int32_t n = ctx->n_meta + ctx->n_prefix;
    kvass_status status = KVASS_OK;
    for (int32_t pos = 0; ctx->keeps_rows && pos < n && !status;) {
        chunk_begin(ctx);
        for (; pos < n && ctx->n_rows < ctx->n_batch; pos++) {
            chunk_add(ctx, NULL, &ctx->prefix, prefix_token(ctx, pos), pos, KVASS_PREFILL, false);
        }
        status = chunk_append(ctx, false, err);
    }
    return status;
}

kvass_status kvass_context_refill(kvass_seq *seq, int32_t n_tokens, kvass_error *err)
{
    kvass_context *ctx = seq->ctx;
    call_rows call = {.seq = seq, .tokens = seq->tokens + seq->n_tokens, .phase = KVASS_PREFILL};
    call.n = n_tokens - seq->n_tokens;
    kvass_status status = KVASS_OK;
    if (call.n > 0) {
        ctx->n_logits_out = 0;
        ctx->lone_logits = NULL;
        status = run_cached(ctx, &call, true, err);
        ctx->recomputed_tokens += seq->n_tokens - ctx->n_prefix;
        seq->has_logits = false;
    }
    return status;
}

/* Nothing is kept: one run's whole past and its new rows go through the full-sequence path, from an
 * empty transient cache. The sequence changes only when all of it is done. */
static kvass_status recompute_run(kvass_context *ctx, const call_rows *call, const kvass_run *run,
                                  bool lone, kvass_error *err)
{
    kvass_seq *seq = run->seq;
    kv_seq *kv = &ctx->transient;
    int32_t n_kept = ctx->n_meta + run->pos, total = n_kept + run->n_rows;
    kvass_status status = KVASS_OK;
    for (int32_t pos = 0; pos < total && !status;) {
        chunk_begin(ctx);
        for (; pos < total && ctx->n_rows < ctx->n_batch; pos++) {
            if (pos < ctx->n_meta) {
                chunk_add(ctx, seq, kv, prefix_token(ctx, pos), pos, KVASS_PREFILL, false);
            } else if (pos < n_kept) {
                chunk_add(ctx, seq, kv, seq->tokens[pos - ctx->n_meta], pos, KVASS_PREFILL, false);
            } else {
                kvass_row row = row_at(call, run->first_row + pos - n_kept);
                /* beyond n_tokens: not part of the sequence yet */
                seq->tokens[pos - ctx->n_meta] = row.token;
                chunk_add(ctx, seq, kv, row.token, pos, KVASS_PREFILL, row.want_logits);
            }
        }
        status = chunk_append(ctx, lone, err);
    }
    kvass_cache_usage usage;
    kv_pool_get_usage(&ctx->pool, &usage);
    ctx->transient_bytes = usage.bytes_used;
    kv_seq_truncate(&ctx->pool, kv, 0);
    if (!status) {
        ctx->recomputed_tokens += run->pos;
        seq->n_tokens = run->pos + run->n_rows;
    }
    return status;
}

static kvass_status run_call(kvass_context *ctx, const call_rows *call, kvass_error *err)
{
    int32_t n_wanted;
    kvass_status status = check_call(ctx, call, &n_wanted, err);
    if (status) {
        return status;
    }
    if ((status = check_pages(ctx, err))) {
        return status;
    }
    ctx->n_logits_out = 0;
    ctx->lone_logits = NULL;
    for (int32_t i = 0; i < ctx->n_call_runs; i++) {
        ctx->call_runs[i].seq->has_logits = false;
    }
    if (ctx->keeps_rows) {
        return run_cached(ctx, call, n_wanted == 1, err);
    }
    for (int32_t i = 0; i < ctx->n_call_runs && !status; i++) {
        status = recompute_run(ctx, call, &ctx->call_runs[i], n_wanted == 1, err);
    }
    return status;
}

/* ---- the public calls ------------------------------------------------------------------------ */

kvass_status kvass_forward(kvass_context *ctx, const kvass_row *rows, int32_t n_rows,
                           kvass_error *err)
{
    if (!ctx || !rows || n_rows < 1) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "a context and at least one row are needed");
    }
    return run_call(ctx, &(call_rows){.rows = rows, .n = n_rows}, err);
}

kvass_status kvass_prefill(kvass_seq *seq, const int32_t *tokens, int32_t n_tokens,
                           kvass_error *err)
{
    if (!seq || !tokens || n_tokens < 1) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "a sequence and at least one token are needed");
    }
    call_rows call = {.seq = seq, .tokens = tokens, .phase = KVASS_PREFILL, .n = n_tokens};
    return run_call(seq->ctx, &call, err);
}

kvass_status kvass_decode(kvass_seq *seq, int32_t token, kvass_error *err)
{
    if (!seq) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "a sequence is needed");
    }
    call_rows call = {.seq = seq, .tokens = &token, .phase = KVASS_DECODE, .n = 1};
    return run_call(seq->ctx, &call, err);
}

kvass_status kvass_decode_batch(kvass_seq *const *seqs, const int32_t *tokens, int32_t n_seqs,
                                kvass_error *err)
{
    if (!seqs || !tokens || n_seqs < 1 || !seqs[0]) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "sequences and a token for each are needed");
    }
    call_rows call = {.seqs = seqs, .tokens = tokens, .phase = KVASS_DECODE, .n = n_seqs};
    kvass_context *ctx = seqs[0]->ctx;
    for (int32_t i = 1; i < n_seqs; i++) {
        if (seqs[i] == seqs[i - 1]) { /* neighbours would merge into one run of two rows */
            return kvass_fail(err, KVASS_INVALID, "ROW_ORDER", "sequence %d is given twice", i);
        }
    }
    return run_call(ctx, &call, err);
}

const float *kvass_context_logits(const kvass_context *ctx, int32_t i)
{
    if (!ctx || i < 0 || i >= ctx->n_logits_out) {
        return NULL;
    }
    return ctx->lone_logits ? ctx->lone_logits
                            : ctx->logits + (size_t)i * (size_t)ctx->model->config.n_vocab;
}
