/* kv.h - the cache: a pool of pages, sequences' page tables, and four tables of functions.
 *
 * A page is 32 consecutive positions of one KV head, in one owner layer, for K or for V. Per owner
 * layer and KV head the pool has one range of pages for K and one for V; page p of every range of a
 * layer belongs together and is counted, shared and returned as one. The cache takes dimensions,
 * not a model, and token ids never reach it.
 *
 * What a layer keeps is the product of four independent choices, each a small table of functions:
 *   retain  which positions a query may see          kv_retain_ops
 *   store   how a page is encoded                    kv_store_ops
 *   select  which retained pages a decode row reads  kv_select_ops
 *   owner   whose rows a layer reads                 an index per layer (kvass_layer_spec.owner)
 *
 * Life of a forward: kv_reserve() takes every page that the whole call needs, or nothing; rows are
 * put; kv_seq_commit() makes them last, kv_seq_rollback() forgets them.
 */
#ifndef KVASS_CACHE_KV_H
#define KVASS_CACHE_KV_H

#include <stdatomic.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/kernels/kernels.h"

enum {
    KV_PAGE_ROWS = 32,
    KV_EXACT_ROWS = 32, /* newest positions, at least, that a query reads unquantized */
    KV_TAIL_ROWS = 128  /* rows that a sequence keeps unquantized; see tail.c */
};

/* Positions a query at some position may see: [0, n_pinned) and [lo, hi), n_pinned <= lo <= hi. */
typedef struct kv_view {
    int32_t n_pinned, lo, hi;
} kv_view;

/* Rows [row, row + n_rows) of a range hold positions pos, pos + 1, ...; rows count from the range's
 * start, 32 to a page. Spans are in order of position. A span of a page that lies in the file has a
 * negative row; kv_pool_rows() tells where to read either. */
typedef struct kv_span {
    int32_t row, n_rows, pos;
} kv_span;

/* What one layer keeps; the numbers that its retain functions work with. */
typedef struct kv_policy {
    int32_t n_pinned; /* leading positions that always stay: meta tokens, a prefix, sinks */
    int32_t window;   /* keys a query sees besides those, itself included; 0 = all */
} kv_policy;

typedef struct kv_retain_ops {
    const char *name;
    /* what a query at q_pos sees; the only place where visibility is decided. Where nothing is
     * missing between the pinned positions and the others, it is one run from 0. */
    kv_view (*view)(const kv_policy *policy, int32_t q_pos);
    /* positions, pinned ones aside, that must be held while n_batch rows are appended to a sequence
     * of at most n_ctx */
    int32_t (*most_rows)(const kv_policy *policy, int32_t n_ctx, int32_t n_batch);
    /* the lowest position whose query can be answered again when no unpinned row before `oldest` is
     * held */
    int32_t (*lowest_query)(const kv_policy *policy, int32_t oldest);
} kv_retain_ops;

/* One direction of a store: how pages of K (or of V) are written and read. `range` is the start of
 * a head's pages; rows are counted as in kv_span. A store writes row by row (put), or a page at a
 * time when it is full (seal); the other is NULL. */
typedef struct kv_codec {
    size_t (*page_bytes)(int32_t head_dim);
    /* write x[head_dim] into one row */
    void (*put)(const kvass_kernels *k, void *range, int32_t row, int32_t head_dim, const float *x);
    /* write rows[32, head_dim] as a page */
    void (*seal)(void *range, int32_t page, int32_t head_dim, const float *rows);
    /* scores[g*ld + j] = scale * q[g, head_dim] . rows[j], g < n_q */
    void (*dot)(const kvass_kernels *k, const void *range, kv_span span, const float *q,
                int32_t n_q, int32_t head_dim, float scale, float *scores, int32_t ld);
    /* out[g, head_dim] += sum_j w[g*ld + j] * rows[j], in order of j */
    void (*acc)(const kvass_kernels *k, const void *range, kv_span span, const float *w, int32_t ld,
                int32_t n_q, int32_t head_dim, float *out);
    /* tile[n_rows, head_dim] = rows in f32 */
    void (*load)(const kvass_kernels *k, const void *range, kv_span span, int32_t head_dim,
                 float *tile);
} kv_codec;

typedef struct kv_store_ops {
    const char *name;
    bool exact_bounds; /* bounds of keys are kept in f32, not in 8 bits */
    bool has_tail; /* pages are sealed, and a sequence keeps its newest rows exact beside them */
    kv_codec key, value;
} kv_store_ops;

