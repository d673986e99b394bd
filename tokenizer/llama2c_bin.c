/* llama2c_bin.c - llama2.c's tokenizer.bin: reader and model.
 * The file: i32 longest piece, then {f32 score, i32 n_bytes, bytes} to the end of the file; the
 * number of pieces is nowhere. Ids 0, 1, 2 are unknown, BOS and EOS; usually 3 .. 258 are the
 * bytes, named "<0x00>" .. "<0xFF>". Encoding puts a space first, looks up each character (its
 * bytes when it is no piece), then joins the neighbours whose text together is the piece of the
 * highest score, the leftmost among equals, until none is left.
 */
#include "tokenizer/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/reader.h"
#include "tokenizer/utf8.h"

#define MAX_FILE_BYTES  ((size_t)256 << 20)
#define MAX_PIECE_BYTES 65535
#define BOS             1
#define EOS             2
#define FIRST_BYTE      3

typedef struct model {
    const tok_vocab *vocab;
    int32_t *ranks; /* [n_vocab]: 0 for the highest score, equal for equal scores */
    bool has_bytes; /* ids 3 .. 258 are the bytes */
    bool by_words;  /* no piece has a space after something else */
} model;

/* ---- encoding -------------------------------------------------------------------------------- */

static int32_t merge_rule(const void *self, const char *text, const tok_symbol *left,
                          const tok_symbol *right, int32_t *id)
{
    const model *m = self;
    if (!(m->vocab->pieces[left->id].flags & m->vocab->pieces[right->id].flags & TOK_WORD)) {
        return -1; /* bytes and unknown characters stay alone */
    }
    *id = kvass_vocab_word(m->vocab, text + left->start, left->n_bytes + right->n_bytes);
    return *id < 0 ? -1 : m->ranks[*id];
}

/* Bytes that llama2.c takes for one character: continuation bytes join, up to four in all. */
static size_t char_size(const char *s, size_t n)
{
    size_t size = 1;
    while (size < 4 && size < n && ((unsigned char)s[size] & 0xc0) == 0x80) {
        size++;
    }
    return size;
}

/* A space, then text[n_bytes]. */
static char *with_space(const char *text, size_t n_bytes)
{
    char *s = malloc(n_bytes + 1);
    if (s) {
        s[0] = ' ';
        memcpy(s + 1, text, n_bytes);
    }
    return s;
}

/* The symbols of text[at .. end); the space that was put first is a character by itself. */
static void add_symbols(const model *m, const char *text, size_t at, size_t end, tok_merger *merger)
{
    for (size_t size, begin = at; at < end; at += size) {
        size = at == 0 ? 1 : char_size(text + at, end - at);
        int32_t id = kvass_vocab_word(m->vocab, text + at, size);
        if (id >= 0 || !m->has_bytes) {
            kvass_merger_add(merger, id >= 0 ? id : 0, at - begin, size);
            continue;
        }
        for (size_t i = 0; i < size; i++) {
            int32_t byte = (unsigned char)text[at + i];
            kvass_merger_add(merger, FIRST_BYTE + byte, at + i - begin, 1);
        }
    }
}

static kvass_status encode(const void *self, const char *word, size_t n_bytes, tok_run *run)
{
    const model *m = self;
    if (n_bytes == 0) {
        return KVASS_OK;
    }
    char *text = with_space(word, n_bytes++);
    if (!text) {
        return kvass_fail_nomem(run->err, n_bytes, "the text");
    }
    kvass_status status = KVASS_OK;
    for (size_t at = 0, end; status == KVASS_OK && at < n_bytes; at = end) {
        end = m->by_words ? kvass_merge_end(text, n_bytes, at, " ", 1) : n_bytes;
        status = kvass_merger_begin(&run->merger, end - at, run->err);
        if (status == KVASS_OK) {
            add_symbols(m, text, at, end, &run->merger);
            status = kvass_merger_run(&run->merger, merge_rule, m, text + at, &run->ids, run->err);
        }
    }
    free(text);
    return status;
}

static void close_model(void *self)
{
    model *m = self;
    if (m) {
        free(m->ranks);
        free(m);
    }
}

