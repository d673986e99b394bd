/* trie.c - trie.h, filled level by level from the sorted keys: a node stands for a run of keys with
 * the same beginning, and its children cut that run by the next byte.
 */
#include "tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

/* The keys that go through a node, and how many of their bytes lead to it. */
typedef struct run {
    uint32_t begin, end, depth;
} run;

static int by_text(const void *a, const void *b)
{
    const tok_key *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = memcmp(x->text, y->text, n);
    if (order != 0) {
        return order;
    }
    if (x->n_bytes != y->n_bytes) {
        return x->n_bytes < y->n_bytes ? -1 : 1;
    }
    return (x->value > y->value) - (x->value < y->value);
}

static uint32_t shared_bytes(const tok_key *a, const tok_key *b)
{
    uint32_t n = 0;
    while (n < a->n_bytes && n < b->n_bytes && a->text[n] == b->text[n]) {
        n++;
    }
    return n;
}

/* The root, and for each key the bytes it does not share with the one before; 0 if too many. */
static size_t count_nodes(const tok_key *keys, size_t n_keys)
{
    size_t n = 1;
    for (size_t i = 0; i < n_keys; i++) {
        n += keys[i].n_bytes - (i > 0 ? shared_bytes(&keys[i - 1], &keys[i]) : 0);
    }
    return n < INT32_MAX && n_keys < INT32_MAX ? n : 0;
}

static void fill(tok_trie *trie, const tok_key *keys, size_t n_keys, run *runs)
{
    uint32_t n = 1;
    runs[0] = (run){0, (uint32_t)n_keys, 0};
    trie->labels[0] = 0;
    for (uint32_t node = 0; node < n; node++) {
        run r = runs[node];
        trie->first[node] = n;
        trie->values[node] = -1;
        while (r.begin < r.end && keys[r.begin].n_bytes == r.depth) {
            if (trie->values[node] < 0 && node > 0) {
                trie->values[node] = keys[r.begin].value;
            }
            r.begin++;
        }
        while (r.begin < r.end) {
            char label = keys[r.begin].text[r.depth];
            uint32_t begin = r.begin;
            while (r.begin < r.end && keys[r.begin].text[r.depth] == label) {
                r.begin++;
            }
            trie->labels[n] = (unsigned char)label;
            runs[n++] = (run){begin, r.begin, r.depth + 1};
        }
    }
    trie->first[n] = n;
    for (uint32_t child = trie->first[0]; n > 1 && child < trie->first[1]; child++) {
        trie->at_root[trie->labels[child]] = child;
    }
}

kvass_status kvass_trie_open(tok_trie *trie, tok_key *keys, size_t n_keys, kvass_error *err)
{
    *trie = (tok_trie){0};
    if (n_keys > 0) {
        qsort(keys, n_keys, sizeof *keys, by_text);
    }
    size_t n = count_nodes(keys, n_keys);
    run *runs = n > 0 ? malloc(n * sizeof *runs) : NULL;
    trie->first = malloc((n + 1) * sizeof *trie->first);
    trie->labels = malloc(n + 1);
    trie->values = malloc((n + 1) * sizeof *trie->values);
    if (!runs || !trie->first || !trie->labels || !trie->values) {
        free(runs);
        kvass_trie_close(trie);
        return kvass_fail_nomem(err, n * sizeof *runs, "a tree of words");
    }
    trie->n_nodes = (uint32_t)n;
    fill(trie, keys, n_keys, runs);
    free(runs);
    return KVASS_OK;
}

void kvass_trie_close(tok_trie *trie)
{
    free(trie->first);
    free(trie->labels);
    free(trie->values);
    *trie = (tok_trie){0};
}

uint32_t kvass_trie_child(const tok_trie *trie, uint32_t node, unsigned char byte)
{
    if (node == 0) {
        return trie->at_root[byte];
    }
    uint32_t first = trie->first[node];
    const unsigned char *labels = trie->labels + first;
    size_t n = trie->first[node + 1] - first;
    const unsigned char *found = n > 0 ? memchr(labels, byte, n) : NULL;
    return found ? first + (uint32_t)(found - labels) : 0;
}

size_t kvass_trie_longest(const tok_trie *trie, const char *text, size_t n, int32_t *value)
{
    size_t longest = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        node = kvass_trie_child(trie, node, (unsigned char)text[i]);
        if (node == 0) {
            break;
        }
        if (trie->values[node] >= 0) {
            longest = i + 1;
            if (value) {
                *value = trie->values[node];
            }
        }
    }
    return longest;
}
