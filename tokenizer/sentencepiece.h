/* sentencepiece.h - a tokenizer out of SentencePiece's pieces, for every file format that holds
 * them: its own .model, GGUF.
 */
#ifndef KVASS_TOKENIZER_SENTENCEPIECE_H
#define KVASS_TOKENIZER_SENTENCEPIECE_H

#include "tokenizer/tokenizer.h"

/* SentencePiece's numbers; GGUF uses the same. */
typedef enum tok_piece_type {
    TOK_PIECE_NORMAL = 1,
    TOK_PIECE_UNKNOWN = 2,
    TOK_PIECE_CONTROL = 3,
    TOK_PIECE_USER_DEFINED = 4, /* always found whole in a text, and left as it is */
    TOK_PIECE_UNUSED = 5,       /* never the result of encoding */
    TOK_PIECE_BYTE = 6
} tok_piece_type;

typedef struct tok_spm_piece {
    const char *text; /* borrowed until the tokenizer is built */
    uint32_t n_bytes;
    float score;
    int32_t type; /* tok_piece_type */
} tok_spm_piece;

typedef struct tok_spm_file {
    const char *path;            /* for messages */
    const tok_spm_piece *pieces; /* [n_pieces], by id */
    size_t n_pieces;
    bool unigram;             /* else BPE by scores */
    bool byte_fallback;       /* unknown characters become their bytes */
    int32_t bos, eos;         /* -1: none */
    bool prefix_space;        /* a space before the text */
    bool remove_extra;        /* spaces at the ends and repeated ones go */
    bool escape;              /* a space is spelled U+2581 in pieces */
    const unsigned char *map; /* a precompiled normalization map, or NULL */
    size_t n_map;
} tok_spm_file;

/* Build an empty tokenizer. Control pieces are found in a text where special tokens are parsed.
 * BOS, if there is one, goes before a text with specials. FORMAT (VOCAB_SIZE, TOKEN_SCORE,
 * PIECE_TYPE, VOCAB_ENTRY, UNK_TOKEN, BYTE_UNKNOWN, CHARSMAP), NOMEM; on failure the caller closes
 * it. */
kvass_status kvass_spm_build(kvass_tokenizer *tok, const tok_spm_file *file, kvass_error *err);

#endif
