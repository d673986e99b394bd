/* charsmap.h - SentencePiece's precompiled normalization map: byte strings to byte strings, in a
 * double-array trie. The file's bytes are copied and every step in them is checked, so a damaged
 * map gives other text, never a stray read.
 */
#ifndef KVASS_TOKENIZER_CHARSMAP_H
#define KVASS_TOKENIZER_CHARSMAP_H

#include "tokenizer/text.h"
#include "tokenizer/trie.h"

typedef struct tok_charsmap {
    uint32_t *units; /* [n_units]; NULL: no map */
    size_t n_units;
    char *strings; /* [n_strings]: what the keys become, each with a NUL after it */
    size_t n_strings;
} tok_charsmap;

/* From the blob of the file: u32 bytes of the trie, the trie, the strings. FORMAT (CHARSMAP),
 * NOMEM; `path` is for messages. */
kvass_status kvass_charsmap_open(tok_charsmap *map, const unsigned char *blob, size_t n_bytes,
                                 const char *path, kvass_error *err);
/* The same from base64, as tokenizer.json has it. */
kvass_status kvass_charsmap_open_base64(tok_charsmap *map, const char *text, size_t n_bytes,
                                        const char *path, kvass_error *err);
void kvass_charsmap_close(tok_charsmap *map);

/* What SentencePiece does to a text before its model sees it. */
typedef struct tok_rules {
    tok_charsmap map;
    tok_trie kept;     /* texts that are left as they are */
    bool prefix_space; /* a space first */
    bool remove_extra; /* no space at the ends, no two in a row */
    bool escape;       /* spaces become U+2581 */
} tok_rules;

void kvass_rules_close(tok_rules **rules);

/* Append what becomes of s[n] (n > 0). A byte that is no UTF-8 becomes U+FFFD. false: no memory. */
bool kvass_rules_run(const tok_rules *rules, const char *s, size_t n, tok_text *out);

/* The map alone, as the `tokenizers` library applies it: to whole grapheme clusters of less than 6
 * bytes by the shortest key they begin with, otherwise to single characters. */
bool kvass_charsmap_run(const tok_charsmap *map, const char *s, size_t n, tok_text *out);

#endif
