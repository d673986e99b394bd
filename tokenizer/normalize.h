/* normalize.h - rewriting text before it is split: Unicode normal forms, replacements, and what
 * SentencePiece does. Bytes that are no UTF-8 stay as they are, except where SentencePiece's own
 * rules run.
 */
#ifndef KVASS_TOKENIZER_NORMALIZE_H
#define KVASS_TOKENIZER_NORMALIZE_H

#include "tokenizer/charsmap.h"
#include "tokenizer/regex.h"

#define TOK_MAX_STEPS 16

typedef enum tok_norm_kind {
    TOK_NFC,
    TOK_NFD,
    TOK_NFKC,
    TOK_NFKD,
    TOK_PREPEND,       /* `to` before a text that is not empty */
    TOK_REPLACE,       /* each `from` becomes `to` */
    TOK_REPLACE_REGEX, /* each match of `regex` becomes `to` */
    TOK_LOWERCASE,
    TOK_STRIP_LEFT,    /* no white space at the beginning */
    TOK_STRIP_RIGHT,   /* nor at the end */
    TOK_STRIP_ACCENTS, /* combining marks go */
    TOK_NMT,           /* control characters go, some others become spaces */
    TOK_CHARSMAP,      /* the map of `rules`, as in tokenizer.json */
    TOK_SENTENCEPIECE  /* all of `rules` */
} tok_norm_kind;

typedef struct tok_norm_step {
    tok_norm_kind kind;
    char *from, *to; /* owned; NULL where the kind has none */
    size_t n_from, n_to;
    kvass_regex *regex;
    tok_rules *rules;
} tok_norm_step;

typedef struct tok_normalizer {
    tok_norm_step steps[TOK_MAX_STEPS];
    int32_t n_steps;
} tok_normalizer;

/* Append a step; from and to are copied (either may be NULL). NOMEM; UNSUPPORTED (NORMALIZER) when
 * there are too many. */
kvass_status kvass_normalizer_add(tok_normalizer *norm, tok_norm_kind kind, const char *from,
                                  size_t n_from, const char *to, size_t n_to, kvass_error *err);

/* The same for a step with an expression or with rules (NULL where the kind has none), which it
 * owns from now on, also on failure. */
kvass_status kvass_normalizer_add_regex(tok_normalizer *norm, kvass_regex *regex, const char *to,
                                        size_t n_to, kvass_error *err);
kvass_status kvass_normalizer_add_rules(tok_normalizer *norm, tok_norm_kind kind, tok_rules *rules,
                                        kvass_error *err);
void kvass_normalizer_close(tok_normalizer *norm);

/* *out[*n_out] is text[n] itself or lies in *owned, which the caller frees in any case. NOMEM, also
 * when the result would take 2 GiB; UNSUPPORTED (REGEX_LIMIT). */
kvass_status kvass_normalizer_run(const tok_normalizer *norm, const char *text, size_t n,
                                  const char **out, size_t *n_out, char **owned, kvass_error *err);

#endif
