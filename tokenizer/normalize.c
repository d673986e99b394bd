/* normalize.c - normalize.h on utf8proc's tables.
 * Only stretches that may change are taken apart: between two characters below the form's first
 * changing one nothing composes or reorders. Each stretch is decomposed, its marks are sorted by
 * combining class (stably, by counting: utf8proc's own sort is quadratic in the number of marks),
 * and composed again.
 */
#include "tokenizer/normalize.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/base/checked.h"
#include "tokenizer/newchars.h"
#include "tokenizer/utf8.h"

#define MAX_RESULT_BYTES ((size_t)INT32_MAX)

/* ---- growing buffers ------------------------------------------------------------------------- */

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

typedef struct codepoints {
    utf8proc_int32_t *data, *spare; /* both [cap] */
    size_t n, cap;
} codepoints;

static bool reserve(codepoints *c, size_t n)
{
    if (n <= c->cap) {
        return true;
    }
    size_t cap = n + n / 2 + 256;
    utf8proc_int32_t *data = realloc(c->data, cap * sizeof *data);
    c->data = data ? data : c->data;
    utf8proc_int32_t *spare = data ? realloc(c->spare, cap * sizeof *spare) : NULL;
    if (!spare) {
        return false;
    }
    c->spare = spare;
    c->cap = cap;
    return true;
}

/* ---- normal forms ---------------------------------------------------------------------------- */

typedef struct form {
    utf8proc_option_t options;
    uint32_t first_changing; /* no character below it changes, composes with what is before it, or
                              * is a mark */
} form;

static const form forms[] = {
    [TOK_NFC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0x300},
    [TOK_NFD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0x80},
    [TOK_NFKC] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0x80},
    [TOK_NFKD] = {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0x80},
};

static int combining_class(utf8proc_int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

/* Sort data[n], all marks, by class, keeping the order within each. */
static void sort_marks(codepoints *c, size_t begin, size_t end)
{
    size_t places[257] = {0};
    for (size_t i = begin; i < end; i++) {
        places[combining_class(c->data[i]) + 1]++;
    }
    for (int class = 0; class < 256; class ++) {
        places[class + 1] += places[class];
    }
    for (size_t i = begin; i < end; i++) {
        c->spare[begin + places[combining_class(c->data[i])]++] = c->data[i];
    }
    memcpy(c->data + begin, c->spare + begin, (end - begin) * sizeof *c->data);
}

static void sort_all_marks(codepoints *c)
{
    for (size_t i = 0, end; i < c->n; i = end) {
        end = i + 1;
        if (combining_class(c->data[i]) == 0) {
            continue;
        }
        while (end < c->n && combining_class(c->data[end]) != 0) {
            end++;
        }
        if (end - i > 1) {
            sort_marks(c, i, end);
        }
    }
}

/* Append the normal form of s[n], valid UTF-8, to out. */
static bool put_form(tok_text *out, codepoints *c, const form *f, const char *s, size_t n)
{
    c->n = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        i += kvass_utf8_char(s + i, n - i, &cp);
        if (!reserve(c, c->n + 32)) { /* the longest decomposition has 18 */
            return false;
        }
        int unused = 0;
        c->n += (size_t)utf8proc_decompose_char((utf8proc_int32_t)cp, c->data + c->n, 32,
                                                f->options, &unused);
    }
    sort_all_marks(c);
    if (f->options & UTF8PROC_COMPOSE) {
        utf8proc_ssize_t n_composed =
            utf8proc_normalize_utf32(c->data, (utf8proc_ssize_t)c->n, f->options);
        c->n = (size_t)n_composed;
    }
    for (size_t i = 0; i < c->n; i++) {
        char bytes[4];
        if (!kvass_text_put(out, bytes, kvass_utf8_put((uint32_t)c->data[i], bytes))) {
            return false;
        }
    }
    return true;
}

/* Where the stretch that begins at `at` ends. It holds either no character that may change, or one
 * that may not, as a base for marks, and then only such that may (*changing). */
