/* pretokenize.h - cutting text into words before the model sees it.
 * A pre-tokenizer is a list of steps; each cuts the pieces of the one before. Nothing here changes
 * text, except that a step may put a space first.
 */
#ifndef KVASS_TOKENIZER_PRETOKENIZE_H
#define KVASS_TOKENIZER_PRETOKENIZE_H

#include "tokenizer/normalize.h"
#include "tokenizer/regex.h"

/* What happens to the matches of an expression, and to what lies between them. */
typedef enum tok_behavior {
    TOK_ISOLATED,   /* each match and each part between is a piece */
    TOK_REMOVED,    /* matches are left out */
    TOK_CONTIGUOUS, /* neighbouring matches are one piece */
    TOK_WITH_PREVIOUS, /* a match belongs to the part before it */
    TOK_WITH_NEXT      /* a match belongs to the part after it */
} tok_behavior;

typedef struct tok_pre_step {
    kvass_regex *regex; /* NULL: put a space before a piece that does not begin with one */
    tok_behavior behavior;
    bool invert; /* what does not match is what matches */
} tok_pre_step;

typedef struct tok_pretok {
    tok_pre_step steps[TOK_MAX_STEPS];
    int32_t n_steps;
} tok_pretok;

/* Append a step that owns `regex` from now on, also on failure. UNSUPPORTED (PRE_TOKENIZER). */
kvass_status kvass_pretok_add(tok_pretok *pre, kvass_regex *regex, tok_behavior behavior,
                              bool invert, kvass_error *err);
void kvass_pretok_close(tok_pretok *pre);

typedef kvass_status tok_word_fn(void *user, const char *word, size_t n_bytes);

/* Call word(user, ...) for each piece of text[n], in order; none is empty. Stops at the first
 * failure. Bytes that are no UTF-8 are pieces of their own where an expression cuts. */
kvass_status kvass_pretok_run(const tok_pretok *pre, tok_matcher *matcher, const char *text,
                              size_t n, tok_word_fn *word, void *user, kvass_error *err);

#endif
