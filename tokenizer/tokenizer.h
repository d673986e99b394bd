/* tokenizer.h - the inside of kvass_tokenizer, for its readers.
 * Encoding: text -> named (added) tokens are cut out -> normalizer -> pre-tokenizer -> the model,
 * word by word. A reader of one file format fills the parts it has; empty parts pass text on as it
 * is. Everything is read-only once kvass_tokenizer_open returns; what one call needs is in a
 * tok_run.
 */
#ifndef KVASS_TOKENIZER_TOKENIZER_H
#define KVASS_TOKENIZER_TOKENIZER_H

#include "engine/base/json_list.h"
#include "tokenizer/added.h"
#include "tokenizer/merge.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/vocab.h"

/* What one encode call needs. */
typedef struct tok_run {
    const kvass_tokenizer *tok;
    const kvass_encode_options *opt;
    tok_merger merger;
    tok_matcher matcher;
    tok_ids ids;       /* the result so far */
    const char *begin; /* of the whole text */
    bool at_start;     /* what is encoded at the moment begins there */
    kvass_error *err;
} tok_run;

/* A model turns one word into ids. Another kind of model is another table of these. */
typedef struct tok_model_ops {
    const char *kind;
    kvass_status (*encode)(const void *model, const char *word, size_t n_bytes, tok_run *run);
    void (*close)(void *model);
} tok_model_ops;

struct kvass_tokenizer {
    tok_vocab vocab;
    tok_added added;
    tok_normalizer norm;
    tok_pretok pre;
    const tok_model_ops *ops;
    void *model;
    tok_ids prefix, suffix; /* ids around a text with add_special */
    int32_t bos, eos;       /* -1 if unnamed */
    /* decoding */
    bool strip_space;  /* one space at the beginning of a text is no part of it */
    bool strip_spaces; /* nor is any in the first token of a text */
    bool join_space;   /* a space between tokens */
};

/* Long parts of tokenizer.json, which may have stayed text. */
typedef enum tok_list { TOK_LIST_VOCAB, TOK_LIST_MERGES, TOK_N_LISTS } tok_list;

/* A file that may hold a tokenizer, looked into once. */
typedef struct tok_source {
    const char *path;
    unsigned char head[64]; /* its first bytes */
    size_t n_head;
    const kvass_json *json; /* its contents when it is a JSON object, else NULL */
    kvass_json_list *lists; /* [TOK_N_LISTS] of it, by tok_list; NULL: all is in the document */
    int32_t n_vocab;        /* of the model, 0 if unknown */
    const char *pattern;    /* the name of how text is cut, for files that do not say; or NULL */
} tok_source;

/* One per format. `read` fills an empty tokenizer; on failure the caller closes it. */
typedef struct tok_reader {
    bool (*fits)(const tok_source *source);
    kvass_status (*read)(kvass_tokenizer *tok, const tok_source *source, kvass_error *err);
} tok_reader;

extern const tok_reader kvass_reader_tokenizer_json;
extern const tok_reader kvass_reader_charmap;
extern const tok_reader kvass_reader_vocab_merges;
extern const tok_reader kvass_reader_gguf;
extern const tok_reader kvass_reader_sentencepiece;
extern const tok_reader kvass_reader_tiktoken;
extern const tok_reader kvass_reader_llama2c_bin;

/* Whether tok came from a tokenizer.bin: the order of its pieces, ranks[n_vocab] as in tok_spm, and
 * whether ids 3 .. 258 are the bytes. */
bool kvass_llama2c_ranks(const kvass_tokenizer *tok, const int32_t **ranks, bool *has_bytes);

/* Append the ids of text[n_bytes] to run->ids, specials around it as run->opt asks (encode.c). */
kvass_status kvass_run_encode(tok_run *run, const char *text, size_t n_bytes);
void kvass_run_close(tok_run *run);

#endif
