/* reuse.c - prefixes shared across prompts: pages of closed sequences wait for a prompt that begins
 * alike. Each full page has a hash of its tokens and of all before them; a match counts only when
 * the tokens are equal, too. Pages are shared, never copied, and given back, longest unused first,
 * as soon as a running sequence wants them.
 */
#include "engine/reuse.h"

#include <string.h>

#include "engine/base/hash.h"

uint64_t kvass_reuse_hash(uint64_t parent, const int32_t *tokens, int32_t n)
{
    return kvass_hash_of(tokens, (size_t)n * sizeof *tokens, parent);
}

void kvass_reuse_carve(kvass_context *ctx, kvass_arena *arena)
{
    ctx->retired = kvass_arena_take(arena, (size_t)ctx->n_reuse, sizeof *ctx->retired);
    for (int32_t i = 0; i < ctx->n_reuse; i++) {
        kvass_retired r = {0};
        size_t n_pages = (size_t)kv_pages_for(ctx->pool.dims.n_ctx);
        r.tokens = kvass_arena_take(arena, (size_t)ctx->n_ctx, sizeof *r.tokens);
        r.hashes = kvass_arena_take(arena, n_pages, sizeof *r.hashes);
        kv_seq_carve(&r.kv, &ctx->pool.dims, ctx->owners, arena);
        if (ctx->retired) {
            ctx->retired[i] = r;
        }
    }
}

/* tokens [*begin, *end) of a text lie in page i, whose first rows may be meta tokens */
static void tokens_of_page(const kvass_context *ctx, int32_t i, int32_t *begin, int32_t *end)
{
    *end = (i + 1) * KV_PAGE_ROWS - ctx->n_meta;
    *begin = *end - KV_PAGE_ROWS;
    *begin = *begin > 0 ? *begin : 0;
    *end = *end > 0 ? *end : 0;
}

static void forget(kvass_context *ctx, kvass_retired *r)
{
    kv_seq_truncate(&ctx->pool, &r->kv, 0);
    r->n_pages = 0;
}

/* the retired sequence longest not used, or a place without one */
static kvass_retired *oldest(kvass_context *ctx)
{
    kvass_retired *found = &ctx->retired[0];
    for (int32_t i = 1; i < ctx->n_reuse; i++) {
        kvass_retired *r = &ctx->retired[i];
        if (found->n_pages > 0 && (r->n_pages == 0 || r->last_use < found->last_use)) {
            found = r;
        }
    }
    return found;
}

bool kvass_reuse_release(kvass_context *ctx)
{
    kvass_retired *found = NULL;
    for (int32_t i = 0; i < ctx->n_reuse; i++) {
        kvass_retired *r = &ctx->retired[i];
        if (r->n_pages > 0 && (!found || r->last_use < found->last_use)) {
            found = r;
        }
    }
    if (found) {
        forget(ctx, found);
    }
    return found != NULL;
}

/* whether `more` can give whatever `less` can, page by page */
static bool covers(const kvass_context *ctx, const kv_seq *more, const int32_t *more_tokens,
                   const kv_seq *less, const int32_t *less_tokens)
{
    int32_t rows = less->n_rows / KV_PAGE_ROWS * KV_PAGE_ROWS, n = rows - ctx->n_meta;
    return more->n_rows >= rows && n >= 0 &&
           kv_seq_can_truncate(&ctx->pool, more) <= kv_seq_can_truncate(&ctx->pool, less) &&
           kv_tail_reaches(&ctx->pool, more, rows) &&
           memcmp(more_tokens, less_tokens, (size_t)n * sizeof *more_tokens) == 0;
}

void kvass_reuse_retire(kvass_context *ctx, const kvass_seq *seq)
{
    int32_t n_pages = ctx->keeps_rows ? seq->kv.n_rows / KV_PAGE_ROWS : 0;
    if (ctx->n_reuse == 0 || n_pages == 0 || seq->n_tokens <= ctx->n_prefix) {
        return;
    }
    for (int32_t i = 0; i < ctx->n_reuse; i++) {
        kvass_retired *r = &ctx->retired[i];
        if (r->n_pages > 0 && covers(ctx, &r->kv, r->tokens, &seq->kv, seq->tokens)) {
            r->last_use = ++ctx->reuse_clock;
            return;
        }
        if (r->n_pages > 0 && covers(ctx, &seq->kv, seq->tokens, &r->kv, r->tokens)) {
            forget(ctx, r);
        }
    }
    kvass_retired *r = oldest(ctx);
    forget(ctx, r);
    kv_seq_fork(&ctx->pool, &r->kv, &seq->kv);
    memcpy(r->tokens, seq->tokens, (size_t)seq->n_tokens * sizeof *seq->tokens);
    r->n_pages = n_pages;
    r->last_use = ++ctx->reuse_clock;
    uint64_t hash = 0;
    for (int32_t i = 0; i < n_pages; i++) {
        int32_t begin, end;
        tokens_of_page(ctx, i, &begin, &end);
        r->hashes[i] = hash = ctx->reuse_hash(hash, r->tokens + begin, end - begin);
    }
}

