/* text.h - a growing text, while it is rewritten. */
#ifndef KVASS_TOKENIZER_TEXT_H
#define KVASS_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A text of the tokenizer's own, and room for more. All zero is an empty one; free(data). */
typedef struct tok_text {
    char *data;
    size_t n, cap;
} tok_text;

bool kvass_text_put(tok_text *text, const char *bytes, size_t n); /* false: out of memory */

#endif
