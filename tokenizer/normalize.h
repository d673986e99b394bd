/* normalize.h - rewriting text before it is split: Unicode normal forms, and the literal
 * replacements of SentencePiece-like tokenizers. Bytes that are no UTF-8 stay as they are.
 */
#ifndef KVASS_TOKENIZER_NORMALIZE_H
#define KVASS_TOKENIZER_NORMALIZE_H

#include "engine/base/error.h"

#define TOK_MAX_STEPS 16

typedef enum tok_norm_kind {
    TOK_NFC,
    TOK_NFD,
    TOK_NFKC,
    TOK_NFKD,
    TOK_PREPEND, /* `to` before a text that is not empty */
    TOK_REPLACE  /* each `from` becomes `to` */
} tok_norm_kind;

typedef struct tok_norm_step {
    tok_norm_kind kind;
    char *from, *to; /* owned; NULL where the kind has none */
    size_t n_from, n_to;
} tok_norm_step;

typedef struct tok_normalizer {
    tok_norm_step steps[TOK_MAX_STEPS];
    int32_t n_steps;
} tok_normalizer;

/* A text of the tokenizer's own, and room for more. */
typedef struct tok_text {
    char *data;
    size_t n, cap;
} tok_text;

bool kvass_text_put(tok_text *text, const char *bytes, size_t n); /* false: out of memory */

/* Append a step; from and to are copied (either may be NULL). NOMEM; UNSUPPORTED (NORMALIZER) when
 * there are too many. */
kvass_status kvass_normalizer_add(tok_normalizer *norm, tok_norm_kind kind, const char *from,
                                  size_t n_from, const char *to, size_t n_to, kvass_error *err);
void kvass_normalizer_close(tok_normalizer *norm);

/* *out[*n_out] is text[n] itself or lies in *owned, which the caller frees in any case. NOMEM, also
 * when the result would take 2 GiB. */
kvass_status kvass_normalizer_run(const tok_normalizer *norm, const char *text, size_t n,
                                  const char **out, size_t *n_out, char **owned, kvass_error *err);

#endif
