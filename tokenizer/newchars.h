/* newchars.h - characters newer than PCRE2's Unicode tables.
 * The tokenizers we must agree with know Unicode 16, Debian's PCRE2 knows 14: to it a newer letter is
 * no letter, and text would be split elsewhere. So text is split by a copy of itself in which an
 * older character of the same category and the same length stands in for each newer one.
 */
#ifndef KVASS_TOKENIZER_NEWCHARS_H
#define KVASS_TOKENIZER_NEWCHARS_H

#include "engine/base/error.h"

/* *copy: text[n] with stand-ins, free() it; NULL when text holds no newer character. NOMEM. */
kvass_status kvass_newchars_replace(const char *text, size_t n, char **copy, kvass_error *err);

#endif
