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

#include "tokenizer/newchars.h"
#include "tokenizer/rewrite.h"
#include "tokenizer/utf8.h"

/* ---- growing buffers ------------------------------------------------------------------------- */

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

/* ---- the steps together ---------------------------------------------------------------------- */

static kvass_status run_step(const tok_norm_step *step, const char *s, size_t n, tok_text *out,
                             kvass_error *err)
{
    bool ok = false;
    switch (step->kind) {
    case TOK_PREPEND:
        ok = kvass_text_put(out, step->to, step->n_to) && kvass_text_put(out, s, n);
        break;
    case TOK_REPLACE:
        ok = kvass_rewrite_replace(s, n, step->from, step->n_from, step->to, step->n_to, out);
        break;
    case TOK_REPLACE_REGEX:
        return kvass_rewrite_matches(step->regex, s, n, step->to, step->n_to, out, err);
    case TOK_CHARSMAP:
        ok = kvass_charsmap_run(&step->rules->map, s, n, out);
        break;
    case TOK_SENTENCEPIECE:
        ok = kvass_rules_run(step->rules, s, n, out);
        break;
    case TOK_LOWERCASE:
    case TOK_STRIP_LEFT:
    case TOK_STRIP_RIGHT:
    case TOK_STRIP_ACCENTS:
    case TOK_NMT:
        ok = kvass_rewrite_chars(step->kind, s, n, out);
        break;
    case TOK_NFC:
    case TOK_NFD:
    case TOK_NFKC:
    case TOK_NFKD:
        ok = normalize(&forms[step->kind], s, n, out);
    }
    return ok ? KVASS_OK : kvass_fail_nomem(err, out->n, "the normalized text");
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
        kvass_status status = run_step(step, text, n, &result, err);
        free(*owned);
        *owned = result.data;
        if (status != KVASS_OK) {
            return status;
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

static void close_step(tok_norm_step *step)
{
    free(step->from);
    free(step->to);
    kvass_regex_close(&step->regex);
    kvass_rules_close(&step->rules);
}

/* Append a step, which is closed on failure. */
static kvass_status add_step(tok_normalizer *norm, tok_norm_step step, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    if (norm->n_steps == TOK_MAX_STEPS) {
        status = kvass_fail(err, KVASS_UNSUPPORTED, "NORMALIZER", "more than %d normalizers",
                            TOK_MAX_STEPS);
    } else if (!step.from || !step.to) {
        status = kvass_fail_nomem(err, step.n_from + step.n_to, "a normalizer");
    } else {
        norm->steps[norm->n_steps++] = step;
        return KVASS_OK;
    }
    close_step(&step);
    return status;
}

kvass_status kvass_normalizer_add(tok_normalizer *norm, tok_norm_kind kind, const char *from,
                                  size_t n_from, const char *to, size_t n_to, kvass_error *err)
{
    tok_norm_step step = {kind, copy(from, n_from), copy(to, n_to), n_from, n_to, NULL, NULL};
    return add_step(norm, step, err);
}

kvass_status kvass_normalizer_add_regex(tok_normalizer *norm, kvass_regex *regex, const char *to,
                                        size_t n_to, kvass_error *err)
{
    tok_norm_step step = {TOK_REPLACE_REGEX, copy("", 0), copy(to, n_to), 0, n_to, regex, NULL};
    return add_step(norm, step, err);
}

kvass_status kvass_normalizer_add_rules(tok_normalizer *norm, tok_norm_kind kind, tok_rules *rules,
                                        kvass_error *err)
{
    tok_norm_step step = {kind, copy("", 0), copy("", 0), 0, 0, NULL, rules};
    return add_step(norm, step, err);
}

void kvass_normalizer_close(tok_normalizer *norm)
{
    for (int32_t i = 0; i < norm->n_steps; i++) {
        close_step(&norm->steps[i]);
    }
    norm->n_steps = 0;
}
