/* select_topk.c - a decode row reads the pages whose keys can score highest.
 * Always read: pinned positions, the row's own page, the newest positions asked for. Of the other
 * pages it may see those with the highest bound (index.c) for any of the KV head's query heads, the
 * earlier page among equals. With room for all of them nothing is scored, and it is `all`.
 */
#include "engine/base/half.h"
#include "engine/cache/kv.h"

/* a number that orders as the score does, of which no two bits differ for equal scores */
static int32_t key_of(float score)
{
    uint32_t bits = kvass_f32_bits(score + 0.0f); /* one zero */
    return (int32_t)(bits >> 31 ? bits ^ 0x7fffffffu : bits);
}

static int32_t count_from(const int32_t *keys, int32_t n, int32_t least)
{
    int32_t n_found = 0;
    for (int32_t i = 0; i < n; i++) {
        n_found += keys[i] >= least;
    }
    return n_found;
}

/* A key that n_best of the n have or exceed; or, where there is none because of equal ones, the
 * highest that more do. Found by halving: each step counts, which has no branch to be mistaken
 * about. */
static int32_t find_least(const int32_t *keys, int32_t n, int32_t n_best)
{
    int32_t lo = INT32_MAX, hi = INT32_MIN;
    for (int32_t i = 0; i < n; i++) {
        lo = keys[i] < lo ? keys[i] : lo;
        hi = keys[i] > hi ? keys[i] : hi;
    }
    /* n_best keys or more are at least lo, fewer are above hi */
    for (int32_t n_found = n; n_found != n_best && lo < hi;) {
        int32_t middle = (int32_t)(hi - ((int64_t)hi - lo) / 2);
        int32_t n_here = count_from(keys, n, middle);
        if (n_here >= n_best) {
            lo = middle;
            n_found = n_here;
        } else {
            hi = middle - 1;
        }
    }
    return lo;
}

void kv_select_best(const float *scores, int32_t n, int32_t n_best, int32_t *best)
{
    int32_t *keys = best, n_out = 0;
    if (n_best == 0) {
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        keys[i] = key_of(scores[i]);
    }
    int32_t least = find_least(keys, n, n_best);
    int32_t n_equal = n_best - (least < INT32_MAX ? count_from(keys, n, least + 1) : 0);
    for (int32_t i = 0; i < n; i++) {
        if (keys[i] > least || (keys[i] == least && n_equal-- > 0)) {
            best[n_out++] = i; /* where no key is needed any more */
        }
    }
}

/* Whether candidate a ranks before b: the higher score, then the earlier page. */
static bool before(const float *scores, int32_t a, int32_t b)
{
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

/* let best[at] sink until nothing below it ranks behind it: the last in rank is on top */
static void sift(const float *scores, int32_t *best, int32_t n, int32_t at)
{
    int32_t moved = best[at];
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(scores, best[child], best[child + 1])) {
            child++;
        }
        if (!before(scores, moved, best[child])) {
            break;
        }
        best[at] = best[child];
    }
    best[at] = moved;
}

void kv_select_sort(const float *scores, int32_t n_best, int32_t *best)
{
    for (int32_t i = n_best / 2 - 1; i >= 0; i--) {
        sift(scores, best, n_best, i);
    }
    for (int32_t left = n_best - 1; left > 0; left--) {
        int32_t last = best[0];
        best[0] = best[left];
        best[left] = last;
        sift(scores, best, left, 0);
    }
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t pick(const kv_pool *pool, const kv_seq *seq, int32_t owner, const kv_query *query,
                    kv_pick_scratch *scratch, kv_span *out)
{
    kv_view view = query->view;
    int32_t pinned = kv_pages_for(query->n_pinned), newest = query->newest / KV_PAGE_ROWS;
    /* candidates are pages [begin, newest): complete, for the row's own page is not among them */
    int32_t begin = max_of(view.lo / KV_PAGE_ROWS, pinned), n_candidates = newest - begin;
    int32_t n_choose = query->n_topk - (kv_pages_for(query->pos + 1) - newest);
    if (n_candidates <= max_of(n_choose, 0)) {
        return kv_seq_spans(pool, seq, owner, view, out);
    }
    int32_t n = kv_seq_add_spans(pool, seq, owner, 0, view.n_pinned, out, 0);
    int32_t pinned_end = pinned * KV_PAGE_ROWS < view.hi ? pinned * KV_PAGE_ROWS : view.hi;
    n = kv_seq_add_spans(pool, seq, owner, view.lo, pinned_end, out, n);
    if (n_choose > 0) {
        kv_index_score(pool, seq, owner, query, begin, newest, scratch);
        kv_select_best(scratch->scores, n_candidates, n_choose, scratch->best);
        for (int32_t i = 0; i < n_choose; i++) {
            int32_t page = begin + scratch->best[i];
            n = kv_seq_add_spans(pool, seq, owner, max_of(page * KV_PAGE_ROWS, view.lo),
                                 (page + 1) * KV_PAGE_ROWS, out, n);
        }
    }
    return kv_seq_add_spans(pool, seq, owner, max_of(newest * KV_PAGE_ROWS, view.lo), view.hi, out,
                            n);
}

const kv_select_ops kv_select_topk = {.name = "topk", .pick = pick};
