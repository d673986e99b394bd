/* pipeline.h - the stages that tokenizer.json describes around its model: normalizer,
 * pre-tokenizer, decoder and post-processor. Each takes the value of its key (absent and null mean
 * none). What is not known is refused by name: wrong tokens are worse than no tokens.
 */
#ifndef KVASS_TOKENIZER_PIPELINE_H
#define KVASS_TOKENIZER_PIPELINE_H

#include "tokenizer/tokenizer.h"

/* How a vocabulary's spelling becomes text. */
typedef struct tok_decoding {
    bool byte_level;       /* the printable alphabet of bytes */
    bool byte_fallback;    /* "<0x0A>" is a byte */
    bool strip_space;      /* one space at the beginning of a text goes away */
    bool strip_spaces;     /* all that the first token has go away */
    bool join_space;       /* there is no decoder: tokens are parted by spaces */
    const char *from, *to; /* a replacement, borrowed from the document; NULL: none */
    size_t n_from, n_to;
} tok_decoding;

/* FORMAT, UNSUPPORTED (NORMALIZER), NOMEM. */
kvass_status kvass_pipeline_normalizer(tok_normalizer *norm, const kvass_json *json,
                                       const char *path, kvass_error *err);

/* *byte_level: the last step turns words into the printable alphabet of bytes. FORMAT, UNSUPPORTED
 * (PRE_TOKENIZER, REGEX_DIALECT), NOMEM. */
kvass_status kvass_pipeline_pretok(tok_pretok *pre, const kvass_json *json, const char *path,
                                   bool *byte_level, kvass_error *err);

/* FORMAT, UNSUPPORTED (DECODER). */
kvass_status kvass_pipeline_decoder(tok_decoding *decoding, const kvass_json *json,
                                    const char *path, kvass_error *err);

/* Fills tok->prefix and tok->suffix; the vocabulary is there already. FORMAT (TEMPLATE),
 * UNSUPPORTED (POST_PROCESSOR), NOMEM. */
kvass_status kvass_pipeline_post(kvass_tokenizer *tok, const kvass_json *json, const char *path,
                                 kvass_error *err);

/* ---- reading optional keys ------------------------------------------------------------------- */

/* *value is left as it is when the key is absent or null; FORMAT (KEY_TYPE) when it is no
 * boolean. */
kvass_status kvass_key_bool(const kvass_json *object, const char *key, bool *value,
                            const char *path, kvass_error *err);
/* A required string: FORMAT (KEY_TYPE) else. */
kvass_status kvass_key_string(const kvass_json *object, const char *key, const char **value,
                              size_t *n_bytes, const char *path, kvass_error *err);
bool kvass_key_absent(const kvass_json *object, const char *key); /* or null */

#endif
