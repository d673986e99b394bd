/* attn_prefill.c - the full-sequence path: a block of query rows against segments of keys, as two
 * matrix products with a softmax between them.
 * An item is (run, KV head, block of 64 rows), dealt to the team; K and V of a segment are loaded
 * through the store once for the n_group query heads that read them. What a row may not see gets
 * weight zero; its score is never used, so no infinities arise. Where the store quantizes full
 * pages, a block ends where the exact rows that its queries read begin anew.
 */
#include "engine/attention.h"
#include "engine/watch.h"

#include <string.h>

/* Positions [begin, end) of a segment that were loaded, as rows of the tile from `at` on. */
typedef struct tile_part {
    int32_t begin, end, at;
} tile_part;

/* What a segment's tile holds: the pinned positions in it, then those of the moving part. */
typedef struct segment_tile {
    tile_part pinned, moving;
    int32_t n_rows;
} segment_tile;

typedef struct prefill_item {
    const kvass_run *run;
    int32_t kv_head;
    int32_t row, n_rows; /* rows of the chunk */
    int32_t exact_from;  /* positions from here on are read from the tail */
} prefill_item;

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* the tile of segment s for queries that together see `view` */
static segment_tile tile_of(kv_view view, int32_t s)
{
    int32_t lo = s * KVASS_SEGMENT_ROWS, hi = lo + KVASS_SEGMENT_ROWS;
    segment_tile tile = {
        {lo, max_of(lo, min_of(view.n_pinned, hi)), 0}, {max_of(lo, view.lo), 0, 0}, 0};
    tile.moving.end = max_of(tile.moving.begin, min_of(view.hi, hi));
    tile.moving.at = tile.pinned.end - tile.pinned.begin;
    tile.n_rows = tile.moving.at + (tile.moving.end - tile.moving.begin);
    return tile;
}

/* K and V of the tile in f32: keys[n_rows, head_dim], values likewise */
static void load_tile(const kvass_context *ctx, kvass_thread_scratch *scratch,
                      const kvass_block *block, const prefill_item *item, const segment_tile *tile)
{
    const kv_store_ops *store = ctx->pool.store;
    int32_t head_dim = ctx->model->config.head_dim;
    const tile_part *parts[2] = {&tile->pinned, &tile->moving};
    kv_fresh fresh = kvass_run_fresh(ctx, block, item->run);
    for (int32_t p = 0; p < 2; p++) {
        int32_t paged_end = max_of(parts[p]->begin, min_of(parts[p]->end, item->exact_from));
        kv_view view = {.lo = parts[p]->begin, .hi = paged_end};
        int32_t n = kv_seq_spans(&ctx->pool, item->run->kv, block->owner, view, scratch->spans);
        for (int32_t i = 0; i < n; i++) {
            kv_rows rows = kv_pool_rows(&ctx->pool, block->owner, item->kv_head, scratch->spans[i],
                                        scratch->reader);
            size_t at = (size_t)(parts[p]->at + rows.span.pos - parts[p]->begin) * (size_t)head_dim;
            store->key.load(&ctx->kernels, rows.keys, rows.span, head_dim, scratch->keys + at);
            store->value.load(&ctx->kernels, rows.values, rows.span, head_dim,
                              scratch->values + at);
        }
        if (paged_end < parts[p]->end) {
            size_t at = (size_t)(parts[p]->at + paged_end - parts[p]->begin) * (size_t)head_dim;
            kv_tail_load(&ctx->pool, item->run->kv, &fresh, block->owner, item->kv_head, paged_end,
                         parts[p]->end, scratch->keys + at, scratch->values + at);
        }
    }
}

/* The columns of a tile that one row sees: [0, n_pinned) and [first, first + n_moving). */
typedef struct row_part {
    int32_t n_pinned, first, n_moving;
} row_part;

static row_part part_of(kv_view view, const segment_tile *tile)
{
    /* of the pinned part a row sees all, or what lies before itself when nothing is missing yet */
    int32_t pinned_end = view.lo <= tile->pinned.begin ? view.hi : view.n_pinned;
    int32_t begin = max_of(view.lo, tile->moving.begin), end = min_of(view.hi, tile->moving.end);
    return (row_part){.n_pinned =
                          max_of(0, min_of(pinned_end, tile->pinned.end) - tile->pinned.begin),
                      .first = tile->moving.at + (begin - tile->moving.begin),
                      .n_moving = max_of(0, end - begin)};
}

