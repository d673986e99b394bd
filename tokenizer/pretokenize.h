/* pretokenize.h - cutting text into words before the model sees it.
 * A pre-tokenizer is a list of steps; each cuts the pieces of the one before. Nothing here changes
 * text, except that a step may put a space first, or a mark in place of every space.
 */
#ifndef KVASS_TOKENIZER_PRETOKENIZE_H
#define KVASS_TOKENIZER_PRETOKENIZE_H

#include "tokenizer/normalize.h"
#include "tokenizer/regex.h"

/* What happens to the matches of an expression, and to what lies between them. */
typedef enum tok_behavior {
    TOK_ISOLATED,      /* each match and each part between is a piece */
    TOK_REMOVED,       /* matches are left out */
    TOK_CONTIGUOUS,    /* neighbouring matches are one piece */
    TOK_WITH_PREVIOUS, /* a match belongs to the part before it */
    TOK_WITH_NEXT      /* a match belongs to the part after it */
} tok_behavior;

typedef enum tok_pre_kind {
    TOK_PRE_SPLIT, /* cut by `regex`, or at each character that `is` knows */
    TOK_PRE_SPACE, /* put a space before a piece that does not begin with one */
    TOK_PRE_MARK   /* spaces become `mark`, and one is put first as `first` says */
} tok_pre_kind;

/* Where a mark is put first, if none is there. */
typedef enum tok_mark_first { TOK_MARK_NEVER, TOK_MARK_AT_START, TOK_MARK_ALWAYS } tok_mark_first;

typedef bool tok_is_fn(uint32_t cp);

bool kvass_is_punctuation(uint32_t cp); /* of any script, or an ASCII sign */

typedef struct tok_pre_step {
    tok_pre_kind kind;
    kvass_regex *regex;
    tok_is_fn *is;
    tok_behavior behavior;
    bool invert; /* what does not match is what matches */
    char mark[4];
    size_t n_mark;
    tok_mark_first first;
} tok_pre_step;

typedef struct tok_pretok {
    tok_pre_step steps[TOK_MAX_STEPS];
    int32_t n_steps;
} tok_pretok;

/* Append a step; its `regex` is owned from now on, also on failure. UNSUPPORTED
 * (PRE_TOKENIZER). */
kvass_status kvass_pretok_add(tok_pretok *pre, tok_pre_step step, kvass_error *err);
void kvass_pretok_close(tok_pretok *pre);

typedef kvass_status tok_word_fn(void *user, const char *word, size_t n_bytes);

/* Call word(user, ...) for each piece of text[n], in order; none is empty. at_start: it is the
 * beginning of what is encoded. Stops at the first failure. Bytes that are no UTF-8 are pieces of
 * their own where an expression cuts. */
kvass_status kvass_pretok_run(const tok_pretok *pre, tok_matcher *matcher, const char *text,
                              size_t n, bool at_start, tok_word_fn *word, void *user,
                              kvass_error *err);

#endif
