/* unigram.h - the model that takes the likeliest way to cut a word into pieces (Viterbi).
 * Scores are added from the left and kept in double or in single precision, as the library does
 * whose files they are: near-ties depend on it.
 */
#ifndef KVASS_TOKENIZER_UNIGRAM_H
#define KVASS_TOKENIZER_UNIGRAM_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"

#define UNKNOWN_PENALTY 10.0 /* below the lowest score */

typedef struct tok_unigram {
    tok_trie pieces;       /* -> id */
    double *scores;        /* [n_vocab] */
    double unk_score;      /* of a character that no piece begins with alone */
    int32_t unk;           /* -1: none */
    int32_t byte_ids[256]; /* the piece of each byte, or -1: what an unknown character becomes */
    bool single;   /* the score of a way is kept in single precision */
    bool by_words; /* no piece reaches over a WORD_MARK: cut there, and little memory is needed */
} tok_unigram;

/* Make it the tokenizer's model, from keys[n_keys] -> ids (sorted here) below n_vocab; scores is
 * owned from now on, also on failure. The other fields are the caller's; byte_ids and unk begin as
 * -1. NOMEM. */
kvass_status kvass_unigram_open(kvass_tokenizer *tok, tok_key *keys, size_t n_keys, double *scores,
                                tok_unigram **out, kvass_error *err);

#endif
