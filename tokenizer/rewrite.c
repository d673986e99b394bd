/* rewrite.c - rewrite.h. Bytes that are no UTF-8 pass through. */
#include "tokenizer/rewrite.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "tokenizer/newchars.h"
#include "tokenizer/utf8.h"

static bool put(tok_text *out, const char *s, size_t n)
{
    return n == 0 || kvass_text_put(out, s, n);
}

bool kvass_rewrite_replace(const char *s, size_t n, const char *from, size_t n_from, const char *to,
                           size_t n_to, tok_text *out)
{
    size_t i = 0;
    while (i < n) {
        const char *found = memmem(s + i, n - i, from, n_from);
        size_t end = found ? (size_t)(found - s) : n;
        if (!put(out, s + i, end - i) || (found && !put(out, to, n_to))) {
            return false;
        }
        i = end + n_from;
    }
    return true;
}

/* ---- characters ------------------------------------------------------------------------------ */

/* cp in lower case; one capital becomes two characters, the second of them in *mark. utf8proc knows
 * Unicode 15, the library we follow 17. */
static uint32_t lower(uint32_t cp, uint32_t *mark)
{
    static const struct {
        uint32_t first, last, to; /* `first` becomes `to`, and so on */
    } newer[] = {{0x1c89, 0x1c89, 0x1c8a},   {0xa7cb, 0xa7cb, 0x264},  {0xa7cc, 0xa7cc, 0xa7cd},
                 {0xa7ce, 0xa7ce, 0xa7cf},   {0xa7d2, 0xa7d2, 0xa7d3}, {0xa7d4, 0xa7d4, 0xa7d5},
                 {0xa7da, 0xa7da, 0xa7db},   {0xa7dc, 0xa7dc, 0x19b},  {0x10d50, 0x10d65, 0x10d70},
                 {0x16ea0, 0x16eb8, 0x16ebb}};
    *mark = cp == 0x130 ? 0x307 : 0;
    for (size_t i = 0; i < sizeof newer / sizeof newer[0]; i++) {
        if (cp >= newer[i].first && cp <= newer[i].last) {
            return newer[i].to + (cp - newer[i].first);
        }
    }
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

static bool is_mark(uint32_t cp)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
    bool mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
    return mark != kvass_newchars_other_mark(cp);
}

bool kvass_is_punctuation(uint32_t cp)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
    bool punct = (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO) ||
                 (cp > 0 && cp < 0x80 && strchr("$+<=>^`|~", (int)cp));
    return punct != kvass_newchars_other_punct(cp);
}

/* What Google's translation systems make of a character: nothing, a space, or itself. */
static uint32_t nmt(uint32_t cp)
{
    if ((cp >= 0x01 && cp <= 0x08) || cp == 0x0b || (cp >= 0x0e && cp <= 0x1f) || cp == 0x7f ||
        cp == 0x8f || cp == 0x9f) {
        return 0;
    }
    if (cp == 0x09 || cp == 0x0a || cp == 0x0c || cp == 0x0d || cp == 0x1680 ||
        (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
        cp == 0xfeff || cp == 0xfffd) {
        return ' ';
    }
    return cp;
}

/* Append what becomes of cp, spelled s[n]. */
static bool put_char(tok_norm_kind kind, uint32_t cp, const char *s, size_t n, tok_text *out)
{
    uint32_t to = cp, mark = 0;
    char bytes[8];
    if (kind == TOK_STRIP_ACCENTS) {
        return is_mark(cp) || put(out, s, n);
    }
    to = kind == TOK_NMT ? nmt(cp) : lower(cp, &mark);
    if (to == cp) {
        return put(out, s, n);
    }
    size_t n_bytes = to ? kvass_utf8_put(to, bytes) : 0;
    n_bytes += mark ? kvass_utf8_put(mark, bytes + n_bytes) : 0;
    return put(out, bytes, n_bytes);
}

static bool strip(bool left, const char *s, size_t n, tok_text *out)
{
    size_t size;
    uint32_t cp;
    while (left && (size = kvass_utf8_char(s, n, &cp)) > 0 && kvass_utf8_is_space(cp)) {
        s += size;
        n -= size;
    }
    while (!left && (size = kvass_utf8_char_before(s, n, &cp)) > 0 && kvass_utf8_is_space(cp)) {
        n -= size;
    }
    return put(out, s, n);
}

bool kvass_rewrite_chars(tok_norm_kind kind, const char *s, size_t n, tok_text *out)
{
    if (kind == TOK_STRIP_LEFT || kind == TOK_STRIP_RIGHT) {
        return strip(kind == TOK_STRIP_LEFT, s, n, out);
    }
    bool ok = true;
    for (size_t i = 0, size; ok && i < n; i += size) {
        uint32_t cp = 0;
        size = kvass_utf8_char(s + i, n - i, &cp);
        ok = size > 0 ? put_char(kind, cp, s + i, size, out) : put(out, s + i, 1);
        size = size > 0 ? size : 1;
    }
    return ok;
}

/* ---- matches --------------------------------------------------------------------------------- */

/* s[n] is valid UTF-8, `seen` the same as expressions see it (newchars.h). */
static kvass_status replace_in(const kvass_regex *regex, tok_matcher *matcher, const char *s,
                               const char *seen, size_t n, const char *to, size_t n_to,
                               tok_text *out, kvass_error *err)
{
    tok_walk walk = {.s = seen, .n = n};
    size_t done = 0;
    for (bool found = true; found;) {
        kvass_status status = kvass_regex_next(regex, matcher, &walk, &found, err);
        if (status != KVASS_OK) {
            return status;
        }
        size_t end = found ? walk.start : n;
        if (!put(out, s + done, end - done) || (found && !put(out, to, n_to))) {
            return kvass_fail_nomem(err, out->n, "the normalized text");
        }
        done = walk.end;
    }
    return KVASS_OK;
}

kvass_status kvass_rewrite_matches(const kvass_regex *regex, const char *s, size_t n,
                                   const char *to, size_t n_to, tok_text *out, kvass_error *err)
{
    tok_matcher matcher = {0};
    char *seen;
    kvass_status status = kvass_newchars_replace(s, n, &seen, err);
    const char *view = seen ? seen : s;
    for (size_t at = 0, end; status == KVASS_OK && at < n; at = end) {
        end = at + kvass_utf8_valid(s + at, n - at);
        if (end > at) {
            status = replace_in(regex, &matcher, s + at, view + at, end - at, to, n_to, out, err);
        } else if (!put(out, s + at, 1)) {
            status = kvass_fail_nomem(err, out->n, "the normalized text");
        } else {
            end = at + 1;
        }
    }
    free(seen);
    kvass_matcher_close(&matcher);
    return status;
}
