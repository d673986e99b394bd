/* charsmap.c - charsmap.h. A unit of the double array: bits 0-7 and 31 its label, bit 8 whether a
 * key ends below it, bits 10-30 the offset to its children, shifted by 8 when bit 9 is set; or, for
 * the end of a key, bits 0-30 its value: where its string begins.
 */
#include "tokenizer/charsmap.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/base/reader.h"
#include "tokenizer/utf8.h"

#define MARK          "\xe2\x96\x81" /* U+2581 */
#define NO_CHARACTER  "\xef\xbf\xbd" /* U+FFFD */
#define SHORT_CLUSTER 6

/* ---- reading --------------------------------------------------------------------------------- */

kvass_status kvass_charsmap_open(tok_charsmap *map, const unsigned char *blob, size_t n_bytes,
                                 const char *path, kvass_error *err)
{
    *map = (tok_charsmap){0};
    kvass_reader r = {blob, n_bytes, 0};
    uint32_t n_trie = 0;
    bool has_size = kvass_reader_u32(&r, &n_trie);
    if (!has_size || n_trie == 0 || n_trie % 4 != 0 || n_trie >= kvass_reader_left(&r)) {
        return kvass_fail(
            err, KVASS_FORMAT, "CHARSMAP",
            "%s: normalization map of %zu bytes: expected a trie and strings, found a "
            "trie of %u bytes",
            path, n_bytes, (unsigned)n_trie);
    }
    map->n_units = n_trie / 4;
    map->n_strings = kvass_reader_left(&r) - n_trie;
    map->units = malloc(n_trie);
    map->strings = malloc(map->n_strings);
    if (!map->units || !map->strings) {
        kvass_charsmap_close(map);
        return kvass_fail_nomem(err, n_bytes, "a normalization map");
    }
    for (size_t i = 0; i < map->n_units; i++) {
        (void)kvass_reader_u32(&r, &map->units[i]);
    }
    memcpy(map->strings, r.bytes + r.at, map->n_strings);
    return KVASS_OK;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(digits, c) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* false: no base64 with complete groups of four */
static bool decode_base64(const char *text, size_t n, unsigned char *out, size_t *n_out)
{
    size_t n_pad = 0;
    *n_out = 0;
    while (n_pad < 2 && n_pad < n && text[n - 1 - n_pad] == '=') {
        n_pad++;
    }
    if (n % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < n; i += 4) {
        uint32_t group = 0;
        for (size_t j = i; j < i + 4; j++) {
            int digit = j < n - n_pad ? base64_digit(text[j]) : 0;
            if (digit < 0) {
                return false;
            }
            group = group << 6 | (uint32_t)digit;
        }
        for (int shift = 16; shift >= 0; shift -= 8) {
            out[(*n_out)++] = (unsigned char)(group >> shift);
        }
    }
    *n_out -= n_pad;
    return true;
}

kvass_status kvass_charsmap_open_base64(tok_charsmap *map, const char *text, size_t n_bytes,
                                        const char *path, kvass_error *err)
{
    *map = (tok_charsmap){0};
    unsigned char *blob = malloc(n_bytes / 4 * 3 + 1);
    if (!blob) {
        return kvass_fail_nomem(err, n_bytes, "a normalization map");
    }
    size_t n_blob = 0;
    kvass_status status =
        decode_base64(text, n_bytes, blob, &n_blob)
            ? kvass_charsmap_open(map, blob, n_blob, path, err)
            : kvass_fail(err, KVASS_FORMAT, "CHARSMAP",
                         "%s: precompiled_charsmap: expected base64 in groups of four", path);
    free(blob);
    return status;
}

void kvass_charsmap_close(tok_charsmap *map)
{
    free(map->units);
    free(map->strings);
    *map = (tok_charsmap){0};
}

void kvass_rules_close(tok_rules **rules)
{
    if (rules && *rules) {
        kvass_charsmap_close(&(*rules)->map);
        kvass_trie_close(&(*rules)->kept);
        free(*rules);
        *rules = NULL;
    }
}

/* ---- looking up ------------------------------------------------------------------------------ */

static size_t child_offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

/* The shortest or longest key that s[n] begins with: its length, or 0, and what it becomes. */
static size_t find_key(const tok_charsmap *map, const char *s, size_t n, bool shortest,
                       const char **to, size_t *n_to)
{
    size_t length = 0, place = 0;
    size_t at = map->n_units > 0 ? child_offset(map->units[0]) : 0;
    for (size_t i = 0; i < n && map->n_units > 0; i++) {
        unsigned char byte = (unsigned char)s[i];
        at ^= byte;
        if (at >= map->n_units || (map->units[at] & 0x800000ffu) != byte) {
            break;
        }
        uint32_t unit = map->units[at];
        at ^= child_offset(unit);
        if ((unit & 0x100) && at < map->n_units) {
            size_t value = map->units[at] & 0x7fffffffu;
            if (value >= map->n_strings) {
                break;
            }
            place = value;
            length = i + 1;
            if (shortest) {
                break;
            }
        }
    }
    if (length > 0) {
        *to = map->strings + place;
        *n_to = strnlen(*to, map->n_strings - place);
    }
    return length;
}

/* ---- SentencePiece's way --------------------------------------------------------------------- */

/* What the beginning of s[n] becomes; the bytes it takes. */
static size_t next_prefix(const tok_rules *rules, const char *s, size_t n, const char **to,
                          size_t *n_to)
{
    size_t size = kvass_trie_longest(&rules->kept, s, n, NULL);
    if (size == 0) {
        size = find_key(&rules->map, s, n, false, to, n_to);
        if (size > 0) {
            return size;
        }
        size = kvass_utf8_char(s, n, NULL);
    }
    *to = size > 0 ? s : NO_CHARACTER;
    *n_to = size > 0 ? size : sizeof NO_CHARACTER - 1;
    return size > 0 ? size : 1;
}

static bool put_escaped(const tok_rules *rules, const char *s, size_t n, tok_text *out)
{
    bool ok = true;
    for (size_t i = 0, end; ok && i < n; i = end) {
        const char *space = rules->escape ? memchr(s + i, ' ', n - i) : NULL;
        end = space ? (size_t)(space - s) : n;
        ok = end == i || kvass_text_put(out, s + i, end - i);
        if (ok && space) {
            ok = kvass_text_put(out, MARK, sizeof MARK - 1);
            end++;
        }
    }
    return ok;
}

static void drop_spaces_at_end(const tok_rules *rules, tok_text *out, size_t begin)
{
    const char *space = rules->escape ? MARK : " ";
    size_t n = strlen(space);
    while (out->n >= begin + n && memcmp(out->data + out->n - n, space, n) == 0) {
        out->n -= n;
    }
}

bool kvass_rules_run(const tok_rules *rules, const char *s, size_t n, tok_text *out)
{
    const char *to;
    size_t at = 0, begin = out->n, n_to = 0, size;
    while (rules->remove_extra && at < n) {
        size = next_prefix(rules, s + at, n - at, &to, &n_to);
        if (n_to != 1 || to[0] != ' ') {
            break;
        }
        at += size;
    }
    if (at == n) {
        return true;
    }
    bool ok = !rules->prefix_space || put_escaped(rules, " ", 1, out);
    bool after_space = rules->remove_extra;
    for (; ok && at < n; at += size) {
        size = next_prefix(rules, s + at, n - at, &to, &n_to);
        while (after_space && n_to > 0 && to[0] == ' ') {
            to++;
            n_to--;
        }
        if (n_to > 0) {
            ok = put_escaped(rules, to, n_to, out);
            after_space = rules->remove_extra && to[n_to - 1] == ' ';
        }
    }
    if (ok && rules->remove_extra) {
        drop_spaces_at_end(rules, out, begin);
    }
    return ok;
}

/* ---- the other library's way ----------------------------------------------------------------- */

/* Bytes of the grapheme cluster that s[n] begins with. */
static size_t cluster_size(const char *s, size_t n)
{
    uint32_t before = 0, cp = 0;
    utf8proc_int32_t state = 0;
    size_t end = kvass_utf8_char(s, n, &before), size;
    while (
        (size = kvass_utf8_char(s + end, n - end, &cp)) > 0 &&
        !utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)cp, &state)) {
        end += size;
        before = cp;
    }
    return end;
}

/* One character as the map has it. */
static bool put_char(const tok_charsmap *map, const char *s, size_t n, tok_text *out)
{
    const char *to = s;
    size_t n_to = n;
    (void)find_key(map, s, n, true, &to, &n_to);
    return n_to == 0 || kvass_text_put(out, to, n_to);
}

bool kvass_charsmap_run(const tok_charsmap *map, const char *s, size_t n, tok_text *out)
{
    bool ok = true;
    for (size_t at = 0, size, end; ok && at < n; at = end) {
        size = kvass_utf8_char(s + at, n - at, NULL);
        end = at + (size > 0 ? cluster_size(s + at, n - at) : 1);
        const char *to;
        size_t n_to;
        if (end - at < SHORT_CLUSTER && end - at > size &&
            find_key(map, s + at, end - at, true, &to, &n_to) > 0) {
            ok = n_to == 0 || kvass_text_put(out, to, n_to);
            continue;
        }
        for (size_t i = at; ok && i < end; i += size) {
            size = kvass_utf8_char(s + i, end - i, NULL);
            size = size > 0 ? size : 1;
            ok = put_char(map, s + i, size, out);
        }
    }
    return ok;
}
