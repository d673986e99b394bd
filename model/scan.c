/* scan.c - the cursor over JSON text; see scan.h.
 * Called by safetensors.c and index.c. No recursion, no allocation.
 */
#include "model/scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

kvass_status kvass_scan_fail(const kvass_scan *s, size_t at, const char *fmt, ...)
{
    char text[384];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return kvass_fail(s->err, KVASS_FORMAT, s->rule, "%s: byte %zu: %s", s->path, s->base + at,
                      text);
}

/* The next character after white space, -1 at the end; not consumed. */
static int peek(kvass_scan *s)
{
    while (s->at < s->size && s->text[s->at] != '\0' && strchr(" \t\r\n", s->text[s->at])) {
        s->at++;
    }
    return s->at < s->size ? (unsigned char)s->text[s->at] : -1;
}

/* "expected X, found Y" about the next character */
static kvass_status unexpected(kvass_scan *s, const char *expected)
{
    int c = peek(s);
    if (c < 0) {
        return kvass_scan_fail(s, s->at, "expected %s, found the end", expected);
    }
    return c > ' ' && c < 0x7f
               ? kvass_scan_fail(s, s->at, "expected %s, found '%c'", expected, c)
               : kvass_scan_fail(s, s->at, "expected %s, found byte 0x%02x", expected, (unsigned)c);
}

static kvass_status take(kvass_scan *s, char c)
{
    char expected[] = {'\'', c, '\'', '\0'};
    if (peek(s) != c) {
        return unexpected(s, expected);
    }
    s->at++;
    return KVASS_OK;
}

kvass_status kvass_scan_open(kvass_scan *s, char bracket, bool *more)
{
    kvass_status status = take(s, bracket);
    if (status != KVASS_OK) {
        return status;
    }
    *more = peek(s) != (bracket == '{' ? '}' : ']');
    s->at += *more ? 0 : 1;
    return KVASS_OK;
}

kvass_status kvass_scan_next(kvass_scan *s, char closing, bool *more)
{
    int c = peek(s);
    if (c != ',' && c != closing) {
        return unexpected(s, closing == '}' ? "',' or '}'" : "',' or ']'");
    }
    s->at++;
    *more = c == ',';
    return KVASS_OK;
}