/* One decode row's queries for one KV head, and which pages it reads. */
typedef struct kv_query {
    const float *q; /* [n_q, head_dim] */
    int32_t n_q, kv_head;
    int32_t pos;      /* of the row */
    kv_view view;     /* what it sees and is kept in pages: the newest rows may lie elsewhere */
    int32_t n_pinned; /* positions below are always read, */
    int32_t newest;   /* and those from its page on; at most pos */
    int32_t n_topk;   /* pages to read, pinned ones aside */
} kv_query;

/* One thread's buffers for picking. */
typedef struct kv_pick_scratch {
    float *tile;       /* [32, head_dim]: a page's keys in f32 */
    float *halves;     /* [n_q, 2, head_dim]: a query's negative and positive parts */
    kvass_probe probe; /* of n_q queries, where bounds are rounded */
    void *bounds;      /* of a page that is not in the index */
    float *each;       /* [n_q, 64]: scores of some pages for each query head */
    float *scores;     /* [kv_max_spans]: of the pages there are to choose from */
    int32_t *best;     /* [kv_max_spans]: those that lead */
    float *any;        /* [kv_max_spans]: the best score of any KV head, for kvass_seq_search */
    struct kv_reader *reader; /* NULL where all pages are in memory */
} kv_pick_scratch;

struct kv_pool;
struct kv_seq;

typedef struct kv_select_ops {
    const char *name;
    /* The spans that a decode row reads for one KV head, in order of position: out has room for
     * kv_max_spans(). Returns how many. It depends on the row's position and the keys alone. */
    int32_t (*pick)(const struct kv_pool *pool, const struct kv_seq *seq, int32_t owner,
                    const kv_query *query, kv_pick_scratch *scratch, kv_span *out);
} kv_select_ops;

extern const kv_retain_ops kv_retain_full, kv_retain_window;
extern const kv_store_ops kv_store_f32, kv_store_f16, kv_store_q8, kv_store_q4;
extern const kv_select_ops kv_select_all, kv_select_topk;

/* best[n_best] = the indices of the n_best highest of scores[n], n_best <= n, none of which is NaN,
 * in order; the lower index among equals. best has room for n. */
void kv_select_best(const float *scores, int32_t n, int32_t n_best, int32_t *best);
/* Put them in order of rank: the higher score, then the lower index. */
void kv_select_sort(const float *scores, int32_t n_best, int32_t *best);

/* The retain functions that a layer's policy asks for. */
const kv_retain_ops *kv_retain_of(const kv_policy *policy);
/* The table for a public enum value, or NULL. */
const kv_store_ops *kv_store_get(kvass_store store);
const kv_select_ops *kv_select_get(kvass_select select);

/* ---- pool ------------------------------------------------------------------------------------ */

typedef struct kv_dims {
    int32_t n_owners; /* layers that have K and V of their own */
    int32_t n_kv_heads, head_dim;
    int32_t n_ctx;     /* positions one sequence can hold */
    int32_t n_batch;   /* rows that one forward appends at most */
    bool has_tail;     /* of the store */
    bool exact_bounds; /* of the store */
    bool indexed;      /* bounds of every full page's keys are kept from the start */
    int32_t n_readers; /* threads that read pages from a file; 0 = all pages stay in memory */
    int32_t n_recent;  /* newest positions of a sequence that do not go to the file */
} kv_dims;

/* The pages of one owner layer. */
typedef struct kv_owner {
    kv_policy policy;
    const kv_retain_ops *retain;
    int32_t n_pages;   /* for all sequences together */
    int32_t n_entries; /* page table entries of one sequence: pages it can hold at once */
    int32_t n_away;    /* of n_pages, those for which memory has no room beside the others */
    bool shared;       /* other layers read its rows, too */
    /* bookkeeping, carved */
    int32_t n_free;
    int32_t *refs;              /* refs[n_pages]: page tables that hold this page */
    int32_t *order;             /* order[n_pages]: slot -> page; the identity unless shuffled */
    uint64_t *free_slots;       /* bit set = slot is free */
    bool *touched;              /* touched[n_pages]: ever handed out */
    unsigned char *base;        /* K ranges of all heads, then V ranges */
    unsigned char *index_state; /* index_state[n_pages]: KV_INDEX_* */
    unsigned char *index;       /* [n_kv_heads]: bounds of n_pages pages, or NULL */
    /* where pages may lie in the file: their places in memory, n_pages - n_away of them */
    int32_t *frame_of; /* frame_of[n_pages]: -1 = in the file; NULL = no page leaves its place */
    int32_t n_free_frames;
    uint64_t *free_frames; /* bit set = place is free */
    uint32_t *version;     /* version[n_pages]: how often it was written to the file */
    uint64_t file_at;      /* where the file's part of this layer begins */
} kv_owner;

