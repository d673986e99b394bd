/* merge.h - merging neighbours by rank: the loop every BPE shares.
 * A word is a list of symbols; while some neighbouring pair may merge, the pair of the lowest rank
 * merges, the leftmost among equals. A heap of candidates makes that O(n log n).
 */
#ifndef KVASS_TOKENIZER_MERGE_H
#define KVASS_TOKENIZER_MERGE_H

#include "tokenizer/vocab.h"

typedef struct tok_symbol {
    int32_t id;
    uint32_t start, n_bytes; /* of its text; n_bytes 0: swallowed by the symbol to its left */
    int32_t prev, next;      /* neighbours, -1 at the ends */
} tok_symbol;

typedef struct tok_candidate {
    uint64_t order; /* rank << 32 | place of the left symbol */
    int32_t id;     /* what the pair becomes */
    uint32_t n_bytes; /* of both: tells a pair that has changed since */
} tok_candidate;

/* Scratch of one encode call, grown as words need it. */
typedef struct tok_merger {
    tok_symbol *symbols;
    int32_t n_symbols;
    tok_candidate *heap;
    size_t n_heap;
    size_t cap; /* symbols there is room for */
} tok_merger;

/* The rank (>= 0) of a pair and the id it becomes, or -1 when it does not merge. */
typedef int32_t tok_merge_rule(const void *model, const char *word, const tok_symbol *left,
                               const tok_symbol *right, int32_t *id);

/* Room for n symbols; the list is empty then. NOMEM. */
kvass_status kvass_merger_begin(tok_merger *m, size_t n, kvass_error *err);
void kvass_merger_close(tok_merger *m);

/* Append a symbol for word[start .. start + n_bytes), n_bytes > 0, within the room taken. */
void kvass_merger_add(tok_merger *m, int32_t id, size_t start, size_t n_bytes);

/* Merge all that merges and append the ids that are left to `out`. NOMEM. */
kvass_status kvass_merger_run(tok_merger *m, tok_merge_rule *rule, const void *model,
                              const char *word, tok_ids *out, kvass_error *err);

/* Where the word that begins at text[at] ends: before the next `mark` that follows something else,
 * or at n. When no merge joins anything with a mark to its right, words merge as they would in the
 * whole text, and a small heap is a fast one. */
size_t kvass_merge_end(const char *text, size_t n, size_t at, const char *mark, size_t n_mark);

/* Whether text[n] holds a mark that follows something else. */
bool kvass_merge_crosses(const char *text, size_t n, const char *mark, size_t n_mark);

#endif
