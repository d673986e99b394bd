/* build.h - from JSON to a vocabulary, added tokens and BPE merges; what the readers of
 * tokenizer.json and of vocab.json share.
 */
#ifndef KVASS_TOKENIZER_BUILD_H
#define KVASS_TOKENIZER_BUILD_H

#include "tokenizer/bpe.h"
#include "tokenizer/pipeline.h"

/* An added token as a file lists it. */
typedef struct tok_entry {
    int64_t id;
    const kvass_json *fields; /* content, lstrip, rstrip, single_word, normalized, special */
} tok_entry;

/* A token of the vocabulary as it is spelled there, in tok_build.texts. */
typedef struct tok_listed {
    int32_t id;
    uint32_t offset, n_bytes;
} tok_listed;

/* A tokenizer under construction. */
typedef struct tok_build {
    kvass_tokenizer *tok;
    const char *path;
    kvass_json_list *lists; /* of tok_source */
    tok_decoding decoding;
    tok_listed *listed; /* [n_listed], in the file's order */
    size_t n_listed, cap_listed;
    char *texts; /* [n_texts] */
    size_t n_texts, cap_texts;
    size_t longest;   /* bytes of the longest text */
    tok_words others; /* the texts that are no words of tok->vocab */
    char *scratch;    /* for one piece, or two parts of a merge */
} tok_build;

/* List what the vocabulary {"token": id, ...} or [["token", score], ...] holds. FORMAT (VOCAB_ID,
 * VOCAB_ENTRY, and JSON's), NOMEM. For kvass_build_vocab (build_list.c). */
kvass_status kvass_build_list(tok_build *b, const kvass_json *vocab, kvass_error *err);

/* Fill tok->vocab from {"token": id, ...} or [["token", score], ...] and tok->added from
 * entries[n_entries]; the normalizer is there already. FORMAT (VOCAB_SIZE, VOCAB_ID, VOCAB_ENTRY,
 * ADDED_TOKEN, KEY_TYPE), NOMEM. */
kvass_status kvass_build_vocab(tok_build *b, const kvass_json *vocab, const tok_entry *entries,
                               size_t n_entries, kvass_error *err);

/* The id of a token of the vocabulary by its spelling, or -1. */
int32_t kvass_build_find(const tok_build *b, const char *text, size_t n);

/* The ids of the tokens named "<0x00>" .. "<0xFF>", -1 where there is none. */
void kvass_build_byte_ids(const tok_build *b, int32_t byte_ids[256]);

/* Make the tokenizer's model a BPE without merges, its bytes looked up. NOMEM. */
kvass_status kvass_build_bpe(tok_build *b, size_t n_merges, tok_bpe **bpe, kvass_error *err);

/* Add merge number i of left[n_left] with right[n_right]. FORMAT (MERGE_PART, MERGE_RESULT,
 * MERGE_DUPLICATE), NOMEM. */
kvass_status kvass_build_merge(tok_build *b, tok_bpe *bpe, size_t i, const char *left,
                               size_t n_left, const char *right, size_t n_right, kvass_error *err);

/* Add merge number i, written "left right" in text[n]. FORMAT (MERGE_FORMAT) as well. */
kvass_status kvass_build_merge_line(tok_build *b, tok_bpe *bpe, size_t i, const char *text,
                                    size_t n, kvass_error *err);

void kvass_build_close(tok_build *b);

/* ---- the models of tokenizer.json (models.c) ------------------------------------------------- */

/* What is known of a model by its outline, before anything is built. */
typedef kvass_status tok_build_fn(tok_build *b, const kvass_json *model, const tok_entry *entries,
                                  size_t n_entries, kvass_error *err);

/* The builder of model["type"], and whether the model turns unknown characters into bytes. FORMAT,
 * UNSUPPORTED (TOKENIZER_MODEL). */
kvass_status kvass_model_find(const kvass_json *model, const char *path, tok_build_fn **build,
                              bool *byte_fallback, kvass_error *err);

/* ---- tokenizer_config.json ------------------------------------------------------------------- */

/* The tokenizer_config.json in the folder of `path`; *config = NULL when there is none. */
kvass_status kvass_config_open(kvass_json **config, const char *path, kvass_error *err);

/* Take bos_token, eos_token and add_bos_token from it (config may be NULL); names that are no token
 * are left out. NOMEM. */
kvass_status kvass_config_apply(kvass_tokenizer *tok, const kvass_json *config, kvass_error *err);

/* path of `name` in the folder of `path`; free() it. NULL when out of memory. */
char *kvass_path_beside(const char *path, const char *name);

#endif