static const tok_model_ops ops = {"llama2.c", encode, close_model};

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct entry {
    float score;
    uint32_t n_bytes;
    const char *bytes;
} entry;

/* The next piece, checked. `id` is its number. */
static kvass_status next_entry(kvass_reader *r, int32_t id, int32_t longest, const char *path,
                               entry *e, kvass_error *err)
{
    int32_t n_bytes = 0;
    size_t at = r->at;
    if (!kvass_reader_f32(r, &e->score) || !kvass_reader_i32(r, &n_bytes)) {
        return kvass_fail(
            err, KVASS_FORMAT, "TOKENIZER_TRUNCATED",
            "%s: token %d at byte %zu: expected 8 bytes of score and length, found %zu", path, id,
            at, r->size - at);
    }
    if (!isfinite(e->score)) {
        return kvass_fail(err, KVASS_FORMAT, "TOKEN_SCORE",
                          "%s: token %d at byte %zu: its score is not a finite number", path, id,
                          at);
    }
    if (n_bytes < 0 || n_bytes > longest) {
        return kvass_fail(
            err, KVASS_FORMAT, "TOKEN_LENGTH",
            "%s: token %d at byte %zu: length %d, expected 0 .. %d (the file's maximum)", path, id,
            at, n_bytes, longest);
    }
    e->n_bytes = (uint32_t)n_bytes;
    e->bytes = (const char *)kvass_reader_take(r, (size_t)n_bytes);
    if (!e->bytes) {
        return kvass_fail(err, KVASS_FORMAT, "TOKENIZER_TRUNCATED",
                          "%s: token %d at byte %zu: expected %d bytes of text, found %zu", path,
                          id, at, n_bytes, kvass_reader_left(r));
    }
    return KVASS_OK;
}

/* Walk the whole file once: *n_tokens pieces of *n_bytes together, all well-formed. */
static kvass_status count_entries(kvass_reader r, int32_t longest, const tok_source *source,
                                  int32_t *n_tokens, size_t *n_bytes, kvass_error *err)
{
    *n_tokens = 0;
    *n_bytes = 0;
    while (kvass_reader_left(&r) > 0) {
        entry e = {0};
        if (*n_tokens == KVASS_MAX_VOCAB) {
            return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE", "%s: more than %d tokens",
                              source->path, KVASS_MAX_VOCAB);
        }
        kvass_status status = next_entry(&r, *n_tokens, longest, source->path, &e, err);
        if (status != KVASS_OK) {
            return status;
        }
        ++*n_tokens;
        *n_bytes += e.n_bytes;
    }
    if (*n_tokens <= EOS) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE",
                          "%s: %d tokens, expected at least 3 (unknown, BOS, EOS)", source->path,
                          *n_tokens);
    }
    if (source->n_vocab > 0 && *n_tokens != source->n_vocab) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE",
                          "%s: it has %d tokens, but the model has %d: it belongs to another model",
                          source->path, *n_tokens, source->n_vocab);
    }
    return KVASS_OK;
}

static bool names_all_bytes(kvass_reader r, int32_t n_tokens, int32_t longest)
{
    if (n_tokens < FIRST_BYTE + 256) {
        return false;
    }
    for (int32_t id = 0; id < FIRST_BYTE + 256; id++) {
        entry e = {0};
        (void)next_entry(&r, id, longest, "", &e, NULL); /* it was well-formed before */
        if (id >= FIRST_BYTE && kvass_vocab_byte_name(e.bytes, e.n_bytes) != id - FIRST_BYTE) {
            return false;
        }
    }
    return true;
}

/* Fill the vocabulary and the ranks. Control tokens and byte names are no words: a text that spells
 * "<s>" or "<0x0A>" is not them. */
