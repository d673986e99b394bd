/* newchars.c - newchars.h with a sorted table of ranges; text without such characters, which is
 * nearly all there is, is only looked through.
 */
#include "tokenizer/newchars.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/utf8.h"

static const struct {
    uint32_t first, last, stand_in;
} rows[] = {
#include "tokenizer/newchars.inc"
};

static uint32_t stand_in(uint32_t cp)
{
    size_t low = 0, high = sizeof rows / sizeof rows[0];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (rows[middle].last < cp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sizeof rows / sizeof rows[0] && cp >= rows[low].first ? rows[low].stand_in : 0;
}

kvass_status kvass_newchars_replace(const char *text, size_t n, char **copy, kvass_error *err)
{
    *copy = NULL;
    for (size_t i = 0, size; i<n; i += size> 0 ? size : 1) {
        uint32_t cp = 0;
        size = 1;
        if ((unsigned char)text[i] < 0xe0) { /* all newer characters take three or four bytes */
            continue;
        }
        size = kvass_utf8_char(text + i, n - i, &cp);
        uint32_t old = size > 0 ? stand_in(cp) : 0;
        if (old == 0) {
            continue;
        }
        if (!*copy) {
            *copy = malloc(n);
            if (!*copy) {
                return kvass_fail_nomem(err, n, "a copy of the text");
            }
            memcpy(*copy, text, n);
        }
        (void)kvass_utf8_put(old, *copy + i);
    }
    return KVASS_OK;
}
