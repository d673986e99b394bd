/* cold.c - pages that have left memory for a file, and come back.
 * A page of an owner layer has a number, by which page tables and the index know it, and a place in
 * memory while it is resident. When places run out, or on demand, a sequence's oldest full page
 * that is neither pinned nor recent is written to the file, where each number has its own place: K
 * then V of each head, side by side. Who attends to it reads one head of it into a slot of its
 * thread's own, so readers need no lock. Only a page that will be written again comes back whole.
 *
 * A read or write that fails is remembered in the pool and told by kv_cold_check(); until then
 * zeros are read, so that the running forward comes to its end and is thrown away.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/cache/kv.h"

enum { SHORT_FILE = 1 << 20, WRITING = 1 << 21 }; /* in kv_cold.failure, beside errno */

size_t kv_reader_bytes(size_t key_page_bytes, size_t value_page_bytes)
{
    return KV_READER_SLOTS * (key_page_bytes + value_page_bytes);
}

kvass_status kv_cold_open(kv_pool *pool, const char *path, kvass_error *err)
{
    kv_cold *cold = pool->cold;
    cold->path = strdup(path);
    if (!cold->path) {
        return kvass_fail_nomem(err, strlen(path) + 1, "the name of the offload file");
    }
    cold->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (cold->fd < 0) {
        return kvass_fail(err, KVASS_IO, "OFFLOAD_OPEN", "%s: cannot create the offload file: %s",
                          path, strerror(errno));
    }
    /* however this process ends, nothing of what was read or said stays on the disk */
    if (unlink(path) != 0) {
        return kvass_fail(err, KVASS_IO, "OFFLOAD_OPEN", "%s: cannot unlink the offload file: %s",
                          path, strerror(errno));
    }
    uint64_t at = 0;
    for (int32_t i = 0; i < pool->dims.n_owners; i++) {
        pool->owners[i].file_at = at;
        at += (uint64_t)pool->owners[i].n_pages * pool->page_bytes;
    }
    return KVASS_OK;
}

void kv_cold_close(kv_pool *pool)
{
    kv_cold *cold = pool->cold;
    if (cold && cold->path) {
        if (cold->fd >= 0) {
            (void)close(cold->fd);
        }
        free(cold->path);
        cold->path = NULL;
    }
}

kvass_status kv_cold_check(kv_pool *pool, kvass_error *err)
{
    int failure = pool->cold ? atomic_exchange(&pool->cold->failure, 0) : 0;
    if (failure == 0) {
        return KVASS_OK;
    }
    const char *why = failure & SHORT_FILE ? "the file has become shorter"
                                           : strerror(failure & ~(SHORT_FILE | WRITING));
    bool writing = failure & WRITING;
    return kvass_fail(err, KVASS_IO, writing ? "OFFLOAD_WRITE" : "OFFLOAD_READ",
                      "%s: cannot %s a cache page: %s", pool->cold->path,
                      writing ? "write" : "read", why);
}

/* all bytes of a[n_a], then of b[n_b], at a place in the file; false after noting why not */
static bool transfer(kv_cold *cold, uint64_t at, unsigned char *a, size_t n_a, unsigned char *b,
                     size_t n_b, bool writing)
{
    while (n_a + n_b > 0) {
        struct iovec parts[2] = {{a, n_a}, {b, n_b}};
        ssize_t n = writing ? pwritev(cold->fd, parts, 2, (off_t)at)
                            : preadv(cold->fd, parts, 2, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            int none = 0, why = n < 0 ? errno : writing ? ENOSPC : SHORT_FILE;
            (void)atomic_compare_exchange_strong(&cold->failure, &none,
                                                 why | (writing ? WRITING : 0));
            return false;
        }
        size_t of_a = (size_t)n < n_a ? (size_t)n : n_a, of_b = (size_t)n - of_a;
        a += of_a;
        n_a -= of_a;
        b += of_b;
        n_b -= of_b;
        at += (uint64_t)n;
    }
    return true;
}

