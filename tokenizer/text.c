/* text.c - text.h; no text grows beyond 2 GiB, as places in one are int32. */
#include "tokenizer/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

#define MAX_RESULT_BYTES ((size_t)INT32_MAX)

bool kvass_text_put(tok_text *text, const char *bytes, size_t n)
{
    size_t need;
    if (!kvass_add_size(text->n, n, &need) || need > MAX_RESULT_BYTES) {
        return false;
    }
    if (need > text->cap) {
        size_t cap = need + need / 2 + 64;
        char *grown = realloc(text->data, cap);
        if (!grown) {
            return false;
        }
        text->data = grown;
        text->cap = cap;
    }
    memcpy(text->data + text->n, bytes, n);
    text->n = need;
    return true;
}
