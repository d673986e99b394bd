/* tail.c - the newest rows of a sequence, unquantized, beside pages that are quantized when full.
 * A query reads at least the newest 32 positions exactly; where the exact ones begin depends on its
 * position alone. A page may so be read quantized by one row of a forward and exactly by another:
 * rows of the running forward are read where the layer left them (kv_fresh) until it ends.
 *
 * The tail is a ring. A query at n_rows needs at most 62 rows before it, and a forward of n rows
 * writes its last min(n, 64), behind the ones there: so until it is committed both are whole, and a
 * forward that fails has harmed nothing. When a forward is longer than 64 the rows that it leaves
 * out are skipped in the numbering of places.
 */
#include <assert.h>
#include <string.h>

#include "engine/cache/kv.h"

enum { NEWEST_ROWS = KV_TAIL_ROWS / 2 };

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

int32_t kv_exact_from(const kv_dims *dims, int32_t q_pos)
{
    if (!dims->has_tail) {
        return INT32_MAX;
    }
    int32_t from = max_of(0, q_pos + 1 - KV_EXACT_ROWS);
    return from - from % KV_PAGE_ROWS;
}

static size_t head_floats(const kv_dims *dims)
{
    return (size_t)KV_TAIL_ROWS * (size_t)dims->head_dim;
}

size_t kv_tail_bytes(const kv_dims *dims)
{
    size_t n_heads = (size_t)dims->n_owners * (size_t)dims->n_kv_heads;
    return dims->has_tail ? n_heads * 2 * head_floats(dims) * sizeof(float) : 0;
}

/* K rows of one head in the ring; its V rows follow */
static float *ring_of(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t kv_head)
{
    size_t head = (size_t)owner * (size_t)pool->dims.n_kv_heads + (size_t)kv_head;
    return seq->tail + head * 2 * head_floats(&pool->dims);
}

/* tail_skip once the reserved rows are committed */
static int32_t next_skip(const kv_seq *seq)
{
    return seq->tail_skip + max_of(0, seq->n_reserved - NEWEST_ROWS);
}

static int32_t place(int32_t pos, int32_t skip)
{
    return (int32_t)((uint32_t)(pos - skip) % KV_TAIL_ROWS);
}

void kv_tail_put(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t kv_head,
                 int32_t pos, const float *k, const float *v)
{
    if (pos < seq->n_rows + seq->n_reserved - NEWEST_ROWS) {
        return;
    }
    size_t head_dim = (size_t)pool->dims.head_dim;
    float *row = ring_of(pool, seq, owner, kv_head) + (size_t)place(pos, next_skip(seq)) * head_dim;
    memcpy(row, k, head_dim * sizeof *row);
    memcpy(row + head_floats(&pool->dims), v, head_dim * sizeof *row);
}

kv_exact kv_tail_rows(const kv_pool *pool, const kv_seq *seq, const kv_fresh *fresh, int32_t owner,
                      int32_t kv_head, int32_t pos, int32_t hi)
{
    size_t head_dim = (size_t)pool->dims.head_dim;
    int32_t end = seq->n_rows + seq->n_reserved;
    bool committed = pos < seq->n_rows;
    assert(!committed || pos >= seq->tail_low);
    if (!committed && pos < end - NEWEST_ROWS) {
        size_t at = (size_t)(pos - seq->n_rows) * (size_t)fresh->ld + (size_t)kv_head * head_dim;
        return (kv_exact){fresh->k + at, fresh->v + at, 1};
    }
    int32_t at = place(pos, committed ? seq->tail_skip : next_skip(seq));
    const float *rows = ring_of(pool, seq, owner, kv_head) + (size_t)at * head_dim;
    int32_t n = (committed ? min_of(hi, seq->n_rows) : hi) - pos;
    return (kv_exact){rows, rows + head_floats(&pool->dims), min_of(n, KV_TAIL_ROWS - at)};
}

void kv_tail_load(const kv_pool *pool, const kv_seq *seq, const kv_fresh *fresh, int32_t owner,
                  int32_t kv_head, int32_t lo, int32_t hi, float *keys, float *values)
{
    size_t head_dim = (size_t)pool->dims.head_dim;
    for (int32_t pos = lo; pos < hi;) {
        kv_exact rows = kv_tail_rows(pool, seq, fresh, owner, kv_head, pos, hi);
        size_t n = (size_t)rows.n_rows * head_dim, at = (size_t)(pos - lo) * head_dim;
        memcpy(keys + at, rows.k, n * sizeof *keys);
        memcpy(values + at, rows.v, n * sizeof *values);
        pos += rows.n_rows;
    }
}

void kv_tail_full_pages(const kv_seq *seq, int32_t *begin, int32_t *end)
{
    *begin = seq->n_rows / KV_PAGE_ROWS;
    *end = (seq->n_rows + seq->n_reserved) / KV_PAGE_ROWS;
}

void kv_tail_seal(const kv_pool *pool, const kv_seq *seq, const kv_fresh *fresh, int32_t owner,
                  int32_t kv_head, int32_t page, float *keys, float *values)
{
    int32_t lo = page * KV_PAGE_ROWS, head_dim = pool->dims.head_dim;
    kv_span span[2]; /* one page: one span, and the room that kv_seq_spans asks for */
    (void)kv_seq_spans(pool, seq, owner, (kv_view){.lo = lo, .hi = lo + KV_PAGE_ROWS}, span);
    int32_t physical = span[0].row / KV_PAGE_ROWS;
    kv_tail_load(pool, seq, fresh, owner, kv_head, lo, lo + KV_PAGE_ROWS, keys, values);
    pool->store->key.seal(kv_pool_key_range(pool, owner, kv_head), physical, head_dim, keys);
    pool->store->value.seal(kv_pool_value_range(pool, owner, kv_head), physical, head_dim, values);
}

void kv_tail_commit(kv_seq *seq)
{
    int32_t n_rows = seq->n_rows + seq->n_reserved;
    int32_t kept = seq->n_reserved > NEWEST_ROWS ? NEWEST_ROWS : KV_TAIL_ROWS;
    seq->tail_skip = next_skip(seq);
    seq->tail_low = max_of(seq->tail_low, n_rows - kept);
}

void kv_tail_rollback(kv_seq *seq)
{
    /* the forgotten rows may have taken the places of the oldest */
    seq->tail_low = max_of(seq->tail_low, seq->n_rows - NEWEST_ROWS);
}

void kv_tail_copy(const kv_pool *pool, kv_seq *dst, const kv_seq *src)
{
    if (src->tail) { /* an empty prefix has none */
        memcpy(dst->tail, src->tail, kv_tail_bytes(&pool->dims));
    }
    dst->tail_skip = src->tail_skip;
    dst->tail_low = src->tail_low;
}

bool kv_tail_reaches(const kv_pool *pool, const kv_seq *seq, int32_t n_rows)
{
    return !pool->dims.has_tail || n_rows == 0 ||
           kv_exact_from(&pool->dims, n_rows) >= seq->tail_low;
}