/* A head's page read from the file. */
typedef struct kv_slot {
    int32_t owner, kv_head, page;
    uint32_t version;
    int64_t last_use; /* 0 = nothing */
} kv_slot;

/* What one thread has read from the file last; a segment of attention has at most 8 pages. */
enum { KV_READER_SLOTS = 16 };
typedef struct kv_reader {
    unsigned char *keys, *values; /* [KV_READER_SLOTS] pages */
    kv_slot slots[KV_READER_SLOTS];
    int64_t clock, n_read;
} kv_reader;

/* The file of pages that are not in memory. */
typedef struct kv_cold {
    char *path;
    int fd;
    atomic_int failure; /* of the first read or write that failed and was not told yet */
} kv_cold;

typedef struct kv_pool {
    kv_dims dims;
    kv_owner *owners; /* owners[n_owners], the caller's */
    const kv_store_ops *store;
    const kvass_kernels *kernels;
    size_t key_page_bytes, value_page_bytes; /* of one head */
    size_t page_bytes;                       /* K and V of all heads of one owner layer */
    unsigned char *base;                     /* reserved address space, touched as it fills */
    size_t reserved;
    int64_t n_touched;
    unsigned char
        *index; /* all owners' bounds, address space beside the pages; NULL while there is none */
    size_t index_bytes;
    int64_t n_index_touched; /* pages whose bounds were ever written */
    float *tile;             /* [32, head_dim]: a page's keys on their way into the index */
    kv_cold *cold;           /* NULL = there is no file */
    kv_reader *readers;      /* readers[n_readers] */
    struct kv_seq *seqs;     /* whose pages may go to the file, as a list */
} kv_pool;

/* Set the policy's functions and n_entries. */
void kv_owner_plan(kv_owner *owner, const kv_dims *dims, kv_policy policy);
/* Pages that hold n rows. */
int32_t kv_pages_for(int32_t n_rows);

/* Bytes of address space for the pages, and for their index if there is to be one. false on
 * overflow. */
bool kv_pool_bytes(const kv_dims *dims, const kv_owner *owners, const kv_store_ops *store,
                   size_t *n_bytes);
/* Take the bookkeeping from `arena` (which may be counting). */
void kv_pool_carve(kv_pool *pool, const kv_dims *dims, kv_owner *owners, kvass_arena *arena);
/* Reserve the address space. page_seed not 0 shuffles the order in which pages are handed out. */
kvass_status kv_pool_open(kv_pool *pool, const kv_store_ops *store, const kvass_kernels *kernels,
                          uint64_t page_seed, kvass_error *err);
void kv_pool_close(kv_pool *pool);

/* The start of a head's pages; K ranges with kv_pool_key_range, V with kv_pool_value_range. */
void *kv_pool_key_range(const kv_pool *pool, int32_t owner, int32_t kv_head);
void *kv_pool_value_range(const kv_pool *pool, int32_t owner, int32_t kv_head);

int32_t kv_pool_take(kv_pool *pool, int32_t owner); /* a free page with one holder, or -1 */
void kv_pool_share(kv_pool *pool, int32_t owner, int32_t page);  /* one more holder */
void kv_pool_return(kv_pool *pool, int32_t owner, int32_t page); /* one holder less; free at none */

/* Places in memory; -1 when there is none. */
int32_t kv_pool_take_frame(kv_pool *pool, int32_t owner);
void kv_pool_return_frame(kv_pool *pool, int32_t owner, int32_t frame);

/* A page's place in the ranges, or negative where it lies in the file. */
static inline int32_t kv_frame(const kv_owner *owner, int32_t page)
{
    return owner->frame_of ? owner->frame_of[page] : page;
}

/* Fill the byte counts of *usage (not recomputed_tokens, bytes_transient). */
void kv_pool_get_usage(const kv_pool *pool, kvass_cache_usage *usage);

/* ---- pages in a file (cold.c) ---------------------------------------------------------------- */

/* Rows of one KV head that can be read: `span` counts from keys and values. */
typedef struct kv_rows {
    const void *keys, *values;
    kv_span span;
} kv_rows;

size_t kv_reader_bytes(size_t key_page_bytes, size_t value_page_bytes);
/* Create the file, which must not exist; it has no name from then on. */
kvass_status kv_cold_open(kv_pool *pool, const char *path, kvass_error *err);
void kv_cold_close(kv_pool *pool);
/* IO when a page could not be read or written since the last time. */
kvass_status kv_cold_check(kv_pool *pool, kvass_error *err);
/* Where to read a span of kv_seq_spans(); valid until the reader has read KV_READER_SLOTS - 1 other
 * pages. What cannot be read is zero. */
