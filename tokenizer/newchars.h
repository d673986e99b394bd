/* newchars.h - characters that the libraries' Unicode tables know otherwise.
 * The tokenizers we must agree with split by Unicode 16, Debian's PCRE2 knows 14: to it a newer
 * letter is no letter, and text would be split elsewhere. So text is split by a copy of itself in
 * which an older character of the same category and length stands in for each newer one.
 * But they normalize by Unicode 9, utf8proc by 15: newer marks and compositions are left alone.
 */
#ifndef KVASS_TOKENIZER_NEWCHARS_H
#define KVASS_TOKENIZER_NEWCHARS_H

#include "engine/base/error.h"

/* *copy: text[n] with stand-ins, free() it; NULL when text holds no newer character. NOMEM. */
kvass_status kvass_newchars_replace(const char *text, size_t n, char **copy, kvass_error *err);

/* Whether normal forms leave cp, and what is beside it, as it is, though utf8proc would not. */
bool kvass_newchars_left_alone(uint32_t cp);

/* Whether the libraries' table of marks (StripAccents) has cp otherwise than utf8proc's category
 * says; the same for punctuation. */
bool kvass_newchars_other_mark(uint32_t cp);
bool kvass_newchars_other_punct(uint32_t cp);

#endif
