/* words.h - byte strings known by ids: a vocabulary's words, as its model spells them.
 * Filled while a tokenizer opens, read-only afterwards.
 */
#ifndef KVASS_TOKENIZER_WORDS_H
#define KVASS_TOKENIZER_WORDS_H

#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/table.h"

#define TOK_NO_WORD UINT32_MAX

typedef struct tok_word {
    uint32_t offset, n_bytes; /* in tok_words.bytes; n_bytes TOK_NO_WORD: the id has none */
} tok_word;

typedef struct tok_words {
    int32_t n_ids;
    tok_word *all; /* [n_ids] */
    char *bytes;
    size_t n_bytes, cap_bytes;
    kvass_table table; /* hash of a word -> id */
} tok_words;

/* For ids below n_ids, with room for words of cap_bytes together; more grow. NOMEM. */
kvass_status kvass_words_open(tok_words *words, int32_t n_ids, size_t cap_bytes, kvass_error *err);
void kvass_words_close(tok_words *words); /* all zero is a closed one */

/* Make text[n_bytes] the word of an id that has none. *old, which may be NULL, is the id that has
 * this word already, or -1; then nothing is added. NOMEM: nothing has changed. */
kvass_status kvass_words_add(tok_words *words, int32_t id, const char *text, size_t n_bytes,
                             int32_t *old, kvass_error *err);

static inline bool kvass_words_is(const tok_words *words, int32_t id, const char *text,
                                  size_t n_bytes)
{
    const tok_word *word = &words->all[id];
    return word->n_bytes == n_bytes && memcmp(words->bytes + word->offset, text, n_bytes) == 0;
}

/* The id of a word, or -1. */
int32_t kvass_words_get(const tok_words *words, const char *text, size_t n_bytes);

/* The same where it is likely to be `guess`, any number. */
static inline int32_t kvass_words_near(const tok_words *words, int32_t guess, const char *text,
                                       size_t n_bytes)
{
    bool right = guess >= 0 && guess < words->n_ids && kvass_words_is(words, guess, text, n_bytes);
    return right ? guess : kvass_words_get(words, text, n_bytes);
}

#endif
