/* json_put.h - what the writers of tokenizer.json share: the text so far, and how a token is
 * spelled in it.
 */
#ifndef KVASS_TOKENIZER_JSON_PUT_H
#define KVASS_TOKENIZER_JSON_PUT_H

#include "engine/base/gguf_out.h"
#include "engine/base/map.h"
#include "tokenizer/bpe.h"
#include "tokenizer/spm.h"

typedef struct tok_writing {
    const kvass_tokenizer *tok;
    kvass_metadata *m;
    const tok_bpe *bpe; /* one of the two */
    const tok_spm *spm;
    int32_t *added;  /* [n_vocab]: place in tok->added, or -1 */
    char *scratch;   /* room for any piece in any spelling */
    kvass_map *keys; /* spelling -> id */
    kvass_error *err;
} tok_writing;

void kvass_writing_put(const tok_writing *w, const char *text);
void kvass_writing_put_int(const tok_writing *w, int32_t value);
/* text[n], UTF-8 without NUL, as a JSON string; inside: without its quotes. */
void kvass_writing_put_quoted(const tok_writing *w, const char *text, size_t n);
void kvass_writing_put_inside(const tok_writing *w, const char *text, size_t n);

/* The spelling of an id in the file: *n bytes, in the vocabulary or in w->scratch. */
const char *kvass_writing_spell(const tok_writing *w, int32_t id, size_t *n);

/* UNSUPPORTED (CONVERT_TOKENIZER): tokenizer.json has no word for it. */
kvass_status kvass_writing_refuse(const tok_writing *w, const char *what);

/* json_stages.c: normalizer, pre-tokenizer, post-processor and decoder, each with a comma after it.
 * UNSUPPORTED (CONVERT_TOKENIZER). */
kvass_status kvass_writing_put_stages(const tok_writing *w);

#endif