kv_rows kv_pool_rows(const kv_pool *pool, int32_t owner, int32_t kv_head, kv_span span,
                     kv_reader *reader);
/* Places in memory for all that kv_reserve() will ask for. false: see kv_cold_check(). */
bool kv_cold_prepare(kv_pool *pool, struct kv_seq *const *seqs, const int32_t *n_new,
                     int32_t n_seqs);
/* All pages of a sequence that may leave go to the file. false: see kv_cold_check(). */
bool kv_cold_offload(kv_pool *pool, const struct kv_seq *seq);
/* One head of a page that has no place in memory. false: see kv_cold_check(). */
bool kv_cold_read_head(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                       unsigned char *keys, unsigned char *values);
bool kv_cold_write_head(kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                        unsigned char *keys, unsigned char *values);

/* ---- index: bounds of keys ------------------------------------------------------------------- */

/* A page's bounds are, for each KV head, the least and the greatest value of each channel of its
 * keys as they are stored: [2, head_dim], in 8 bits (rounded outwards) or f32. Only full pages have
 * any; the newest page of a sequence is always read. They belong to the page of the pool, so that
 * who shares it shares them. */
enum { KV_INDEX_VALID = 1, KV_INDEX_TOUCHED = 2 };
enum { KV_INDEX_EACH = 64 }; /* pages scored at a time */

size_t kv_index_page_bytes(const kv_dims *dims); /* of one page of one owner layer */
size_t kv_index_bytes(const kv_pool *pool);      /* of all pages */
/* Make room for the index of all pages; nothing if it is there. */
kvass_status kv_index_open(kv_pool *pool, kvass_error *err);
void kv_index_close(kv_pool *pool);
/* Index full pages [begin, end) of one owner layer of a sequence that are not yet. */
void kv_index_pages(kv_pool *pool, const struct kv_seq *seq, int32_t owner, int32_t begin,
                    int32_t end);
/* A page will get other rows. */
void kv_index_forget(kv_pool *pool, int32_t owner, int32_t page);
/* Scores for logical pages [begin, end) of a sequence: an upper bound of any of the query heads'
 * products with any key in the page, -INFINITY instead of NaN. Writes scratch->scores[0 .. end -
 * begin). */
void kv_index_score(const kv_pool *pool, const struct kv_seq *seq, int32_t owner,
                    const kv_query *query, int32_t begin, int32_t end, kv_pick_scratch *scratch);

/* ---- sequences ------------------------------------------------------------------------------- */

/* One timeline's rows: committed ones, then rows reserved for the running forward. In each owner
 * layer it holds the pages of the pinned positions, and those from `first` on. */
typedef struct kv_seq {
    int32_t n_rows;     /* committed positions */
    int32_t n_reserved; /* further positions that have pages */
    int32_t **pages;    /* pages[n_owners][n_entries]: pinned pages, then the others in turn */
    int32_t *first;     /* first[n_owners]: oldest page held behind the pinned ones */
    float *tail;        /* [n_owners, n_kv_heads, 2, KV_TAIL_ROWS, head_dim], see tail.c; or NULL */
    int32_t tail_skip;  /* position - tail_skip, modulo KV_TAIL_ROWS, is a row's place in it */
    int32_t tail_low;   /* the oldest position that it holds */
    struct kv_seq *next; /* in the pool's list */
} kv_seq;

/* K and V of the rows that the running forward appends to one sequence, unquantized:
 * k[n_reserved, ld], where KV head h begins at column h * head_dim. */
typedef struct kv_fresh {
    const float *k, *v;
    int32_t ld;
} kv_fresh;

/* n_rows rows of one KV head, one after another: k[n_rows, head_dim], v likewise */
typedef struct kv_exact {
    const float *k, *v;
    int32_t n_rows;
} kv_exact;

/* Where the table of an owner layer keeps logical page i (positions 32i ..), one that it holds. */
int32_t *kv_seq_entry(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t i);
/* How many of n > 0 logical pages from i on are numbered one after another. */
int32_t kv_seq_together(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t i,
                        int32_t n);

/* Let the sequence's pages go to the file. */
void kv_seq_join(kv_pool *pool, kv_seq *seq);
int32_t kv_max_spans(const kv_pool *pool); /* spans that kv_seq_spans can yield at most */
void kv_seq_carve(kv_seq *seq, const kv_dims *dims, const kv_owner *owners, kvass_arena *arena);

