/* seq.c - a timeline's page tables: reserve, put, commit; fork by sharing, copy on write.
 * Invariants: in each owner layer a sequence holds the pages of the pinned positions and those from
 * `first` up to the end of its committed and reserved rows, no other; a page with more than one
 * holder is never written: its rows below n_rows are everybody's past.
 */
#include "engine/cache/kv.h"

#include <assert.h>
#include <string.h>

static int32_t pinned_pages(const kv_owner *owner)
{
    return kv_pages_for(owner->policy.n_pinned);
}

/* where the table keeps logical page i (positions 32i .. 32i+31): pinned pages first, the others in
 * turn */
static int32_t *entry(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t i)
{
    const kv_owner *o = &pool->owners[owner];
    int32_t n_pinned = pinned_pages(o);
    if (i >= o->n_entries) {
        i = n_pinned + (i - n_pinned) % (o->n_entries - n_pinned);
    }
    return &seq->pages[owner][i];
}

int32_t *kv_seq_entry(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t i)
{
    return entry(pool, seq, owner, i);
}

int32_t kv_seq_together(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t i, int32_t n)
{
    const int32_t *table = seq->pages[owner], *at = entry(pool, seq, owner, i);
    int32_t left = pool->owners[owner].n_entries - (int32_t)(at - table), together = 1;
    n = n < left ? n : left; /* behind the last entry it goes on elsewhere */
    while (together < n && at[together] == at[0] + together) {
        together++;
    }
    return together;
}

void kv_seq_join(kv_pool *pool, kv_seq *seq)
{
    seq->next = pool->seqs;
    pool->seqs = seq;
}

int32_t kv_max_spans(const kv_pool *pool)
{
    int32_t most = 0;
    for (int32_t i = 0; i < pool->dims.n_owners; i++) {
        most = pool->owners[i].n_entries > most ? pool->owners[i].n_entries : most;
    }
    return most + 1;
}

void kv_seq_carve(kv_seq *seq, const kv_dims *dims, const kv_owner *owners, kvass_arena *arena)
{
    size_t n_owners = (size_t)dims->n_owners;
    *seq = (kv_seq){0};
    seq->pages = kvass_arena_take(arena, n_owners, sizeof *seq->pages);
    seq->first = kvass_arena_take(arena, n_owners, sizeof *seq->first);
    for (size_t i = 0; i < n_owners; i++) {
        int32_t *table = kvass_arena_take(arena, (size_t)owners[i].n_entries, sizeof *table);
        if (seq->pages) {
            seq->pages[i] = table;
        }
    }
    if (dims->has_tail) {
        seq->tail = kvass_arena_take(arena, kv_tail_bytes(dims), 1);
    }
}

/* the page that the next row of seq goes into if it is partly filled, else -1 */
static int32_t open_page(const kv_pool *pool, const kv_seq *seq, int32_t owner)
{
    if (seq->n_rows % KV_PAGE_ROWS == 0) {
        return -1;
    }
    return *entry(pool, seq, owner, seq->n_rows / KV_PAGE_ROWS);
}

/* one for a copy of the open page of seqs[i] if others hold it. Of k holders that all write, the
 * last one keeps the page. */
static int64_t copies_needed(const kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new,
                             int32_t i, int32_t owner)
{
    int32_t page = n_new[i] > 0 ? open_page(pool, seqs[i], owner) : -1;
    if (page < 0) {
        return 0;
    }
    int32_t holders = pool->owners[owner].refs[page];
    for (int32_t earlier = 0; earlier < i; earlier++) {
        if (n_new[earlier] > 0 && open_page(pool, seqs[earlier], owner) == page) {
            holders--; /* that one has its own copy by then */
        }
    }
    return holders > 1;
}

/* pages that seq holds in an owner layer while it has n_rows rows and lets none go */
static int32_t pages_held(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t n_rows)
{
    int32_t end = kv_pages_for(n_rows), n_pinned = pinned_pages(&pool->owners[owner]);
    int32_t first = seq->first[owner] > n_pinned ? seq->first[owner] : n_pinned;
    return end <= n_pinned ? end : n_pinned + (end > first ? end - first : 0);
}

bool kv_can_reserve(const kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new, int32_t n_seqs)
{
    int64_t n_rows = 0;
    for (int32_t i = 0; i < n_seqs; i++) {
        n_rows += n_new[i];
    }
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const kv_owner *o = &pool->owners[owner];
        int64_t n = 0;
        for (int32_t i = 0; i < n_seqs; i++) {
            int32_t most = pages_held(pool, seqs[i], owner, seqs[i]->n_rows + n_new[i]);
            if (n_rows > pool->dims.n_batch && most > o->n_entries) {
                most = o->n_entries; /* pages come home between chunks */
            }
            n += most - pages_held(pool, seqs[i], owner, seqs[i]->n_rows);
            n += copies_needed(pool, seqs, n_new, i, owner);
        }
        if (n > o->n_free) {
            return false;
        }
    }
    return true;
}

