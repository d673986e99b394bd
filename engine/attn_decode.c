/* attn_decode.c - the cached single-token path: one query row against all it may see.
 * An item is (row, KV head): its n_group query heads read the same keys and values, once. Items are
 * dealt to the team; when there are too few to go round, the segments of each item are, and the
 * partial results are merged afterwards in segment order, which is what a lone thread does as it
 * goes.
 */
#include "engine/attention.h"
#include "engine/watch.h"

#include <string.h>

/* softmax over one segment for the n_group heads of an item */
typedef struct segment_result {
    float *max, *sum; /* [n_group] */
    float *out;       /* [n_group, head_dim], not yet divided by sum */
} segment_result;

/* One query row and KV head, and where its keys lie. */
typedef struct decode_item {
    const float *q;        /* [n_group, head_dim] */
    const float *q_pinned; /* the same as pinned keys see it */
    float *ao;             /* [n_group, head_dim] */
    const kv_span *spans;  /* of what is read from pages */
    int32_t n_spans;
    int32_t next; /* spans before this one end before the segments still to come */
    kv_view view;
    int32_t exact_from; /* visible positions from here on are read from the tail */
    int32_t chosen;     /* of pages before this position some were chosen */
    const kvass_run *run;
    kv_fresh fresh;
    int32_t kv_head, pos;
    kv_reader *reader;
} decode_item;

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

int32_t kvass_attn_split_items(int32_t n_threads)
{
    return n_threads > 1 ? 4 * n_threads - 1 : 0;
}

size_t kvass_attn_partial_floats(int32_t n_group, int32_t head_dim)
{
    return (size_t)n_group * ((size_t)head_dim + 2);
}

static segment_result result_at(float *floats, int32_t n_group)
{
    return (segment_result){floats, floats + n_group, floats + 2 * (size_t)n_group};
}

/* the part of `span` inside segment s; false if none */
static bool clip(kv_span span, int32_t s, kv_span *part)
{
    int32_t lo = s * KVASS_SEGMENT_ROWS, hi = lo + KVASS_SEGMENT_ROWS;
    int32_t begin = span.pos > lo ? span.pos : lo;
    int32_t end = span.pos + span.n_rows < hi ? span.pos + span.n_rows : hi;
    if (begin >= end) {
        return false;
    }
    *part = (kv_span){span.row + (begin - span.pos), end - begin, begin};
    return true;
}

/* Visible exact rows at or after *pos inside segment s; false if there are none. *pos is set to
 * their first position. */
static bool next_exact(const kvass_context *ctx, const kvass_block *block, const decode_item *item,
                       int32_t s, int32_t *pos, kv_exact *rows)
{
    int32_t end = (s + 1) * KVASS_SEGMENT_ROWS;
    kv_view view = item->view;
    int32_t hi = *pos < view.n_pinned ? view.n_pinned : view.hi;
    if (*pos >= view.n_pinned && *pos < view.lo) {
        *pos = view.lo;
    }
    hi = hi < end ? hi : end;
    if (*pos >= hi) {
        return false;
    }
    *rows = kv_tail_rows(&ctx->pool, item->run->kv, &item->fresh, block->owner, item->kv_head, *pos,
                         hi);
    return true;
}

/* where the exact rows of segment s begin to be looked for */
static int32_t exact_begin(const decode_item *item, int32_t s)
{
    int32_t lo = s * KVASS_SEGMENT_ROWS;
    return item->exact_from > lo ? item->exact_from : lo;
}

/* the spans [*begin, *end) that touch segment s; segments of an item come in order */
static void spans_of(decode_item *item, int32_t s, int32_t *begin, int32_t *end)
{
    int32_t lo = s * KVASS_SEGMENT_ROWS, hi = lo + KVASS_SEGMENT_ROWS;
    while (item->next < item->n_spans &&
           item->spans[item->next].pos + item->spans[item->next].n_rows <= lo) {
        item->next++;
    }
    *begin = *end = item->next;
    while (*end < item->n_spans && item->spans[*end].pos < hi) {
        ++*end;
    }
}

/* whether anything that is read lies in segment s, or may; segments of an item come in order */
static bool has_rows(decode_item *item, int32_t s)
{
    int32_t begin, end;
    spans_of(item, s, &begin, &end);
    return begin < end || item->exact_from < (s + 1) * KVASS_SEGMENT_ROWS;
}

