/* inspect_gguf.c - the kind and the size of a large tokenizer in a GGUF file, at a glance.
 * The metadata is walked through once: keys that matter are read, the lists are stepped over.
 * Nothing is checked that the walk does not need, and the model's reader has been there before.
 */
#include "tools/inspect.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 18, MAX_TEXT = 64 };

/* Kinds of values, by the file's numbers: bytes of each, 0 for strings and arrays. */
static const unsigned char kind_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
enum { GGUF_STRING = 8, GGUF_ARRAY = 9, GGUF_N_KINDS = 13 };

typedef struct walk {
    int fd;
    unsigned char *block; /* bytes at .. at + n - 1 of the file */
    off_t at, file;       /* file: where to go on */
    size_t n;
    bool ok;
} walk;

/* The next n bytes, n <= BLOCK_BYTES; NULL where the file ends. */
static const unsigned char *take(walk *w, size_t n)
{
    if (w->ok && (w->file < w->at || w->file + (off_t)n > w->at + (off_t)w->n)) {
        ssize_t got = pread(w->fd, w->block, BLOCK_BYTES, w->file);
        w->at = w->file;
        w->n = got > 0 ? (size_t)got : 0;
    }
    w->ok = w->ok && w->file + (off_t)n <= w->at + (off_t)w->n;
    if (!w->ok) {
        return NULL;
    }
    w->file += (off_t)n;
    return w->block + (w->file - (off_t)n - w->at);
}

static void skip(walk *w, uint64_t n)
{
    w->ok = w->ok && n < (uint64_t)1 << 40;
    w->file += w->ok ? (off_t)n : 0;
}

/* A number of n bytes, negative ones as the two's complement has them. */
static uint64_t take_number(walk *w, size_t n, bool is_signed)
{
    const unsigned char *p = take(w, n);
    uint64_t value = 0;
    for (size_t i = n; p && i-- > 0;) {
        value = value << 8 | p[i];
    }
    if (p && is_signed && n < 8 && p[n - 1] >= 0x80) {
        value |= UINT64_MAX << 8 * n;
    }
    return value;
}

/* A string, of which text[MAX_TEXT] takes the beginning. */
static void take_text(walk *w, char *text)
{
    uint64_t n = take_number(w, 8, false);
    size_t n_kept = n < MAX_TEXT ? (size_t)n : MAX_TEXT - 1;
    const unsigned char *p = take(w, n_kept);
    if (p) {
        memcpy(text, p, n_kept);
    }
    text[p ? n_kept : 0] = '\0';
    skip(w, n - n_kept);
}

/* The value of a key; what the tokenizer is known by is kept. */
static void take_value(walk *w, const char *key, kvass_tokenizer_info *tok)
{
    char text[MAX_TEXT];
    uint64_t kind = take_number(w, 4, false), n = 1;
    bool is_array = kind == GGUF_ARRAY;
    if (is_array) {
        kind = take_number(w, 4, false);
        n = take_number(w, 8, false);
        if (strcmp(key, "tokenizer.ggml.tokens") == 0) {
            tok->n_vocab = n <= INT32_MAX ? (int32_t)n : 0;
        }
    }
    w->ok = w->ok && kind < GGUF_N_KINDS && kind != GGUF_ARRAY && n <= UINT32_MAX;
    if (!w->ok) {
        return;
    }
    if (kind == GGUF_STRING && !is_array) {
        take_text(w, text);
        if (strcmp(key, "tokenizer.ggml.model") == 0) {
            tok->kind = strcmp(text, "gpt2") == 0    ? "bpe"
                        : strcmp(text, "llama") == 0 ? "spm"
                                                     : NULL;
        }
    } else if (kind == GGUF_STRING) {
        for (uint64_t i = 0; i < n && w->ok; i++) {
            skip(w, take_number(w, 8, false));
        }
    } else if (is_array) {
        skip(w, n * kind_bytes[kind]);
    } else {
        bool is_signed = kind == 1 || kind == 3 || kind == 5 || kind == 11;
        int64_t id = (int64_t)take_number(w, kind_bytes[kind], is_signed);
        int32_t *to = strcmp(key, "tokenizer.ggml.bos_token_id") == 0   ? &tok->bos
                      : strcmp(key, "tokenizer.ggml.eos_token_id") == 0 ? &tok->eos
                                                                        : NULL;
        if (to && kind != 6 && kind != 7 && kind != 12) {
            *to = id >= 0 && id <= INT32_MAX ? (int32_t)id : INT32_MAX;
        }
    }
}

bool inspect_glance_gguf(const char *path, kvass_tokenizer_info *tok)
{
    enum { NONE = -2 };
    char key[MAX_TEXT];
    walk w = {.fd = open(path, O_RDONLY | O_CLOEXEC), .block = malloc(BLOCK_BYTES)};
    *tok = (kvass_tokenizer_info){.bos = NONE, .eos = NONE};
    w.ok = w.fd >= 0 && w.block;
    const unsigned char *magic = take(&w, 4);
    w.ok = magic && memcmp(magic, "GGUF", 4) == 0;
    (void)take_number(&w, 4, false); /* version */
    (void)take_number(&w, 8, false); /* tensors */
    uint64_t n = take_number(&w, 8, false);
    for (uint64_t i = 0; i < n && w.ok; i++) {
        take_text(&w, key);
        take_value(&w, key, tok);
    }
    free(w.block);
    if (w.fd >= 0) {
        (void)close(w.fd);
    }
    bool spm = tok->kind && strcmp(tok->kind, "spm") == 0;
    tok->bos = tok->bos == NONE ? (spm ? 1 : -1) : tok->bos < tok->n_vocab ? tok->bos : -1;
    tok->eos = tok->eos == NONE ? (spm ? 2 : -1) : tok->eos < tok->n_vocab ? tok->eos : -1;
    return w.ok && tok->kind && tok->n_vocab > 0;
}