/* rows of a page, K and V of every head */
static void copy_page(const kv_pool *pool, int32_t owner, int32_t from_page, int32_t to_page)
{
    int32_t from = kv_frame(&pool->owners[owner], from_page);
    int32_t to = kv_frame(&pool->owners[owner], to_page);
    for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads; kv_head++) {
        unsigned char *keys = kv_pool_key_range(pool, owner, kv_head);
        unsigned char *values = kv_pool_value_range(pool, owner, kv_head);
        memcpy(keys + (size_t)to * pool->key_page_bytes, keys + (size_t)from * pool->key_page_bytes,
               pool->key_page_bytes);
        memcpy(values + (size_t)to * pool->value_page_bytes,
               values + (size_t)from * pool->value_page_bytes, pool->value_page_bytes);
    }
}

static void reserve_rows(kv_pool *pool, kv_seq *seq, int32_t n_new, int32_t owner)
{
    int32_t page = open_page(pool, seq, owner);
    if (page >= 0 && pool->owners[owner].refs[page] > 1) {
        int32_t own = kv_pool_take(pool, owner);
        copy_page(pool, owner, page, own);
        kv_pool_return(pool, owner, page);
        *entry(pool, seq, owner, seq->n_rows / KV_PAGE_ROWS) = own;
    } else if (page >= 0) { /* it may have been full before a cut */
        kv_index_forget(pool, owner, page);
    }
    for (int32_t i = kv_pages_for(seq->n_rows); i < kv_pages_for(seq->n_rows + n_new); i++) {
        *entry(pool, seq, owner, i) = kv_pool_take(pool, owner);
    }
}

bool kv_reserve(kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new, int32_t n_seqs)
{
    if (!kv_can_reserve(pool, seqs, n_new, n_seqs) ||
        (pool->cold && !kv_cold_prepare(pool, seqs, n_new, n_seqs))) {
        return false;
    }
    for (int32_t i = 0; i < n_seqs; i++) {
        assert(seqs[i]->n_reserved == 0);
        for (int32_t owner = 0; n_new[i] > 0 && owner < pool->dims.n_owners; owner++) {
            reserve_rows(pool, seqs[i], n_new[i], owner);
        }
        seqs[i]->n_reserved = n_new[i];
    }
    return true;
}

void kv_seq_extend(kv_pool *pool, kv_seq *seq, int32_t n)
{
    int32_t end = seq->n_rows + seq->n_reserved;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        for (int32_t i = kv_pages_for(end); i < kv_pages_for(end + n); i++) {
            *entry(pool, seq, owner, i) = kv_pool_take(pool, owner);
        }
    }
    seq->n_reserved += n;
}

void kv_seq_put(kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t kv_head, int32_t pos,
                const float *k, const float *v)
{
    assert(pos >= seq->n_rows && pos < seq->n_rows + seq->n_reserved);
    if (pool->dims.has_tail) {
        kv_tail_put(pool, seq, owner, kv_head, pos, k, v);
        return;
    }
    int32_t head_dim = pool->dims.head_dim;
    int32_t page = *entry(pool, seq, owner, pos / KV_PAGE_ROWS);
    int32_t row = kv_frame(&pool->owners[owner], page) * KV_PAGE_ROWS + pos % KV_PAGE_ROWS;
    const kv_store_ops *store = pool->store;
    store->key.put(pool->kernels, kv_pool_key_range(pool, owner, kv_head), row, head_dim, k);
    store->value.put(pool->kernels, kv_pool_value_range(pool, owner, kv_head), row, head_dim, v);
}

/* pages [begin, end) of one owner layer go home */
static void return_pages(kv_pool *pool, kv_seq *seq, int32_t owner, int32_t begin, int32_t end)
{
    for (int32_t i = begin; i < end; i++) {
        kv_pool_return(pool, owner, *entry(pool, seq, owner, i));
    }
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* pages that the next query does not see, and no later one, go home; returns positions lost */
static int32_t drop_old_pages(kv_pool *pool, kv_seq *seq, int32_t owner)
{
    const kv_owner *o = &pool->owners[owner];
    kv_view next = o->retain->view(&o->policy, seq->n_rows);
    int32_t begin = max_of(seq->first[owner], pinned_pages(o)), end = next.lo / KV_PAGE_ROWS;
    if (end <= begin) {
        return 0;
    }
    return_pages(pool, seq, owner, begin, end);
    seq->first[owner] = end;
    return (end - begin) * KV_PAGE_ROWS;
}

int32_t kv_seq_commit(kv_pool *pool, kv_seq *seq, int32_t n)
{
    int32_t n_dropped = 0;
    assert(n <= seq->n_reserved);
    if (pool->dims.has_tail) {
        assert(n == seq->n_reserved);
        kv_tail_commit(seq);
    }
    for (int32_t owner = 0; pool->dims.indexed && owner < pool->dims.n_owners; owner++) {
        kv_index_pages(pool, seq, owner, seq->n_rows / KV_PAGE_ROWS,
                       (seq->n_rows + n) / KV_PAGE_ROWS);
    }
    seq->n_rows += n;
    seq->n_reserved -= n;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        n_dropped = max_of(n_dropped, drop_old_pages(pool, seq, owner));
    }
    return n_dropped;
}