/* the weights of segment s, told to who watches; they lie in `scores` as they were read */
static void tell_segment(const kvass_context *ctx, const kvass_block *block,
                         const decode_item *item, int32_t s, const float *scores, segment_result r)
{
    for (int32_t g = 0; g < ctx->n_group; g++) {
        int32_t head = item->kv_head * ctx->n_group + g, n = 0;
        kvass_watch_row row = kvass_watch_find(ctx, block, item->run, head, item->pos);
        const float *weights = scores + (size_t)g * KVASS_SEGMENT_ROWS;
        kv_span part;
        for (int32_t i = 0; row.watch && i < item->n_spans; i++) {
            if (clip(item->spans[i], s, &part)) {
                kvass_watch_keys(row, s, r.max[g], part.pos, part.n_rows, weights + n);
                n += part.n_rows;
            }
        }
        kv_exact exact;
        for (int32_t pos = exact_begin(item, s);
             row.watch && next_exact(ctx, block, item, s, &pos, &exact); pos += exact.n_rows) {
            kvass_watch_keys(row, s, r.max[g], pos, exact.n_rows, weights + n);
            n += exact.n_rows;
        }
    }
}

/* Ask for the beginning of keys or values of span i if it is a page that was chosen: by itself the
 * processor would not know where to go on. */
static void fetch_span(const kvass_context *ctx, const kvass_block *block, const decode_item *item,
                       int32_t i, bool keys)
{
    const kv_pool *pool = &ctx->pool;
    if (i >= item->n_spans || item->spans[i].n_rows > KV_PAGE_ROWS || item->spans[i].row < 0) {
        return;
    }
    size_t page_bytes = keys ? pool->key_page_bytes : pool->value_page_bytes;
    const unsigned char *range = keys ? kv_pool_key_range(pool, block->owner, item->kv_head)
                                      : kv_pool_value_range(pool, block->owner, item->kv_head);
    ctx->kernels.fetch(range + (size_t)(item->spans[i].row / KV_PAGE_ROWS) * page_bytes,
                       page_bytes < KVASS_AHEAD ? page_bytes : KVASS_AHEAD);
}

static void attend_segment(const kvass_context *ctx, const kvass_block *block, decode_item *item,
                           int32_t s, float *scores, segment_result r)
{
    const kvass_kernels *k = &ctx->kernels;
    const kv_store_ops *store = ctx->pool.store;
    int32_t head_dim = ctx->model->config.head_dim, n_group = ctx->n_group, n = 0, begin, end;
    kv_span part;
    spans_of(item, s, &begin, &end);
    /* scores[n_group, n]: visible rows of the segment, packed */
    for (int32_t i = begin; i < end; i++) {
        if (clip(item->spans[i], s, &part)) {
            const float *q = part.pos < item->view.n_pinned ? item->q_pinned : item->q;
            kv_rows rows =
                kv_pool_rows(&ctx->pool, block->owner, item->kv_head, part, item->reader);
            fetch_span(ctx, block, item, i + 1, true);
            store->key.dot(k, rows.keys, rows.span, q, n_group, head_dim,
                           block->layer->spec.attn_scale, scores + n, KVASS_SEGMENT_ROWS);
            n += part.n_rows;
        }
    }
    kv_exact exact;
    for (int32_t pos = exact_begin(item, s); next_exact(ctx, block, item, s, &pos, &exact);
         pos += exact.n_rows) {
        const float *q = pos < item->view.n_pinned ? item->q_pinned : item->q;
        k->kv_dot_f32(q, n_group, head_dim, exact.k, exact.n_rows, block->layer->spec.attn_scale,
                      scores + n, KVASS_SEGMENT_ROWS);
        n += exact.n_rows;
    }
    if (n == 0) { /* nothing that is read lies here */
        memset(r.sum, 0, (size_t)n_group * sizeof(float));
        return;
    }
    fetch_span(ctx, block, item, begin, false);
    for (int32_t g = 0; g < n_group; g++) {
        float *row = scores + (size_t)g * KVASS_SEGMENT_ROWS;
        if (block->layer->spec.attn_cap > 0.0f) {
            k->softcap(row, block->layer->spec.attn_cap, n);
        }
        r.max[g] = k->max(row, n);
        r.sum[g] = k->exp_sum(row, n, r.max[g]);
    }
    if (ctx->watch) {
        tell_segment(ctx, block, item, s, scores, r);
    }
    /* out[n_group, head_dim] = sum over rows of weight * value */
    memset(r.out, 0, (size_t)n_group * (size_t)head_dim * sizeof(float));
    n = 0;
    for (int32_t i = begin; i < end; i++) {
        if (clip(item->spans[i], s, &part)) {
            kv_rows rows =
                kv_pool_rows(&ctx->pool, block->owner, item->kv_head, part, item->reader);
            fetch_span(ctx, block, item, i + 1 < end ? i + 1 : item->n_spans, false);
            store->value.acc(k, rows.values, rows.span, scores + n, KVASS_SEGMENT_ROWS, n_group,
                             head_dim, r.out);
            n += part.n_rows;
        }
    }
    for (int32_t pos = exact_begin(item, s); next_exact(ctx, block, item, s, &pos, &exact);
         pos += exact.n_rows) {
        k->kv_acc_f32(scores + n, KVASS_SEGMENT_ROWS, n_group, head_dim, exact.v, exact.n_rows,
                      r.out);
        n += exact.n_rows;
    }
}

