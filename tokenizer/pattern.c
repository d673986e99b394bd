/* pattern.c - pattern.h: one pass over the pattern, knowing only whether it is inside a [class].
 * Escapes go through a table; everything that begins with "(?" through a list of beginnings; what
 * is on neither is refused.
 */
#include "tokenizer/pattern.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Escapes with another spelling in PCRE2, and those that are the same (to == NULL). A class escape
 * is spelled so that it can stand inside [] as well; `to_outside` is for outside. */
static const struct {
    char name;
    const char *inside, *outside; /* NULL: not allowed there; "": as it is */
} escapes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"}, /* PCRE2's \s takes U+180E as well */
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'w', "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}",
     "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]"},
    {'W', NULL, "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]"},
    {'v', "\\x0b", "\\x0b"},
    {'d', "", ""},
    {'D', "", ""},
    {'n', "", ""},
    {'r', "", ""},
    {'t', "", ""},
    {'f', "", ""},
    {'a', "", ""},
    {'e', "", ""},
    {'A', NULL, ""},
    {'z', NULL, ""},
    {'Z', NULL, ""},
};

/* what may follow "(" where "?" or "*" does */
static const char *const groups[] = {
    "?:", "?i:", "?-i:", "?i)", "?-i)", "?=", "?!", "?<=", "?<!", "?>", "?#"};

#define GROWTH 48 /* no two bytes become more than 2 * GROWTH */

typedef struct speller {
    const char *in;
    size_t n, at;
    char *out;
    size_t n_out;
    size_t fault, n_fault; /* n_fault > 0: refused */
} speller;

static void put(speller *s, const char *text, size_t n)
{
    memcpy(s->out + s->n_out, text, n);
    s->n_out += n;
}

/* Copy n bytes of the pattern as they are. */
static void keep(speller *s, size_t n)
{
    put(s, s->in + s->at, n);
    s->at += n;
}

static void refuse(speller *s, size_t n)
{
    s->fault = s->at;
    s->n_fault = n < s->n - s->at ? n : s->n - s->at;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* \p{Name}, \P{Name}, \p{^Name}: names of scripts mean the script alone, as in Oniguruma; PCRE2
 * would add the characters that share it. */
static void property(speller *s)
{
    const char *p = s->in + s->at;
    size_t left = s->n - s->at, n = 3;
    while (n < left && p[n] != '}' && (is_word(p[n]) || strchr("_^&", p[n]))) {
        n++;
    }
    if (left < 4 || p[2] != '{' || n == left || p[n] != '}') {
        refuse(s, 3);
        return;
    }
    static const char *const scripts[] = {"Han",   "Hiragana", "Katakana", "Hangul", "Latin",
                                          "Greek", "Cyrillic", "Arabic",   "Hebrew", "Thai"};
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        size_t length = strlen(scripts[i]);
        bool negated = p[3] == '^';
        if (n - 3 - negated == length && memcmp(p + 3 + negated, scripts[i], length) == 0) {
            put(s, p, 3u + negated);
            put(s, "sc:", 3);
            s->at += 3u + negated;
            keep(s, length + 1);
            return;
        }
    }
    keep(s, n + 1);
}

/* \xHH, \x{H...} and \uHHHH */
static void number(speller *s)
{
    const char *p = s->in + s->at;
    size_t left = s->n - s->at, n = 2;
    if (p[1] == 'u') {
        if (left >= 6 && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) && is_hex(p[5])) {
            put(s, "\\x{", 3);
            put(s, p + 2, 4);
            put(s, "}", 1);
            s->at += 6;
            return;
        }
    } else if (left > 2 && p[2] == '{') {
        for (n = 3; n < left && is_hex(p[n]); n++) {
        }
        if (n > 3 && n < left && p[n] == '}') {
            keep(s, n + 1);
            return;
        }
    } else if (left >= 4 && is_hex(p[2]) && is_hex(p[3])) {
        keep(s, 4);
        return;
    }
    refuse(s, n + 1);
}

static void escape(speller *s, bool in_class)
{
    if (s->n - s->at < 2) {
        refuse(s, 1);
        return;
    }
    char c = s->in[s->at + 1];
    if (c == 'p' || c == 'P') {
        property(s);
        return;
    }
    if (c == 'x' || c == 'u') {
        number(s);
        return;
    }
    if ((unsigned char)c >= 0x80 || !is_word(c)) {
        keep(s, 2); /* an escaped sign stands for itself */
        return;
    }
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        if (escapes[i].name == c) {
            const char *to = in_class ? escapes[i].inside : escapes[i].outside;
            if (!to) {
                break;
            }
            if (*to) {
                put(s, to, strlen(to));
                s->at += 2;
            } else {
                keep(s, 2);
            }
            return;
        }
    }
    refuse(s, 2);
}

/* From "[" to its "]". */
static void char_class(speller *s)
{
    keep(s, 1);
    if (s->at < s->n && s->in[s->at] == '^') {
        keep(s, 1);
    }
    if (s->at < s->n && s->in[s->at] == ']') {
        refuse(s, 1); /* the two disagree on what an empty class is */
    }
    while (s->at < s->n && s->n_fault == 0) {
        char c = s->in[s->at];
        if (c == ']') {
            keep(s, 1);
            return;
        }
        if (c == '\\') {
            escape(s, true);
        } else if (c == '[' || (c == '&' && s->at + 1 < s->n && s->in[s->at + 1] == '&')) {
            refuse(s, 2); /* nested classes and intersections */
        } else {
            keep(s, 1);
        }
    }
    if (s->n_fault == 0) {
        s->at = s->n - 1;
        refuse(s, 1);
    }
}

static void group(speller *s)
{
    const char *p = s->in + s->at + 1;
    size_t left = s->n - s->at - 1;
    if (left == 0 || (p[0] != '?' && p[0] != '*')) {
        keep(s, 1);
        return;
    }
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        size_t n = strlen(groups[i]);
        if (left >= n && memcmp(p, groups[i], n) == 0) {
            keep(s, 1 + n);
            return;
        }
    }
    refuse(s, 4);
}

/* {n}, {n,} and {n,m}; a "+" after it is possessive in PCRE2 alone, and {,n} a number in Oniguruma
 * alone. */
static void braces(speller *s)
{
    const char *p = s->in + s->at;
    size_t left = s->n - s->at, n = 1;
    while (n < left && ((p[n] >= '0' && p[n] <= '9') || (p[n] == ',' && n > 1))) {
        n++;
    }
    if (n == 1 || n == left || p[n] != '}' || (n + 1 < left && p[n + 1] == '+')) {
        refuse(s, n + 2);
        return;
    }
    keep(s, n + 1);
}

char *kvass_pattern_respell(const char *pattern, size_t n_bytes, size_t *n_out, const char **fault,
                            size_t *n_fault)
{
    *fault = NULL;
    speller s = {.in = pattern, .n = n_bytes, .out = malloc(n_bytes * GROWTH + 1)};
    if (!s.out) {
        return NULL;
    }
    while (s.at < s.n && s.n_fault == 0) {
        switch (pattern[s.at]) {
        case '\\':
            escape(&s, false);
            break;
        case '[':
            char_class(&s);
            break;
        case '(':
            group(&s);
            break;
        case '{':
            braces(&s);
            break;
        default:
            keep(&s, 1);
        }
    }
    if (s.n_fault > 0) {
        *fault = pattern + s.fault;
        *n_fault = s.n_fault;
        free(s.out);
        return NULL;
    }
    *n_out = s.n_out;
    return s.out;
}