/* Whether n_new[i] more rows of seqs[i], all different, would find pages, appended in chunks of at
 * most n_batch rows. */
bool kv_can_reserve(const kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new, int32_t n_seqs);
/* Pages for n_new[i] more rows (together at most n_batch), copying open pages that are shared.
 * false: the pool has too few, or kv_cold_check() says why; then nothing has changed. */
bool kv_reserve(kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new, int32_t n_seqs);
/* Pages for n more rows behind those already reserved of a lone sequence, whose pool has room for
 * them. */
void kv_seq_extend(kv_pool *pool, kv_seq *seq, int32_t n);
/* Write k[head_dim], v[head_dim] of one head at a reserved position; where the store has a tail,
 * only there. */
void kv_seq_put(kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t kv_head, int32_t pos,
                const float *k, const float *v);
/* n of the reserved rows are now part of the sequence; pages that no later query sees go home.
 * Returns how many positions that took from the layer that lost most. */
int32_t kv_seq_commit(kv_pool *pool, kv_seq *seq, int32_t n);
/* Pages of reserved rows go home. */
void kv_seq_rollback(kv_pool *pool, kv_seq *seq);

/* dst (empty) gets src's past by sharing its pages. */
void kv_seq_fork(kv_pool *pool, kv_seq *dst, const kv_seq *src);
/* Forget positions >= n_rows; at least kv_seq_can_truncate(), or 0, which returns every page. */
void kv_seq_truncate(kv_pool *pool, kv_seq *seq, int32_t n_rows);
/* The lowest n_rows that leaves what the next query must see. */
int32_t kv_seq_can_truncate(const kv_pool *pool, const kv_seq *seq);

/* ---- the exact tail (tail.c) ----------------------------------------------------------------- */

/* The first position that a query at q_pos reads unquantized; those before lie in sealed pages.
 * INT32_MAX where the store has no tail. It depends on the position alone. */
int32_t kv_exact_from(const kv_dims *dims, int32_t q_pos);
/* Bytes of one sequence's tail. */
size_t kv_tail_bytes(const kv_dims *dims);
/* Write a row into the tail, if it will be among the newest when the forward ends. */
void kv_tail_put(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t kv_head,
                 int32_t pos, const float *k, const float *v);
/* Exact rows from pos on, before hi: as many as lie together. */
kv_exact kv_tail_rows(const kv_pool *pool, const kv_seq *seq, const kv_fresh *fresh, int32_t owner,
                      int32_t kv_head, int32_t pos, int32_t hi);
/* keys[hi - lo, head_dim] and values likewise = exact rows [lo, hi) */
void kv_tail_load(const kv_pool *pool, const kv_seq *seq, const kv_fresh *fresh, int32_t owner,
                  int32_t kv_head, int32_t lo, int32_t hi, float *keys, float *values);
/* Pages [*begin, *end) of the sequence are filled by its reserved rows and can be sealed. */
void kv_tail_full_pages(const kv_seq *seq, int32_t *begin, int32_t *end);
/* Quantize such a page; keys[32, head_dim] and values[32, head_dim] are scratch. */
void kv_tail_seal(const kv_pool *pool, const kv_seq *seq, const kv_fresh *fresh, int32_t owner,
                  int32_t kv_head, int32_t page, float *keys, float *values);
/* n_reserved rows become part of the sequence, or are forgotten. */
void kv_tail_commit(kv_seq *seq);
void kv_tail_rollback(kv_seq *seq);
/* dst gets what src keeps. */
void kv_tail_copy(const kv_pool *pool, kv_seq *dst, const kv_seq *src);
/* Whether the exact rows that a query at n_rows reads are all there. */
bool kv_tail_reaches(const kv_pool *pool, const kv_seq *seq, int32_t n_rows);

/* Where the positions of `view` lie, as spans in order; out has room for kv_max_spans().
 * Neighbouring pages merge. Returns the number of spans. */
int32_t kv_seq_spans(const kv_pool *pool, const kv_seq *seq, int32_t owner, kv_view view,
                     kv_span *out);
/* Full pages that an owner layer holds of committed rows: [0, n) of pinned positions, returned, and
 * [*begin, *end). */
int32_t kv_seq_full_pages(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t *begin,
                          int32_t *end);
/* Append those of positions [lo, hi) to spans[n]; returns how many there are then. */
int32_t kv_seq_add_spans(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t lo,
                         int32_t hi, kv_span *spans, int32_t n);

#endif