/* the part of a view that lies in pages: positions before exact_from */
static kv_view paged_view(kv_view view, int32_t exact_from)
{
    view.n_pinned = view.n_pinned < exact_from ? view.n_pinned : exact_from;
    view.lo = view.lo < exact_from ? view.lo : exact_from;
    view.hi = view.hi < exact_from ? view.hi : exact_from;
    return view;
}

static void merge_segment(const kvass_context *ctx, segment_result all, segment_result one)
{
    int32_t head_dim = ctx->model->config.head_dim;
    for (int32_t g = 0; g < ctx->n_group; g++) {
        size_t at = (size_t)g * (size_t)head_dim;
        kvass_attn_merge(&ctx->kernels, &all.max[g], &all.sum[g], all.out + at, one.max[g],
                         one.sum[g], one.out + at, head_dim);
    }
}

/* ao[n_group, head_dim] = out / sum */
static void finish(const kvass_context *ctx, kvass_thread_scratch *scratch,
                   const kvass_block *block, const decode_item *item, segment_result all)
{
    int32_t head_dim = ctx->model->config.head_dim;
    for (int32_t i = 0; i < item->n_spans; i++) {
        const kv_span *span = &item->spans[i];
        scratch->pages_read += kv_pages_for(span->pos + span->n_rows) - span->pos / KV_PAGE_ROWS;
    }
    for (int32_t g = 0; g < ctx->n_group; g++) {
        float *ao = item->ao + (size_t)g * (size_t)head_dim;
        memcpy(ao, all.out + (size_t)g * (size_t)head_dim, (size_t)head_dim * sizeof(float));
        ctx->kernels.scale(ao, 1.0f / all.sum[g], head_dim);
        kvass_watch_row row =
            kvass_watch_find(ctx, block, item->run, item->kv_head * ctx->n_group + g, item->pos);
        if (row.watch) {
            kvass_watch_end(row, ctx, block, item->chosen, all.max[g], all.sum[g]);
        }
    }
}

static decode_item item_of(kvass_context *ctx, int32_t member, const kvass_block *block,
                           int32_t row, int32_t kv_head)
{
    const kvass_config *c = &ctx->model->config;
    kvass_thread_scratch *scratch = &ctx->scratch[member];
    size_t at = (size_t)row * (size_t)kvass_q_dim(c) +
                (size_t)kv_head * (size_t)ctx->n_group * (size_t)c->head_dim;
    const kvass_run *run = &ctx->runs[ctx->run_of_row[row]];
    kv_view view = block->retain->view(&block->policy, ctx->pos[row]);
    int32_t exact_from = kv_exact_from(&ctx->pool.dims, ctx->pos[row]);
    int32_t newest = min_of(ctx->pos[row], min_of(exact_from, ctx->pos[row] + 1 - ctx->n_recent));
    kv_query query = {.q = ctx->q + at,
                      .n_q = ctx->n_group,
                      .kv_head = kv_head,
                      .pos = ctx->pos[row],
                      .view = paged_view(view, exact_from),
                      .n_pinned = block->policy.n_pinned,
                      .newest = newest > 0 ? newest : 0,
                      .n_topk = ctx->n_topk};
    /* a prefill reads everything, in whatever way it is computed */
    const kv_select_ops *select = run->phase == KVASS_DECODE ? block->select : &kv_select_all;
    int32_t n =
        select->pick(&ctx->pool, run->kv, block->owner, &query, &scratch->pick, scratch->spans);
    return (decode_item){
        .q = ctx->q + at,
        .q_pinned = (ctx->q_pinned ? ctx->q_pinned : ctx->q) + at,
        .ao = ctx->ao + at,
        .spans = scratch->spans,
        .n_spans = n,
        .view = view,
        .exact_from = exact_from,
        .chosen = select == &kv_select_all ? 0 : query.newest / KV_PAGE_ROWS * KV_PAGE_ROWS,
        .run = run,
        .fresh = kvass_run_fresh(ctx, block, run),
        .kv_head = kv_head,
        .pos = ctx->pos[row],
        .reader = scratch->reader,
    };
}

