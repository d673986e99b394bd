/* regex.h - the pre-tokenizers' regular expressions, through PCRE2 with limits.
 * A compiled expression is read-only and shareable; what a search needs is in a tok_matcher, one
 * per encode call.
 */
#ifndef KVASS_TOKENIZER_REGEX_H
#define KVASS_TOKENIZER_REGEX_H

#include "engine/base/error.h"

typedef struct kvass_regex kvass_regex;

typedef struct tok_matcher {
    void *data, *limits; /* PCRE2's, made by the first search */
} tok_matcher;

void kvass_matcher_close(tok_matcher *m);

/* Compile pattern[n_bytes] (UTF-8), an Oniguruma expression, or plain text when `literal`.
 * FORMAT (REGEX_SIZE, REGEX_SYNTAX), UNSUPPORTED (REGEX_DIALECT), NOMEM; `path` is for messages. */
kvass_status kvass_regex_open(kvass_regex **out, const char *pattern, size_t n_bytes, bool literal,
                              const char *path, kvass_error *err);
void kvass_regex_close(kvass_regex **regex);

/* The expression as it was given, pattern[*n_bytes]; *literal: plain text. */
const char *kvass_regex_pattern(const kvass_regex *regex, size_t *n_bytes, bool *literal);

/* A walk over all matches in s[n], valid UTF-8, left to right; begin with {s, n}. */
typedef struct tok_walk {
    const char *s;
    size_t n;
    size_t start, end; /* the match found last */
    size_t from;       /* where the next search begins */
    bool any;          /* something was found */
} tok_walk;

/* The next match into w->start, w->end; *found = false after the last. A match may be empty, but
 * not right after another. UNSUPPORTED (REGEX_LIMIT) when the search exceeds its limits, NOMEM. */
kvass_status kvass_regex_next(const kvass_regex *regex, tok_matcher *m, tok_walk *w, bool *found,
                              kvass_error *err);

#endif
