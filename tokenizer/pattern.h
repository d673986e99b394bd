/* pattern.h - the regular expressions of tokenizer.json, said in PCRE2's dialect.
 * They are written for Oniguruma with Ruby's syntax. What both read alike is kept, what has another
 * spelling is respelled, and what would silently mean something else is refused.
 */
#ifndef KVASS_TOKENIZER_PATTERN_H
#define KVASS_TOKENIZER_PATTERN_H

#include <stddef.h>

#define PATTERN_MAX_BYTES 4096

/* Respell pattern[n_bytes] (at most PATTERN_MAX_BYTES): the result has *n_out bytes, free() it.
 * NULL with *fault = 0 when out of memory, else *fault is the offending text inside pattern and
 * *n_fault its length. */
char *kvass_pattern_respell(const char *pattern, size_t n_bytes, size_t *n_out, const char **fault,
                            size_t *n_fault);

#endif