/* give back the pages of positions >= n_rows that are held */
static void return_from(kv_pool *pool, kv_seq *seq, int32_t n_rows)
{
    int32_t end = kv_pages_for(seq->n_rows + seq->n_reserved);
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        int32_t n_pinned = pinned_pages(&pool->owners[owner]);
        int32_t begin = kv_pages_for(n_rows);
        return_pages(pool, seq, owner, begin, end < n_pinned ? end : n_pinned);
        return_pages(pool, seq, owner, max_of(max_of(begin, n_pinned), seq->first[owner]), end);
    }
}

void kv_seq_rollback(kv_pool *pool, kv_seq *seq)
{
    return_from(pool, seq, seq->n_rows);
    seq->n_reserved = 0;
    if (pool->dims.has_tail) {
        kv_tail_rollback(seq);
    }
}

/* share pages [begin, end) of one owner layer */
static void share_pages(kv_pool *pool, kv_seq *dst, const kv_seq *src, int32_t owner, int32_t begin,
                        int32_t end)
{
    for (int32_t i = begin; i < end; i++) {
        int32_t page = *entry(pool, src, owner, i);
        *entry(pool, dst, owner, i) = page;
        kv_pool_share(pool, owner, page);
    }
}

void kv_seq_fork(kv_pool *pool, kv_seq *dst, const kv_seq *src)
{
    assert(dst->n_rows == 0 && dst->n_reserved == 0);
    int32_t end = kv_pages_for(src->n_rows);
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        int32_t n_pinned = pinned_pages(&pool->owners[owner]);
        share_pages(pool, dst, src, owner, 0, end < n_pinned ? end : n_pinned);
        share_pages(pool, dst, src, owner, max_of(n_pinned, src->first[owner]), end);
        dst->first[owner] = src->first[owner];
    }
    dst->n_rows = src->n_rows;
    if (pool->dims.has_tail) {
        kv_tail_copy(pool, dst, src);
    }
}

int32_t kv_seq_full_pages(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t *begin,
                          int32_t *end)
{
    int32_t n_pinned = pinned_pages(&pool->owners[owner]);
    *begin = max_of(seq->first[owner], n_pinned);
    *end = max_of(seq->n_rows / KV_PAGE_ROWS, *begin);
    return seq->n_rows / KV_PAGE_ROWS < n_pinned ? seq->n_rows / KV_PAGE_ROWS : n_pinned;
}

int32_t kv_seq_can_truncate(const kv_pool *pool, const kv_seq *seq)
{
    int32_t lowest = 0;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const kv_owner *o = &pool->owners[owner];
        if (seq->first[owner] > pinned_pages(o)) {
            int32_t oldest = seq->first[owner] * KV_PAGE_ROWS;
            lowest = max_of(lowest, o->retain->lowest_query(&o->policy, oldest));
        }
    }
    return lowest < seq->n_rows ? lowest : seq->n_rows;
}

void kv_seq_truncate(kv_pool *pool, kv_seq *seq, int32_t n_rows)
{
    assert(n_rows >= 0 && n_rows <= seq->n_rows && seq->n_reserved == 0);
    return_from(pool, seq, n_rows);
    seq->n_rows = n_rows;
    for (int32_t owner = 0; n_rows == 0 && owner < pool->dims.n_owners; owner++) {
        seq->first[owner] = 0;
    }
    if (n_rows == 0) {
        seq->tail_skip = 0;
        seq->tail_low = 0;
    }
}

int32_t kv_seq_add_spans(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t lo,
                         int32_t hi, kv_span *spans, int32_t n)
{
    for (int32_t pos = lo; pos < hi;) {
        int32_t in_page = pos % KV_PAGE_ROWS;
        int32_t left = KV_PAGE_ROWS - in_page;
        int32_t n_rows = hi - pos < left ? hi - pos : left;
        int32_t page = *entry(pool, seq, owner, pos / KV_PAGE_ROWS);
        int32_t frame = kv_frame(&pool->owners[owner], page);
        int32_t row = frame >= 0 ? frame * KV_PAGE_ROWS + in_page
                                 : -1 - (page * KV_PAGE_ROWS + in_page); /* see kv_pool_rows */
        kv_span *last = n > 0 ? &spans[n - 1] : NULL;
        if (last && last->row >= 0 && last->row + last->n_rows == row &&
            last->pos + last->n_rows == pos) {
            last->n_rows += n_rows;
        } else {
            spans[n++] = (kv_span){.row = row, .n_rows = n_rows, .pos = pos};
        }
        pos += n_rows;
    }
    return n;
}

int32_t kv_seq_spans(const kv_pool *pool, const kv_seq *seq, int32_t owner, kv_view view,
                     kv_span *out)
{
    int32_t n = kv_seq_add_spans(pool, seq, owner, 0, view.n_pinned, out, 0);
    return kv_seq_add_spans(pool, seq, owner, view.lo, view.hi, out, n);
}