/* The retired sequence that has most of text[n] in common, page by page, as far as its rows can
 * still be had; *n_rows is how many. */
static kvass_retired *find(kvass_context *ctx, const int32_t *text, int32_t n, int32_t *n_rows)
{
    kvass_retired *found = NULL;
    uint64_t hash = 0;
    bool any = true;
    for (int32_t i = 0; i < ctx->n_reuse; i++) {
        ctx->retired[i].n_matched = 0;
    }
    for (int32_t page = 0; any && (page + 1) * KV_PAGE_ROWS <= ctx->n_meta + n; page++) {
        int32_t begin, end, rows = (page + 1) * KV_PAGE_ROWS;
        tokens_of_page(ctx, page, &begin, &end);
        hash = ctx->reuse_hash(hash, text + begin, end - begin);
        any = false;
        for (int32_t i = 0; i < ctx->n_reuse; i++) {
            kvass_retired *r = &ctx->retired[i];
            if (r->n_matched < page || r->n_pages <= page || r->hashes[page] != hash ||
                memcmp(r->tokens + begin, text + begin, (size_t)(end - begin) * sizeof *text) !=
                    0) {
                continue;
            }
            any = true;
            r->n_matched = page + 1;
            if (kv_seq_can_truncate(&ctx->pool, &r->kv) <= rows &&
                kv_tail_reaches(&ctx->pool, &r->kv, rows)) {
                found = r;
                *n_rows = rows;
            }
        }
    }
    return found;
}

kvass_status kvass_seq_reuse(kvass_seq *seq, const int32_t *tokens, int32_t n_tokens,
                             int32_t *n_reused, kvass_error *err)
{
    if (!seq || !seq->open || !tokens || n_tokens < 1 || !n_reused) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "an open sequence, at least one token and n_reused are needed");
    }
    kvass_context *ctx = seq->ctx;
    int32_t n_vocab = ctx->model->config.n_vocab, n_rows = 0;
    if (seq->n_tokens != ctx->n_prefix) {
        return kvass_fail(err, KVASS_INVALID, "REUSE",
                          "the sequence has %d tokens already: only a new one can begin as another "
                          "did",
                          seq->n_tokens - ctx->n_prefix);
    }
    if (n_tokens > ctx->n_ctx - seq->n_tokens) {
        return kvass_fail(err, KVASS_CONTEXT_FULL, "CONTEXT_FULL",
                          "context is full: %d tokens, the sequence holds %d more", n_tokens,
                          ctx->n_ctx - seq->n_tokens);
    }
    for (int32_t i = 0; i < n_tokens; i++) {
        if (tokens[i] < 0 || tokens[i] >= n_vocab) {
            return kvass_fail(err, KVASS_INVALID, "TOKEN_RANGE",
                              "token %d: id %d, expected 0 to %d", i, tokens[i], n_vocab - 1);
        }
    }
    *n_reused = 0;
    /* behind n_tokens a sequence's array is free; the last token is left to be run: it is what
     * gives logits */
    memcpy(seq->tokens + seq->n_tokens, tokens, (size_t)n_tokens * sizeof *tokens);
    kvass_retired *r = find(ctx, seq->tokens, ctx->n_prefix + n_tokens - 1, &n_rows);
    if (r && n_rows - ctx->n_meta > ctx->n_prefix) {
        kv_seq_truncate(&ctx->pool, &seq->kv, 0);
        kv_seq_fork(&ctx->pool, &seq->kv, &r->kv);
        kv_seq_truncate(&ctx->pool, &seq->kv, n_rows);
        r->last_use = ++ctx->reuse_clock;
        seq->n_tokens = n_rows - ctx->n_meta;
        seq->has_logits = false;
        *n_reused = seq->n_tokens - ctx->n_prefix;
        ctx->reused_tokens += *n_reused;
    }
    return KVASS_OK;
}
