/* vocab.h - what each id stands for, and growing lists of ids.
 * Filled by a reader while a tokenizer opens, read-only afterwards. Ids may leave holes: a hole has
 * no bytes.
 */
#ifndef KVASS_TOKENIZER_VOCAB_H
#define KVASS_TOKENIZER_VOCAB_H

#include "engine/base/error.h"
#include "tokenizer/words.h"

#define KVASS_MAX_VOCAB (1 << 21)

enum {
    TOK_KNOWN = 1,   /* the id is in use */
    TOK_SPECIAL = 2, /* a control token: left out of decoded text */
    TOK_WORD = 4,    /* the model has a word for it: text becomes this id without naming it */
    TOK_WHOLE = 8    /* no merge takes it in */
};

typedef struct tok_piece {
    uint32_t offset, n_bytes; /* in tok_vocab.bytes */
    uint32_t flags;
} tok_piece;

typedef struct tok_vocab {
    int32_t n_vocab;   /* highest id + 1 */
    tok_piece *pieces; /* [n_vocab] */
    char *bytes;
    size_t n_bytes, cap_bytes;
    size_t longest;  /* bytes of the longest piece */
    tok_words words; /* as the model spells them, of the pieces with TOK_WORD */
} tok_vocab;

/* Room for ids below n_vocab (at most KVASS_MAX_VOCAB) whose pieces take cap_bytes together (below
 * 4 GiB). NOMEM; close it in any case. */
kvass_status kvass_vocab_open(tok_vocab *vocab, int32_t n_vocab, size_t cap_bytes,
                              kvass_error *err);
void kvass_vocab_close(tok_vocab *vocab);

/* Define an id that is a hole so far: what it decodes to. The room given to kvass_vocab_open
 * suffices. */
void kvass_vocab_set(tok_vocab *vocab, int32_t id, const char *bytes, size_t n_bytes,
                     uint32_t flags);

/* Make text[n_bytes] the word of a defined id. Of two ids with the same word the first is found:
 * *old, which may be NULL, is that one or -1. NOMEM. */
kvass_status kvass_vocab_add_word(tok_vocab *vocab, int32_t id, const char *text, size_t n_bytes,
                                  int32_t *old, kvass_error *err);

bool kvass_vocab_has(const tok_vocab *vocab, int32_t id); /* false out of range and for holes */

/* The id of a word, or -1. */
static inline int32_t kvass_vocab_word(const tok_vocab *vocab, const char *bytes, size_t n_bytes)
{
    return kvass_words_get(&vocab->words, bytes, n_bytes);
}

/* The byte that "<0x00>" .. "<0xFF>" (two hexadecimal digits) stands for, or -1. */
int kvass_vocab_byte_name(const char *name, size_t n_bytes);

/* ranks[id] from scores[id] of all n: 0 for the highest, equal for equal scores. false: no
 * memory. */
bool kvass_vocab_rank(const float *scores, int32_t n, int32_t *ranks);

/* ---- list of ids ----------------------------------------------------------------------------- */

typedef struct tok_ids {
    int32_t *data;
    size_t n, cap;
} tok_ids;

bool kvass_ids_push(tok_ids *ids, int32_t id); /* false: out of memory */
void kvass_ids_close(tok_ids *ids);

#endif