/* Length of the well-formed UTF-8 sequence at p[n], 0 when it is none (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (length == 0 || length > n || p[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : length;
}

static bool take_hex4(kvass_scan *s, uint32_t *out)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    uint32_t value = 0;
    if (s->size - s->at < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = s->text[s->at + (size_t)i];
        const char *d = c == '\0' ? NULL : strchr(digits, c);
        if (!d) {
            return false;
        }
        uint32_t digit = (uint32_t)(d - digits);
        value = value << 4 | (digit < 16 ? digit : digit - 6);
    }
    s->at += 4;
    *out = value;
    return true;
}

/* The code point after \u, of one or two such escapes; false for a lone surrogate and for NUL. */
static bool take_unicode(kvass_scan *s, uint32_t *out)
{
    uint32_t high, low;
    if (!take_hex4(s, &high) || high == 0 || (high >= 0xdc00 && high <= 0xdfff)) {
        return false;
    }
    *out = high;
    if (high < 0xd800 || high > 0xdbff) {
        return true;
    }
    if (s->size - s->at < 2 || memcmp(s->text + s->at, "\\u", 2) != 0) {
        return false;
    }
    s->at += 2;
    if (!take_hex4(s, &low) || low < 0xdc00 || low > 0xdfff) {
        return false;
    }
    *out = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static size_t put_utf8(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* One escape; s->at stands after the backslash. What it decodes to is never longer than itself. */
static bool take_escape(kvass_scan *s, char **to)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (s->at >= s->size || s->text[s->at] == '\0') {
        return false;
    }
    char c = s->text[s->at++];
    if (c == 'u') {
        uint32_t code;
        if (!take_unicode(s, &code)) {
            return false;
        }
        *to += put_utf8(code, *to);
        return true;
    }
    const char *letter = strchr(letters, c);
    if (!letter) {
        return false;
    }
    *(*to)++ = values[letter - letters];
    return true;
}

kvass_status kvass_scan_string(kvass_scan *s, char **out, size_t *n_bytes)
{
    if (peek(s) != '"') {
        return unexpected(s, "a string");
    }
    s->at++;
    char *start = s->text + s->at, *to = start;
    while (s->at < s->size && s->text[s->at] != '"') {
        size_t here = s->at;
        const unsigned char *p = (const unsigned char *)s->text + s->at;
        if (*p == '\\') {
            s->at++;
            if (!take_escape(s, &to)) {
                return kvass_scan_fail(s, here, "expected a valid escape in a string");
            }
            continue;
        }
        size_t length = *p < 0x20 ? 0 : utf8_length(p, s->size - s->at);
        if (length == 0) {
            return kvass_scan_fail(s, here, "expected UTF-8 in a string, found byte 0x%02x",
                                   (unsigned)*p);
        }
        memmove(to, p, length);
        to += length;
        s->at += length;
    }
    if (s->at >= s->size) {
        return kvass_scan_fail(s, s->at, "expected the end of a string, found the end of the text");
    }
    s->at++;
    *to = '\0'; /* at the latest on the closing quote */
    *out = start;
    *n_bytes = (size_t)(to - start);
    return KVASS_OK;
}

kvass_status kvass_scan_key(kvass_scan *s, char **out, size_t *n_bytes)
{
    kvass_status status = kvass_scan_string(s, out, n_bytes);
    return status == KVASS_OK ? take(s, ':') : status;
}

static bool is_digit(const kvass_scan *s, size_t at)
{
    return at < s->size && s->text[at] >= '0' && s->text[at] <= '9';
}

kvass_status kvass_scan_int(kvass_scan *s, int64_t *out)
{
    (void)peek(s);
    size_t start = s->at;
    int64_t value = 0;
    if (!is_digit(s, s->at)) {
        return unexpected(s, "a whole number");
    }
    for (; is_digit(s, s->at); s->at++) {
        int digit = s->text[s->at] - '0';
        if (value > (INT64_MAX - digit) / 10) {
            return kvass_scan_fail(s, start, "expected a number below 2^63");
        }
        value = value * 10 + digit;
    }
    bool leading_zero = s->text[start] == '0' && s->at - start > 1;
    if (leading_zero || (s->at < s->size && memchr(".eE", s->text[s->at], 3))) {
        return kvass_scan_fail(s, start, "expected a whole number in plain digits");
    }
    *out = value;
    return KVASS_OK;
}

/* A number in JSON's grammar, of which nothing is kept. */
static bool skip_number(kvass_scan *s)
{
    s->at += s->text[s->at] == '-' ? 1 : 0;
    size_t digits = s->at;
    while (is_digit(s, s->at)) {
        s->at++;
    }
    if (s->at == digits || (s->text[digits] == '0' && s->at - digits > 1)) {
        return false;
    }
    if (s->at < s->size && s->text[s->at] == '.') {
        s->at++;
        if (!is_digit(s, s->at)) {
            return false;
        }
        while (is_digit(s, s->at)) {
            s->at++;
        }
    }
    if (s->at < s->size && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        s->at++;
        s->at += s->at < s->size && memchr("+-", s->text[s->at], 2) ? 1 : 0;
        if (!is_digit(s, s->at)) {
            return false;
        }
        while (is_digit(s, s->at)) {
            s->at++;
        }
    }
    return true;
}

/* A string, number, true, false or null. */
static kvass_status skip_scalar(kvass_scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    char *text;
    size_t n;
    int c = peek(s);
    if (c == '"') {
        return kvass_scan_string(s, &text, &n);
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        size_t start = s->at;
        return skip_number(s) ? KVASS_OK : kvass_scan_fail(s, start, "expected a number");
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        n = strlen(words[i]);
        if (s->size - s->at >= n && memcmp(s->text + s->at, words[i], n) == 0) {
            s->at += n;
            return KVASS_OK;
        }
    }
    return unexpected(s, "a value");
}

kvass_status kvass_scan_skip(kvass_scan *s)
{
    char closing[MAX_DEPTH], *key;
    size_t n, depth = 0;
    bool more;
    kvass_status status;
    do {
        int c = peek(s);
        if (c == '{' || c == '[') {
            if (depth == MAX_DEPTH) {
                return kvass_scan_fail(s, s->at, "expected at most %d levels of nesting",
                                       MAX_DEPTH);
            }
            closing[depth++] = c == '{' ? '}' : ']';
            status = kvass_scan_open(s, (char)c, &more);
        } else {
            status = skip_scalar(s);
            more = false;
            if (status == KVASS_OK && depth > 0) {
                status = kvass_scan_next(s, closing[depth - 1], &more);
            }
        }
        /* a bracket that just closed was itself an item of the one around it */
        while (status == KVASS_OK && depth > 0 && !more) {
            depth--;
            if (depth > 0) {
                status = kvass_scan_next(s, closing[depth - 1], &more);
            }
        }
        if (status == KVASS_OK && depth > 0 && closing[depth - 1] == '}') {
            status = kvass_scan_key(s, &key, &n);
        }
    } while (status == KVASS_OK && depth > 0);
    return status;
}

kvass_status kvass_scan_end(kvass_scan *s)
{
    return peek(s) < 0 ? KVASS_OK : unexpected(s, "nothing but white space");
}