/* One row's scores[n] of a tile -> weights in place; what it may not see becomes 0. */
static void row_weights(const kvass_kernels *k, row_part part, const segment_tile *tile,
                        float *scores, float *max, float *sum)
{
    int32_t n_pinned = part.n_pinned, n_moving = part.n_moving, first = part.first;
    *sum = 0.0f;
    *max = 0.0f;
    if (n_pinned > 0) {
        *max = k->max(scores, n_pinned);
    }
    if (n_moving > 0) {
        float moving_max = k->max(scores + first, n_moving);
        *max = n_pinned > 0 && *max > moving_max ? *max : moving_max;
        *sum += k->exp_sum(scores + first, n_moving, *max);
    }
    if (n_pinned > 0) {
        *sum += k->exp_sum(scores, n_pinned, *max);
    }
    for (int32_t j = n_pinned; j < tile->n_rows; j++) {
        if (n_moving == 0 || j < first || j >= first + n_moving) {
            scores[j] = 0.0f;
        }
    }
}

/* one row's weights, told to who watches */
static void tell_row(kvass_watch_row row, row_part part, const segment_tile *tile, float max,
                     const float *weights)
{
    int32_t s = tile->pinned.begin / KVASS_SEGMENT_ROWS;
    if (part.n_pinned > 0) {
        kvass_watch_keys(row, s, max, tile->pinned.begin, part.n_pinned, weights);
    }
    if (part.n_moving > 0) {
        int32_t pos = tile->moving.begin + (part.first - tile->moving.at);
        kvass_watch_keys(row, s, max, pos, part.n_moving, weights + part.first);
    }
}

/* one query head of the group against one loaded tile */
static void attend_tile(const kvass_context *ctx, kvass_thread_scratch *scratch,
                        const kvass_block *block, const prefill_item *item,
                        const segment_tile *tile, int32_t g)
{
    const kvass_kernels *k = &ctx->kernels;
    const kvass_config *c = &ctx->model->config;
    int32_t q_dim = kvass_q_dim(c), head_dim = c->head_dim;
    const float *q = ctx->q + (size_t)item->row * (size_t)q_dim +
                     (size_t)(item->kv_head * ctx->n_group + g) * (size_t)head_dim;
    float *seg_max = scratch->max + (size_t)ctx->n_group * KVASS_PREFILL_ROWS;
    float *seg_sum = scratch->sum + (size_t)ctx->n_group * KVASS_PREFILL_ROWS;
    /* scores[n_rows, tile rows] = scale * q[n_rows, head_dim] . keys[tile rows, head_dim]^T; pinned
     * keys are looked at from where they are in the cache when the context says so */
    float scale = block->layer->spec.attn_scale;
    int32_t n_pinned = ctx->q_pinned ? tile->moving.at : 0;
    if (n_pinned > 0) {
        k->gemm_nt(item->n_rows, n_pinned, head_dim, scale, ctx->q_pinned + (q - ctx->q), q_dim,
                   scratch->keys, head_dim, 0.0f, scratch->scores, KVASS_SEGMENT_ROWS);
    }
    if (tile->n_rows > n_pinned) {
        k->gemm_nt(item->n_rows, tile->n_rows - n_pinned, head_dim, scale, q, q_dim,
                   scratch->keys + (size_t)n_pinned * (size_t)head_dim, head_dim, 0.0f,
                   scratch->scores + n_pinned, KVASS_SEGMENT_ROWS);
    }
    for (int32_t r = 0; r < item->n_rows; r++) {
        kv_view view = block->retain->view(&block->policy, ctx->pos[item->row + r]);
        float *scores = scratch->scores + (size_t)r * KVASS_SEGMENT_ROWS;
        if (block->layer->spec.attn_cap > 0.0f) {
            k->softcap(scores, block->layer->spec.attn_cap, tile->n_rows);
        }
        row_part part = part_of(view, tile);
        row_weights(k, part, tile, scores, &seg_max[r], &seg_sum[r]);
        kvass_watch_row row = kvass_watch_find(
            ctx, block, item->run, item->kv_head * ctx->n_group + g, ctx->pos[item->row + r]);
        if (row.watch) {
            tell_row(row, part, tile, seg_max[r], scores);
        }
    }
    /* part[n_rows, head_dim] = weights[n_rows, tile rows] . values[tile rows, head_dim] */
    k->gemm_nn(item->n_rows, head_dim, tile->n_rows, 1.0f, scratch->scores, KVASS_SEGMENT_ROWS,
               scratch->values, head_dim, 0.0f, scratch->part, head_dim);
    for (int32_t r = 0; r < item->n_rows; r++) {
        size_t at = (size_t)g * KVASS_PREFILL_ROWS + (size_t)r;
        kvass_attn_merge(k, &scratch->max[at], &scratch->sum[at],
                         scratch->out + at * (size_t)head_dim, seg_max[r], seg_sum[r],
                         scratch->part + (size_t)r * (size_t)head_dim, head_dim);
    }
}