static bool transfer_head(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                          unsigned char *keys, unsigned char *values, bool writing)
{
    size_t head_bytes = pool->key_page_bytes + pool->value_page_bytes;
    uint64_t at = pool->owners[owner].file_at + (uint64_t)page * pool->page_bytes +
                  (uint64_t)kv_head * head_bytes;
    return transfer(pool->cold, at, keys, pool->key_page_bytes, values, pool->value_page_bytes,
                    writing);
}

/* a whole page between its place in the file and one in memory */
static bool transfer_page(const kv_pool *pool, int32_t owner, int32_t page, int32_t frame,
                          bool writing)
{
    bool ok = true;
    for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads && ok; kv_head++) {
        unsigned char *keys = kv_pool_key_range(pool, owner, kv_head);
        unsigned char *values = kv_pool_value_range(pool, owner, kv_head);
        ok = transfer_head(pool, owner, kv_head, page, keys + (size_t)frame * pool->key_page_bytes,
                           values + (size_t)frame * pool->value_page_bytes, writing);
    }
    return ok;
}

bool kv_cold_read_head(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                       unsigned char *keys, unsigned char *values)
{
    return transfer_head(pool, owner, kv_head, page, keys, values, false);
}

bool kv_cold_write_head(kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                        unsigned char *keys, unsigned char *values)
{
    pool->owners[owner].version[page]++;
    return transfer_head(pool, owner, kv_head, page, keys, values, true);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* the slot that holds a head of a page, read now unless it was there */
static int32_t slot_of(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                       kv_reader *reader)
{
    uint32_t version = pool->owners[owner].version[page];
    int32_t oldest = 0;
    for (int32_t i = 0; i < KV_READER_SLOTS; i++) {
        kv_slot *slot = &reader->slots[i];
        if (slot->last_use > 0 && slot->page == page && slot->kv_head == kv_head &&
            slot->owner == owner && slot->version == version) {
            slot->last_use = ++reader->clock;
            return i;
        }
        oldest = slot->last_use < reader->slots[oldest].last_use ? i : oldest;
    }
    unsigned char *keys = reader->keys + (size_t)oldest * pool->key_page_bytes;
    unsigned char *values = reader->values + (size_t)oldest * pool->value_page_bytes;
    bool ok = transfer_head(pool, owner, kv_head, page, keys, values, false);
    if (!ok) {
        memset(keys, 0, pool->key_page_bytes);
        memset(values, 0, pool->value_page_bytes);
    }
    reader->n_read++;
    reader->slots[oldest] = (kv_slot){.owner = owner,
                                      .kv_head = kv_head,
                                      .page = page,
                                      .version = version,
                                      .last_use = ok ? ++reader->clock : 0};
    return oldest;
}

kv_rows kv_pool_rows(const kv_pool *pool, int32_t owner, int32_t kv_head, kv_span span,
                     kv_reader *reader)
{
    if (span.row >= 0) {
        return (kv_rows){kv_pool_key_range(pool, owner, kv_head),
                         kv_pool_value_range(pool, owner, kv_head), span};
    }
    int32_t row = -1 - span.row;
    span.row = slot_of(pool, owner, kv_head, row / KV_PAGE_ROWS, reader) * KV_PAGE_ROWS +
               row % KV_PAGE_ROWS;
    return (kv_rows){reader->keys, reader->values, span};
}

/* ---- leaving memory and coming back ---------------------------------------------------------- */

/* the oldest page of seq in an owner layer that may leave: its logical number, or -1 */
static int32_t oldest_warm(const kv_pool *pool, const kv_seq *seq, int32_t owner)
{
    const kv_owner *o = &pool->owners[owner];
    int32_t n_pinned = kv_pages_for(o->policy.n_pinned);
    int32_t begin = seq->first[owner] > n_pinned ? seq->first[owner] : n_pinned;
    int32_t end = (seq->n_rows - pool->dims.n_recent) / KV_PAGE_ROWS;
    for (int32_t i = begin; i < end; i++) {
        if (o->frame_of[*kv_seq_entry(pool, seq, owner, i)] >= 0) {
            return i;
        }
    }
    return -1;
}

static bool evict(kv_pool *pool, int32_t owner, int32_t page)
{
    kv_owner *o = &pool->owners[owner];
    int32_t frame = o->frame_of[page];
    if (!transfer_page(pool, owner, page, frame, true)) {
        return false;
    }
    o->version[page]++;
    o->frame_of[page] = -1;
    kv_pool_return_frame(pool, owner, frame);
    return true;
}

/* Until n places are free in an owner layer; of all sequences the page furthest from its end leaves
 * first. false: a page could not be written, or none may leave. */
static bool make_room(kv_pool *pool, int32_t owner, int64_t n)
{
    while (pool->owners[owner].n_free_frames < n) {
        int32_t page = -1, furthest = -1;
        for (const kv_seq *seq = pool->seqs; seq; seq = seq->next) {
            int32_t i = oldest_warm(pool, seq, owner);
            if (i >= 0 && seq->n_rows - i * KV_PAGE_ROWS > furthest) {
                furthest = seq->n_rows - i * KV_PAGE_ROWS;
                page = *kv_seq_entry(pool, seq, owner, i);
            }
        }
        if (page < 0 || !evict(pool, owner, page)) {
            return false;
        }
    }
    return true;
}

/* a page whose rows will be written comes back */
static bool bring_back(kv_pool *pool, int32_t owner, int32_t page)
{
    kv_owner *o = &pool->owners[owner];
    int32_t frame = kv_pool_take_frame(pool, owner);
    assert(frame >= 0);
    if (!transfer_page(pool, owner, page, frame, false)) {
        kv_pool_return_frame(pool, owner, frame);
        return false;
    }
    o->frame_of[page] = frame;
    return true;
}

/* the page that a sequence's next row goes into if it is partly filled, else -1 */
static int32_t open_page(const kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t n_new)
{
    bool opens = n_new > 0 && seq->n_rows % KV_PAGE_ROWS != 0;
    return opens ? *kv_seq_entry(pool, seq, owner, seq->n_rows / KV_PAGE_ROWS) : -1;
}

/* places that n_new[i] more rows of each seqs[i] take in an owner layer, as its pages lie now */
static int64_t places_for(const kv_pool *pool, int32_t owner, kv_seq *const *seqs,
                          const int32_t *n_new, int32_t n_seqs)
{
    const kv_owner *o = &pool->owners[owner];
    int64_t n = 0;
    for (int32_t i = 0; i < n_seqs; i++) {
        int32_t page = open_page(pool, seqs[i], owner, n_new[i]);
        n += kv_pages_for(seqs[i]->n_rows + n_new[i]) - kv_pages_for(seqs[i]->n_rows);
        n += page >= 0 && o->frame_of[page] < 0; /* it comes back, */
        n += page >= 0 && o->refs[page] > 1;     /* and is copied */
    }
    return n;
}

bool kv_cold_prepare(kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new, int32_t n_seqs)
{
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const kv_owner *o = &pool->owners[owner];
        if (!o->frame_of) {
            continue;
        }
        /* a shared page may be sent away to make room, and has to come back: so more than once */
        for (int64_t n; (n = places_for(pool, owner, seqs, n_new, n_seqs)) > o->n_free_frames;) {
            if (!make_room(pool, owner, n)) {
                return false;
            }
        }
        for (int32_t i = 0; i < n_seqs; i++) {
            int32_t page = open_page(pool, seqs[i], owner, n_new[i]);
            if (page >= 0 && o->frame_of[page] < 0 && !bring_back(pool, owner, page)) {
                return false;
            }
        }
    }
    return true;
}

bool kv_cold_offload(kv_pool *pool, const kv_seq *seq)
{
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        while (pool->owners[owner].frame_of) {
            int32_t i = oldest_warm(pool, seq, owner);
            if (i < 0) {
                break;
            }
            if (!evict(pool, owner, *kv_seq_entry(pool, seq, owner, i))) {
                return false;
            }
        }
    }
    return true;
}
