/* wordlevel.h - a vocabulary of whole words and nothing else. */
#ifndef KVASS_TOKENIZER_WORDLEVEL_H
#define KVASS_TOKENIZER_WORDLEVEL_H

#include "tokenizer/tokenizer.h"

typedef struct tok_wordlevel {
    const tok_vocab *vocab;
    int32_t unk; /* -1: none */
} tok_wordlevel;

/* The same for a vocabulary of characters, into which the text is cut first. */
extern const tok_model_ops kvass_characters_ops;

/* Make it the tokenizer's model. NOMEM. */
kvass_status kvass_wordlevel_open(kvass_tokenizer *tok, tok_wordlevel **out, kvass_error *err);

#endif
