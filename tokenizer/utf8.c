/* utf8.c - utf8.h, after Table 3-7 of the Unicode Standard (well-formed byte sequences). */
#include "tokenizer/utf8.h"

#include <string.h>

/* Bytes a character takes that begins with `lead`, and the range of its second byte; 0: no lead */
static size_t lead_size(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    if (lead < 0xe0) {
        return 2;
    }
    if (lead < 0xf0) {
        *low = lead == 0xe0 ? 0xa0 : 0x80;
        *high = lead == 0xed ? 0x9f : 0xbf;
        return 3;
    }
    *low = lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xf4 ? 0x8f : 0xbf;
    return 4;
}

/* How many of s[n] (n > 0) fit the character that s[0] begins; *size is what it needs, or 0 */
static size_t fitting(const char *s, size_t n, size_t *size)
{
    const unsigned char *b = (const unsigned char *)s;
    unsigned char low, high;
    *size = lead_size(b[0], &low, &high);
    size_t i = 1;
    while (i < *size && i < n && b[i] >= low && b[i] <= high) {
        low = 0x80;
        high = 0xbf;
        i++;
    }
    return i;
}

size_t kvass_utf8_char(const char *s, size_t n, uint32_t *cp)
{
    size_t size;
    if (n == 0 || fitting(s, n, &size) < size || size == 0) {
        return 0;
    }
    if (cp) {
        const unsigned char *b = (const unsigned char *)s;
        *cp = size == 1 ? b[0] : b[0] & (0x7fu >> size);
        for (size_t i = 1; i < size; i++) {
            *cp = *cp << 6 | (b[i] & 0x3fu);
        }
    }
    return size;
}

size_t kvass_utf8_char_before(const char *s, size_t n, uint32_t *cp)
{
    for (size_t back = 1; back <= 4 && back <= n; back++) {
        if (((unsigned char)s[n - back] & 0xc0) != 0x80) {
            return kvass_utf8_char(s + n - back, back, cp) == back ? back : 0;
        }
    }
    return 0;
}

size_t kvass_utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= sizeof eight) { /* most text is ASCII */
            memcpy(&eight, s + i, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += sizeof eight;
                continue;
            }
        }
        size_t size = kvass_utf8_char(s + i, n - i, NULL);
        if (size == 0) {
            break;
        }
        i += size;
    }
    return i;
}

size_t kvass_utf8_partial(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        if (((unsigned char)s[n - back] & 0xc0) != 0x80) {
            size_t size;
            return fitting(s + n - back, back, &size) == back && back < size ? back : 0;
        }
    }
    return 0;
}

size_t kvass_utf8_put(uint32_t cp, char *out)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t size = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; cp >>= 6) {
        out[i] = (char)(0x80 | (cp & 0x3f));
    }
    out[0] = (char)((0xf00u >> size & 0xffu) | cp);
    return size;
}

bool kvass_utf8_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0d) || cp == 0x20 || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}
