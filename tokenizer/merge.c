/* merge.c - merge.h with a binary heap. Candidates are not removed when one of their symbols
 * merges otherwise; they are recognised as stale when they surface: the text of a pair at a given
 * place only ever grows, so a pair is the same as long as its length is.
 */
#include "tokenizer/merge.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

kvass_status kvass_merger_begin(tok_merger *m, size_t n, kvass_error *err)
{
    m->n_symbols = 0;
    m->n_heap = 0;
    if (n <= m->cap) {
        return KVASS_OK;
    }
    size_t cap = n < 64 ? 64 : n;
    kvass_merger_close(m);
    /* n - 1 candidates at first; each merge takes one and adds at most two */
    size_t symbol_bytes, heap_bytes;
    if (cap > INT32_MAX || !kvass_mul_size(cap, sizeof *m->symbols, &symbol_bytes) ||
        !kvass_mul_size(2 * cap, sizeof *m->heap, &heap_bytes)) {
        return kvass_fail_nomem(err, cap, "symbols of a word");
    }
    m->symbols = malloc(symbol_bytes);
    m->heap = malloc(heap_bytes);
    if (!m->symbols || !m->heap) {
        kvass_merger_close(m);
        return kvass_fail_nomem(err, symbol_bytes, "symbols of a word");
    }
    m->cap = cap;
    return KVASS_OK;
}

void kvass_merger_close(tok_merger *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (tok_merger){0};
}

void kvass_merger_add(tok_merger *m, int32_t id, size_t start, size_t n_bytes)
{
    int32_t i = m->n_symbols++;
    m->symbols[i] = (tok_symbol){id, (uint32_t)start, (uint32_t)n_bytes, i - 1, -1};
    if (i > 0) {
        m->symbols[i - 1].next = i;
    }
}

static void heap_push(tok_merger *m, tok_candidate c)
{
    size_t i = m->n_heap++;
    for (; i > 0; i = (i - 1) / 2) {
        tok_candidate parent = m->heap[(i - 1) / 2];
        if (parent.order <= c.order) {
            break;
        }
        m->heap[i] = parent;
    }
    m->heap[i] = c;
}

static tok_candidate heap_pop(tok_merger *m)
{
    tok_candidate top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0, child;
    for (; (child = 2 * i + 1) < m->n_heap; i = child) {
        child += child + 1 < m->n_heap && m->heap[child + 1].order < m->heap[child].order;
        if (last.order <= m->heap[child].order) {
            break;
        }
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return top;
}

/* Note that symbol `left` and its right neighbour may merge, if the rule says so. */
static void consider(tok_merger *m, tok_merge_rule *rule, const void *model, const char *word,
                     int32_t left)
{
    const tok_symbol *l = &m->symbols[left];
    if (l->next < 0) {
        return;
    }
    const tok_symbol *r = &m->symbols[l->next];
    int32_t id;
    int32_t rank = rule(model, word, l, r, &id);
    if (rank >= 0) {
        uint64_t order = (uint64_t)(uint32_t)rank << 32 | (uint32_t)left;
        heap_push(m, (tok_candidate){order, id, l->n_bytes + r->n_bytes});
    }
}

kvass_status kvass_merger_run(tok_merger *m, tok_merge_rule *rule, const void *model,
                              const char *word, tok_ids *out, kvass_error *err)
{
    for (int32_t i = 0; i + 1 < m->n_symbols; i++) {
        consider(m, rule, model, word, i);
    }
    while (m->n_heap > 0) {
        tok_candidate c = heap_pop(m);
        int32_t left = (int32_t)(c.order & 0xffffffffu);
        tok_symbol *l = &m->symbols[left];
        tok_symbol *r = l->next < 0 ? NULL : &m->symbols[l->next];
        if (l->n_bytes == 0 || !r || l->n_bytes + r->n_bytes != c.n_bytes) {
            continue;
        }
        l->id = c.id;
        l->n_bytes = c.n_bytes;
        l->next = r->next;
        r->n_bytes = 0;
        if (l->next >= 0) {
            m->symbols[l->next].prev = left;
        }
        consider(m, rule, model, word, left);
        if (l->prev >= 0) {
            consider(m, rule, model, word, l->prev);
        }
    }
    for (int32_t i = m->n_symbols > 0 ? 0 : -1; i >= 0; i = m->symbols[i].next) {
        if (!kvass_ids_push(out, m->symbols[i].id)) {
            return kvass_fail_nomem(err, out->n * sizeof *out->data, "token ids");
        }
    }
    return KVASS_OK;
}

size_t kvass_merge_end(const char *text, size_t n, size_t at, const char *mark, size_t n_mark)
{
    bool after_mark = true;
    while (at < n) {
        bool is_mark = n - at >= n_mark && memcmp(text + at, mark, n_mark) == 0;
        if (is_mark && !after_mark) {
            return at;
        }
        after_mark = is_mark;
        at += is_mark ? n_mark : 1;
    }
    return n;
}

bool kvass_merge_crosses(const char *text, size_t n, const char *mark, size_t n_mark)
{
    return kvass_merge_end(text, n, 0, mark, n_mark) < n;
}