static void attend_block(kvass_context *ctx, int32_t member, const kvass_block *block,
                         const prefill_item *item)
{
    kvass_thread_scratch *scratch = &ctx->scratch[member];
    const kvass_config *c = &ctx->model->config;
    int32_t head_dim = c->head_dim, n_group = ctx->n_group;
    int32_t first_pos = ctx->pos[item->row], last_pos = first_pos + item->n_rows - 1;
    kv_view seen =
        block->retain->view(&block->policy, first_pos); /* together: first's lo, last's hi */
    kv_view last = block->retain->view(&block->policy, last_pos);
    seen.hi = last.hi;
    seen.n_pinned = last.n_pinned;
    seen.lo = max_of(seen.lo, seen.n_pinned);
    memset(scratch->sum, 0, (size_t)n_group * KVASS_PREFILL_ROWS * sizeof(float));
    for (int32_t i = 0; i < kvass_attn_n_segments(seen); i++) {
        segment_tile tile = tile_of(seen, kvass_attn_segment(seen, i));
        if (tile.n_rows == 0) {
            continue;
        }
        load_tile(ctx, scratch, block, item, &tile);
        for (int32_t g = 0; g < n_group; g++) {
            attend_tile(ctx, scratch, block, item, &tile, g);
        }
    }
    for (int32_t g = 0; g < n_group; g++) {
        for (int32_t r = 0; r < item->n_rows; r++) {
            size_t at = (size_t)g * KVASS_PREFILL_ROWS + (size_t)r;
            float *ao = ctx->ao + (size_t)(item->row + r) * (size_t)kvass_q_dim(c) +
                        (size_t)(item->kv_head * n_group + g) * (size_t)head_dim;
            memcpy(ao, scratch->out + at * (size_t)head_dim, (size_t)head_dim * sizeof(float));
            ctx->kernels.scale(ao, 1.0f / scratch->sum[at], head_dim);
            kvass_watch_row row =
                kvass_watch_find(ctx, block, item->run, item->kv_head * n_group + g, first_pos + r);
            if (row.watch) {
                kvass_watch_end(row, ctx, block, 0, scratch->max[at], scratch->sum[at]);
            }
        }
    }
}

/* rows of a block that begins at row r of a run: all of them read the same rows exactly */
static int32_t block_rows(const kvass_context *ctx, const kvass_run *run, int32_t r)
{
    int32_t n = min_of(run->n_rows - r, KVASS_PREFILL_ROWS);
    if (ctx->pool.dims.has_tail) {
        int32_t next = KV_PAGE_ROWS - (run->pos + r + 1) % KV_PAGE_ROWS;
        n = min_of(n, next);
    }
    return n;
}

void kvass_attn_prefill(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    int32_t n_kv_heads = ctx->model->config.n_kv_heads, n = 0;
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        const kvass_run *run = &ctx->runs[i];
        if (kvass_attn_is_decode(ctx, run)) {
            continue;
        }
        for (int32_t r = 0, n_rows; r < run->n_rows; r += n_rows) {
            n_rows = block_rows(ctx, run, r);
            for (int32_t kv_head = 0; kv_head < n_kv_heads; kv_head++, n++) {
                if (n % ctx->team.n_threads == member) {
                    int32_t exact_from = kv_exact_from(&ctx->pool.dims, run->pos + r);
                    prefill_item item = {run, kv_head, run->first_row + r, n_rows, exact_from};
                    attend_block(ctx, member, block, &item);
                }
            }
        }
    }
}