static size_t stretch(const form *f, const char *s, size_t n, size_t at, bool *changing)
{
    size_t i = at, base = at;
    *changing = false;
    while (i < n) {
        uint32_t cp = 0;
        size_t size = kvass_utf8_char(s + i, n - i, &cp);
        if (size == 0) {
            break;
        }
        bool alone = cp >= f->first_changing && kvass_newchars_left_alone(cp);
        if (cp >= f->first_changing && !alone) {
            if (!*changing && base > at) {
                return base;
            }
            *changing = true;
        } else if (*changing) {
            return i;
        }
        base = alone ? i + size : i; /* nothing joins a character that is left alone */
        i += size;
    }
    return i;
}

static bool normalize(const form *f, const char *s, size_t n, tok_text *out)
{
    codepoints c = {0};
    bool ok = true;
    for (size_t i = 0, end; ok && i < n; i = end) {
        bool changing;
        end = stretch(f, s, n, i, &changing);
        if (end == i) {
            end = i + 1; /* a byte that is no UTF-8 */
        }
        ok = changing ? put_form(out, &c, f, s + i, end - i) : kvass_text_put(out, s + i, end - i);
    }
    free(c.data);
    free(c.spare);
    return ok;
}

static bool is_inert(const form *f, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)s[i];
        if (byte >= (f->first_changing == 0x300 ? 0xcc : 0x80)) { /* U+0300 begins with 0xcc */
            return false;
        }
    }
    return true;
}

/* ---- replacements ---------------------------------------------------------------------------- */

static bool replace(const tok_norm_step *step, const char *s, size_t n, tok_text *out)
{
    size_t i = 0;
    while (i < n) {
        const char *found = memmem(s + i, n - i, step->from, step->n_from);
        size_t end = found ? (size_t)(found - s) : n;
        if (!kvass_text_put(out, s + i, end - i) ||
            (found && !kvass_text_put(out, step->to, step->n_to))) {
            return false;
        }
        i = end + step->n_from;
    }
    return true;
}

/* ---- the steps together ---------------------------------------------------------------------- */

static bool run_step(const tok_norm_step *step, const char *s, size_t n, tok_text *out)
{
    switch (step->kind) {
    case TOK_PREPEND:
        return kvass_text_put(out, step->to, step->n_to) && kvass_text_put(out, s, n);
    case TOK_REPLACE:
        return replace(step, s, n, out);
    case TOK_NFC:
    case TOK_NFD:
    case TOK_NFKC:
    case TOK_NFKD:
        break;
    }
    return normalize(&forms[step->kind], s, n, out);
}

kvass_status kvass_normalizer_run(const tok_normalizer *norm, const char *text, size_t n,
                                  const char **out, size_t *n_out, char **owned, kvass_error *err)
{
    *owned = NULL;
    for (int32_t i = 0; i < norm->n_steps && n > 0; i++) {
        const tok_norm_step *step = &norm->steps[i];
        if (step->kind <= TOK_NFKD && is_inert(&forms[step->kind], text, n)) {
            continue;
        }
        tok_text result = {0};
        bool ok = run_step(step, text, n, &result);
        free(*owned);
        *owned = result.data;
        if (!ok) {
            return kvass_fail_nomem(err, result.n, "the normalized text");
        }
        text = result.data;
        n = result.n;
    }
    *out = text;
    *n_out = n;
    return KVASS_OK;
}

static char *copy(const char *bytes, size_t n)
{
    char *s = malloc(n + 1);
    if (s && n > 0) {
        memcpy(s, bytes, n);
    }
    return s;
}

kvass_status kvass_normalizer_add(tok_normalizer *norm, tok_norm_kind kind, const char *from,
                                  size_t n_from, const char *to, size_t n_to, kvass_error *err)
{
    if (norm->n_steps == TOK_MAX_STEPS) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "NORMALIZER", "more than %d normalizers",
                          TOK_MAX_STEPS);
    }
    tok_norm_step *step = &norm->steps[norm->n_steps++];
    *step = (tok_norm_step){kind, copy(from, n_from), copy(to, n_to), n_from, n_to};
    return step->from && step->to ? KVASS_OK : kvass_fail_nomem(err, n_from + n_to, "a normalizer");
}

void kvass_normalizer_close(tok_normalizer *norm)
{
    for (int32_t i = 0; i < norm->n_steps; i++) {
        free(norm->steps[i].from);
        free(norm->steps[i].to);
    }
    norm->n_steps = 0;
}
