/* bpe.h - byte-pair encoding by a table of merges, the model of tokenizer.json and merges.txt.
 * A reader opens it over a filled vocabulary, adds the merges in order of rank and hands it to the
 * tokenizer with kvass_bpe_ops.
 */
#ifndef KVASS_TOKENIZER_BPE_H
#define KVASS_TOKENIZER_BPE_H

#include "engine/base/pairs.h"
#include "tokenizer/tokenizer.h"

#define WORD_MARK "\xe2\x96\x81" /* U+2581, what SentencePiece writes for a space */

typedef struct tok_bpe {
    const tok_vocab *vocab;
    kvass_pairs merges;    /* by rank: left id, right id, and the id that they become */
    int32_t byte_ids[256]; /* the word of each byte, or -1; with by_char the fallback for bytes */
    int32_t *byte_pairs;   /* [256, 256]: the rank of two bytes, or -1; unused with by_char */
    bool by_char;          /* begins with characters; otherwise with bytes */
    bool ignore_merges;    /* a word of the vocabulary is taken whole */
    bool fuse_unk;         /* neighbouring unknown characters are one token */
    int32_t unk;           /* -1: none */
    bool by_words;         /* no merge reaches from before a WORD_MARK over it: a text can be
                            * encoded word by word (merge.h) */
} tok_bpe;

extern const tok_model_ops kvass_bpe_ops;

/* Room for n_merges. The vocabulary outlives it. The other fields are the reader's to set, those
 * for bytes before it adds merges; byte_ids begin as -1. NOMEM. */
kvass_status kvass_bpe_open(tok_bpe **out, const tok_vocab *vocab, size_t n_merges,
                            kvass_error *err);

/* The merge of the next rank. *fresh = false: the pair has one already. NOMEM. */
kvass_status kvass_bpe_add(tok_bpe *bpe, int32_t left, int32_t right, int32_t merged, bool *fresh,
                           kvass_error *err);

/* The id of a word that a merge of the next rank may make, or -1: vocabularies list what is merged
 * in the order of the merges, so it is quickly found. */
int32_t kvass_bpe_find_next(const tok_bpe *bpe, const char *word, size_t n_bytes);

/* ---- the printable alphabet of byte-level BPE ------------------------------------------------ */

/* Vocabularies of byte-level BPE write each byte as a printable character. Turn text[n], UTF-8,
 * into the bytes it stands for: out has room for n; *n_out is set. false: a character stands for
 * none. */
bool kvass_bytelevel_decode(const char *text, size_t n, char *out, size_t *n_out);
/* The other way: out has room for 2 * n; the bytes written. */
size_t kvass_bytelevel_encode(const char *bytes, size_t n, char *out);

#endif
