/* rewrite.h - normalizers that look at one character, or one match, at a time. */
#ifndef KVASS_TOKENIZER_REWRITE_H
#define KVASS_TOKENIZER_REWRITE_H

#include "tokenizer/normalize.h"

/* Each appends what becomes of s[n] to out; false: out of memory. */

bool kvass_rewrite_replace(const char *s, size_t n, const char *from, size_t n_from, const char *to,
                           size_t n_to, tok_text *out);

/* kind: TOK_LOWERCASE, TOK_STRIP_LEFT, TOK_STRIP_RIGHT, TOK_STRIP_ACCENTS or TOK_NMT */
bool kvass_rewrite_chars(tok_norm_kind kind, const char *s, size_t n, tok_text *out);

/* Each match of an expression becomes `to`. NOMEM, UNSUPPORTED (REGEX_LIMIT). */
kvass_status kvass_rewrite_matches(const kvass_regex *regex, const char *s, size_t n,
                                   const char *to, size_t n_to, tok_text *out, kvass_error *err);

#endif
