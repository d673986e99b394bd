/* trie.h - byte strings by their prefixes: which keys does a text begin with?
 * Built once from a list of keys and read-only afterwards. The children of a node lie side by side,
 * so a node is three small numbers.
 */
#ifndef KVASS_TOKENIZER_TRIE_H
#define KVASS_TOKENIZER_TRIE_H

#include "engine/base/error.h"

typedef struct tok_key {
    const char *text;
    uint32_t n_bytes;
    int32_t value; /* >= 0 */
} tok_key;

/* All zero is an empty one. Node 0 is the root. */
typedef struct tok_trie {
    uint32_t *first;       /* [n_nodes + 1]: the children of i are first[i] .. first[i + 1] - 1 */
    unsigned char *labels; /* [n_nodes]: the byte that leads to it */
    int32_t *values;       /* [n_nodes]: of the key that ends there, or -1 */
    uint32_t n_nodes;
    uint32_t at_root[256]; /* the root's children, 0: none */
} tok_trie;

/* Build it from keys[n_keys], which are sorted here; empty keys are left out, of equal ones the
 * smallest value stays. NOMEM. */
kvass_status kvass_trie_open(tok_trie *trie, tok_key *keys, size_t n_keys, kvass_error *err);
void kvass_trie_close(tok_trie *trie);

/* The child of `node` for `byte`, or 0. */
uint32_t kvass_trie_child(const tok_trie *trie, uint32_t node, unsigned char byte);

/* The longest key that text[n] begins with: its length, or 0; *value unless NULL. */
size_t kvass_trie_longest(const tok_trie *trie, const char *text, size_t n, int32_t *value);

#endif