/* one thread does a whole item, merging as it goes */
static void attend_item(kvass_context *ctx, int32_t member, const kvass_block *block, int32_t row,
                        int32_t kv_head)
{
    kvass_thread_scratch *scratch = &ctx->scratch[member];
    decode_item item = item_of(ctx, member, block, row, kv_head);
    segment_result all = {scratch->max, scratch->sum, scratch->out};
    segment_result one = {scratch->max + ctx->n_group, scratch->sum + ctx->n_group, scratch->part};
    memset(all.sum, 0, (size_t)ctx->n_group * sizeof(float));
    for (int32_t i = 0, n = kvass_attn_n_segments(item.view); i < n; i++) {
        int32_t s = kvass_attn_segment(item.view, i);
        if (has_rows(&item, s)) {
            attend_segment(ctx, block, &item, s, scratch->scores, one);
            merge_segment(ctx, all, one);
        }
    }
    finish(ctx, scratch, block, &item, all);
}

/* the rows of decode runs, in order: rows[n] gets at most cap of them; returns how many there are
 */
static int32_t decode_rows(const kvass_context *ctx, int32_t *rows, int32_t cap)
{
    int32_t n = 0;
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        const kvass_run *run = &ctx->runs[i];
        for (int32_t r = 0; kvass_attn_is_decode(ctx, run) && r < run->n_rows; r++, n++) {
            if (n < cap) {
                rows[n] = run->first_row + r;
            }
        }
    }
    return n;
}

enum { MAX_SPLIT_ROWS = 64 };

/* every member does its share of the segments of each item; then items are merged, one member each
 */
static void attend_split(kvass_context *ctx, int32_t member, const kvass_block *block,
                         const int32_t *rows, int32_t n_items)
{
    int32_t n_kv_heads = ctx->model->config.n_kv_heads, n_group = ctx->n_group;
    size_t one_floats = kvass_attn_partial_floats(n_group, ctx->model->config.head_dim);
    size_t item_floats = one_floats * (size_t)ctx->n_segments;
    for (int32_t i = 0; i < n_items; i++) {
        decode_item item = item_of(ctx, member, block, rows[i / n_kv_heads], i % n_kv_heads);
        int32_t begin, end;
        kvass_team_share(&ctx->team, member, kvass_attn_n_segments(item.view), &begin, &end);
        for (int32_t p = begin; p < end; p++) {
            float *floats = ctx->partials + (size_t)i * item_floats + (size_t)p * one_floats;
            attend_segment(ctx, block, &item, kvass_attn_segment(item.view, p),
                           ctx->scratch[member].scores, result_at(floats, n_group));
        }
    }
    kvass_team_barrier(&ctx->team);
    for (int32_t i = member; i < n_items; i += ctx->team.n_threads) {
        kvass_thread_scratch *scratch = &ctx->scratch[member];
        decode_item item = item_of(ctx, member, block, rows[i / n_kv_heads], i % n_kv_heads);
        segment_result all = {scratch->max, scratch->sum, scratch->out};
        memset(all.sum, 0, (size_t)n_group * sizeof(float));
        for (int32_t p = 0; p < kvass_attn_n_segments(item.view); p++) {
            float *floats = ctx->partials + (size_t)i * item_floats + (size_t)p * one_floats;
            merge_segment(ctx, all, result_at(floats, n_group));
        }
        finish(ctx, scratch, block, &item, all);
    }
}

void kvass_attn_decode(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    int32_t rows[MAX_SPLIT_ROWS];
    int32_t n_threads = ctx->team.n_threads, n_kv_heads = ctx->model->config.n_kv_heads;
    int32_t n_rows = decode_rows(ctx, rows, MAX_SPLIT_ROWS);
    int64_t n_items = (int64_t)n_rows * n_kv_heads;
    /* who chooses pages would do so once for each member, and has little left to split */
    if (block->select == &kv_select_all && n_items % n_threads != 0 && n_rows <= MAX_SPLIT_ROWS &&
        n_items <= kvass_attn_split_items(ctx->n_threads)) {
        attend_split(ctx, member, block, rows, (int32_t)n_items);
        return;
    }
    int64_t item = 0;
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        const kvass_run *run = &ctx->runs[i];
        if (!kvass_attn_is_decode(ctx, run)) {
            continue;
        }
        for (int32_t r = 0; r < run->n_rows; r++) {
            for (int32_t kv_head = 0; kv_head < n_kv_heads; kv_head++, item++) {
                if (item % n_threads == member) {
                    attend_item(ctx, member, block, run->first_row + r, kv_head);
                }
            }
        }
    }
}
