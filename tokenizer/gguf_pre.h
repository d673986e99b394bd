/* gguf_pre.h - the ways to cut text into words that GGUF files name with tokenizer.ggml.pre.
 */
#ifndef KVASS_TOKENIZER_GGUF_PRE_H
#define KVASS_TOKENIZER_GGUF_PRE_H

#include "tokenizer/tokenizer.h"

typedef struct tok_gguf_pre {
    bool ignore_merges; /* a word of the vocabulary is taken whole */
    bool add_bos;       /* unless the file says otherwise */
} tok_gguf_pre;

/* Give tok->pre and tok->norm the steps that name[n_bytes] stands for. UNSUPPORTED (PRE_TOKENIZER)
 * names what is known. */
kvass_status kvass_gguf_pre_apply(kvass_tokenizer *tok, const char *name, size_t n_bytes,
                                  const char *path, tok_gguf_pre *pre, kvass_error *err);

/* The name of that number, NULL after the last. */
const char *kvass_gguf_pre_name(size_t i);

/* The other way: the name that stands for tok's steps, NULL when none does. *nfc_lost: it cuts text
 * in the same way, but without tok's normal form. */
const char *kvass_gguf_pre_find(const kvass_tokenizer *tok, bool ignore_merges, bool *nfc_lost);

#endif
