/* utf8.h - telling valid UTF-8 from other bytes.
 * Used wherever text is cut: a cut falls between characters, and bytes that are no character are
 * kept apart instead of being repaired.
 */
#ifndef KVASS_TOKENIZER_UTF8_H
#define KVASS_TOKENIZER_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that begins at s[n], 1..4, and *cp (may be NULL); 0 when there is none:
 * n is 0, or the bytes are cut short, overlong, a surrogate or beyond U+10FFFF. */
size_t kvass_utf8_char(const char *s, size_t n, uint32_t *cp);

/* Bytes of the character that ends at s[n], and *cp; 0 when there is none. */
size_t kvass_utf8_char_before(const char *s, size_t n, uint32_t *cp);

/* How many bytes at the beginning of s[n] are valid characters. */
size_t kvass_utf8_valid(const char *s, size_t n);

/* How many bytes at the end of s[n] begin a character that more bytes could complete: 0..3. */
size_t kvass_utf8_partial(const char *s, size_t n);

/* Write cp to out[4] and return the number of bytes. cp is a character: no surrogate, in range. */
size_t kvass_utf8_put(uint32_t cp, char *out);

/* Unicode's White_Space */
bool kvass_utf8_is_space(uint32_t cp);

#endif