static kvass_status fill(kvass_tokenizer *tok, model *m, kvass_reader r, int32_t longest,
                         kvass_error *err)
{
    int32_t n = tok->vocab.n_vocab;
    m->by_words = true;
    float *scores = malloc((size_t)n * sizeof *scores);
    m->ranks = malloc((size_t)n * sizeof *m->ranks);
    kvass_status status =
        scores && m->ranks ? KVASS_OK : kvass_fail_nomem(err, (size_t)n * sizeof *scores, "scores");
    for (int32_t id = 0; status == KVASS_OK && id < n; id++) {
        entry e = {0};
        (void)next_entry(&r, id, longest, "", &e, NULL);
        scores[id] = e.score;
        if (m->has_bytes && id >= FIRST_BYTE && id < FIRST_BYTE + 256) {
            char byte = (char)(id - FIRST_BYTE);
            kvass_vocab_set(&tok->vocab, id, &byte, 1, 0);
        } else {
            uint32_t flags = id == BOS || id == EOS ? TOK_SPECIAL : 0;
            kvass_vocab_set(&tok->vocab, id, e.bytes, e.n_bytes, flags);
            if (id > EOS) {
                status = kvass_vocab_add_word(&tok->vocab, id, e.bytes, e.n_bytes, NULL, err);
                m->by_words = m->by_words && !kvass_merge_crosses(e.bytes, e.n_bytes, " ", 1);
            }
        }
    }
    m->by_words = m->by_words && kvass_vocab_word(&tok->vocab, " ", 1) >= 0;
    if (status == KVASS_OK && !kvass_vocab_rank(scores, n, m->ranks)) {
        status = kvass_fail_nomem(err, (size_t)n * sizeof *scores, "scores");
    }
    free(scores);
    return status;
}

static kvass_status read_bytes(kvass_tokenizer *tok, const tok_source *source, kvass_reader r,
                               kvass_error *err)
{
    int32_t longest = 0, n_tokens;
    size_t n_bytes;
    if (kvass_reader_left(&r) < sizeof longest) {
        return kvass_fail(err, KVASS_FORMAT, "TOKENIZER_TRUNCATED",
                          "%s: expected a llama2.c tokenizer.bin, found a file of %zu bytes",
                          source->path, kvass_reader_left(&r));
    }
    if (!kvass_reader_i32(&r, &longest) || longest < 1 || longest > MAX_PIECE_BYTES) {
        return kvass_fail(err, KVASS_FORMAT, "TOKENIZER_HEADER",
                          "%s: expected the length of the longest token, 1 .. %d, found %d%s",
                          source->path, MAX_PIECE_BYTES, longest,
                          longest % 256 == '\n' ? " (a SentencePiece model?)" : "");
    }
    kvass_status status = count_entries(r, longest, source, &n_tokens, &n_bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    model *m = calloc(1, sizeof *m);
    if (!m) {
        return kvass_fail_nomem(err, sizeof *m, "the tokenizer");
    }
    tok->ops = &ops;
    tok->model = m;
    m->vocab = &tok->vocab;
    m->has_bytes = names_all_bytes(r, n_tokens, longest);
    tok->bos = BOS;
    tok->eos = EOS;
    tok->strip_space = true;
    if (!kvass_ids_push(&tok->prefix, BOS)) {
        return kvass_fail_nomem(err, sizeof BOS, "token ids");
    }
    status = kvass_vocab_open(&tok->vocab, n_tokens, n_bytes, err);
    return status == KVASS_OK ? fill(tok, m, r, longest, err) : status;
}

static kvass_status read_file(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    char *bytes;
    size_t n_bytes;
    kvass_status status = kvass_file_slurp(source->path, MAX_FILE_BYTES, &bytes, &n_bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    kvass_reader r = {(const unsigned char *)bytes, n_bytes, 0};
    status = read_bytes(tok, source, r, err);
    free(bytes);
    return status;
}

/* The format has no magic: whatever looks like nothing else may be it. */
static bool fits(const tok_source *source)
{
    return !source->json &&
           strcmp(kvass_file_looks_like(source->head, source->n_head), KVASS_LOOKS_UNKNOWN) == 0;
}

const tok_reader kvass_reader_llama2c_bin = {fits, read_file};

bool kvass_llama2c_ranks(const kvass_tokenizer *tok, const int32_t **ranks, bool *has_bytes)
{
    if (tok->ops != &ops) {
        return false;
    }
    const model *m = tok->model;
    *ranks = m->ranks;
    *has_bytes = m->has_bytes;
    return true;
}
