/* newchars.c - newchars.h with sorted tables of ranges; text without such characters, which is
 * nearly all there is, is only looked through.
 */
#include "tokenizer/newchars.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/utf8.h"

typedef struct row {
    uint32_t first, last, stand_in;
} row;

static const row split_rows[] = {
#include "tokenizer/newchars.inc"
};

static const row form_rows[] = {
#include "tokenizer/newforms.inc"
};

static const row mark_rows[] = {
#include "tokenizer/newmarks.inc"
};

static const row punct_rows[] = {
#include "tokenizer/newpunct.inc"
};

/* The row that holds cp, or NULL. */
static const row *find(const row *rows, size_t n, uint32_t cp)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (rows[middle].last < cp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < n && cp >= rows[low].first ? &rows[low] : NULL;
}

bool kvass_newchars_left_alone(uint32_t cp)
{
    return find(form_rows, sizeof form_rows / sizeof form_rows[0], cp) != NULL;
}

bool kvass_newchars_other_mark(uint32_t cp)
{
    return find(mark_rows, sizeof mark_rows / sizeof mark_rows[0], cp) != NULL;
}

bool kvass_newchars_other_punct(uint32_t cp)
{
    return find(punct_rows, sizeof punct_rows / sizeof punct_rows[0], cp) != NULL;
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
        const row *newer = find(split_rows, sizeof split_rows / sizeof split_rows[0], cp);
        if (size == 0 || !newer) {
            continue;
        }
        if (!*copy) {
            *copy = malloc(n);
            if (!*copy) {
                return kvass_fail_nomem(err, n, "a copy of the text");
            }
            memcpy(*copy, text, n);
        }
        (void)kvass_utf8_put(newer->stand_in, *copy + i);
    }
    return KVASS_OK;
}
