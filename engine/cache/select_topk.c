/* select_topk.c - a decode row reads the pages whose keys can score highest.
 * Always read: pinned positions, the row's own page, the newest positions asked for. Of the other
 * pages it may see those with the highest bound (index.c) for any of the KV head's query heads, the
 * earlier page among equals. With room for all of them nothing is scored, and it is `all`.
 */
#include "engine/cache/kv.h"

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

void kv_select_best(const float *scores, int32_t n, int32_t n_best, int32_t *best)
{
    for (int32_t i = 0; i < n_best; i++) {
        best[i] = i;
    }
    for (int32_t i = n_best / 2 - 1; i >= 0; i--) {
        sift(scores, best, n_best, i);
    }
    for (int32_t i = n_best; n_best > 0 && i < n; i++) {
        if (scores[i] > scores[best[0]]) { /* an equal one stands behind it */
            best[0] = i;
            sift(scores, best, n_best, 0);
        }
    }
}

void kv_select_sort(const float *scores, int32_t n_best, int32_t *best)
{
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
        int32_t last = scratch->best[0];
        for (int32_t i = 0; i < n_candidates; i++) {
            if (i == last || before(scratch->scores, i, last)) {
                int32_t lo = max_of((begin + i) * KV_PAGE_ROWS, view.lo);
                int32_t hi = (begin + i + 1) * KV_PAGE_ROWS;
                n = kv_seq_add_spans(pool, seq, owner, lo, hi, out, n);
            }
        }
    }
    return kv_seq_add_spans(pool, seq, owner, max_of(newest * KV_PAGE_ROWS, view.lo), view.hi, out,
                            n);
}

const kv_select_ops kv_select_topk = {.name = "topk", .pick = pick};
