/* spm.h - SentencePiece's BPE: neighbours join when their text together is a piece, best score
 * first.
 * A reader fills a vocabulary whose words are spelled as the normalizer leaves text (WORD_MARK for
 * a space), gives each word its score and hands the model to the tokenizer with kvass_spm_ops.
 */
#ifndef KVASS_TOKENIZER_SPM_H
#define KVASS_TOKENIZER_SPM_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"

typedef struct tok_spm {
    const tok_vocab *vocab;
    tok_trie whole;        /* words that are cut out of a text first and merge with nothing */
    int32_t *ranks;        /* [n_vocab]: 0 for the highest score, equal for equal scores */
    int32_t byte_ids[256]; /* what a character that is no word falls back to; -1: no such piece */
    int32_t unk;           /* when it has no bytes either; -1: none */
    bool fuse_unk;         /* neighbouring unknown characters are one token */
    bool by_words;         /* no word has a WORD_MARK after something else */
} tok_spm;

extern const tok_model_ops kvass_spm_ops;

/* A model over a filled vocabulary, with byte_ids and unk -1 for the reader to set; words with
 * TOK_WHOLE belong into `whole`. scores[n_vocab] counts for words only, and is free of NaN. NOMEM.
 */
kvass_status kvass_spm_open(tok_spm **out, const tok_vocab *vocab, const float *scores,
                            kvass_error *err);

#endif
