/* tiktoken.c - the reader of tiktoken's rank files: a line for each token, its bytes in base64 and
 * its rank, which is its id.
 * Neighbours merge whose bytes together are a token, the lowest rank first. The file says nothing
 * of the expression that cuts a text into words: it follows from the file's name, from the number
 * of its ranks or from the caller, and without it the file is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "tokenizer/bpe.h"
#include "tokenizer/splits.h"

#define MAX_RANKS_BYTES ((size_t)256 << 20)
#define MAX_LINE_BYTES  65536

/* ---- what is known of the files there are ---------------------------------------------------- */

typedef struct special {
    int32_t id;
    const char *name; /* NULL: has none in common between those who use the file */
} special;

static const struct way {
    const char *names[4]; /* as option; with ".tiktoken" also a file's name */
    const char *split;
    int32_t n_ranks;           /* a file with so many is this one */
    special specials[6];       /* a NULL name ends them */
    int32_t bos, eos, n_vocab; /* the ids up to n_vocab without a name are special, too */
    bool add_bos;
} ways[] = {
    {{"gpt2", "r50k", "r50k_base"},
     SPLIT_GPT2,
     50256,
     {{50256, "<|endoftext|>"}},
     50256,
     50256,
     50257,
     false},
    {{"p50k", "p50k_base"},
     SPLIT_GPT2,
     50280,
     {{50256, "<|endoftext|>"}},
     50256,
     50256,
     50281,
     false},
    {{"cl100k", "cl100k_base"},
     SPLIT_CL100K,
     100256,
     {{100257, "<|endoftext|>"},
      {100258, "<|fim_prefix|>"},
      {100259, "<|fim_middle|>"},
      {100260, "<|fim_suffix|>"},
      {100276, "<|endofprompt|>"}},
     100257,
     100257,
     100277,
     false},
    {{"o200k", "o200k_base"},
     SPLIT_O200K,
     199998,
     {{199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}},
     199999,
     199999,
     200019,
     false},
    {{"llama3"},
     SPLIT_LLAMA3,
     128000,
     {{128000, "<|begin_of_text|>"},
      {128001, "<|end_of_text|>"},
      {128006, "<|start_header_id|>"},
      {128007, "<|end_header_id|>"},
      {128009, "<|eot_id|>"}},
     128000,
     128001,
     128256,
     true},
};

enum { N_WAYS = sizeof ways / sizeof *ways, N_NAMES = 4, N_SPECIALS = 6 };

#define KNOWN "gpt2 (r50k), p50k, cl100k, o200k, llama3"

static const struct way *way_by_name(const char *name, size_t n)
{
    for (size_t i = 0; i < N_WAYS; i++) {
        for (size_t j = 0; j < N_NAMES && ways[i].names[j]; j++) {
            if (strlen(ways[i].names[j]) == n && memcmp(ways[i].names[j], name, n) == 0) {
                return &ways[i];
            }
        }
    }
    return NULL;
}

static const char suffix[] = ".tiktoken";

/* The file's name without the suffix; *n = 0 when it ends otherwise. */
static const char *stem(const char *path, size_t *n)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *n = strlen(name);
    bool ends = *n >= sizeof suffix && strcmp(name + *n - (sizeof suffix - 1), suffix) == 0;
    *n = ends ? *n - (sizeof suffix - 1) : 0;
    return name;
}

static kvass_status find_way(const tok_source *source, int32_t n_ranks, const struct way **way,
                             kvass_error *err)
{
    size_t n;
    const char *name = stem(source->path, &n);
    if (source->pattern) {
        *way = way_by_name(source->pattern, strlen(source->pattern));
        return *way ? KVASS_OK
                    : kvass_fail(err, KVASS_INVALID, "TOKENIZER_PATTERN",
                                 "tokenizer pattern \"%.60s\": expected one of " KNOWN,
                                 source->pattern);
    }
    *way = way_by_name(name, n);
    for (size_t i = 0; i < N_WAYS && !*way; i++) {
        *way = ways[i].n_ranks == n_ranks ? &ways[i] : NULL;
    }
    return *way ? KVASS_OK
                : kvass_fail(err, KVASS_UNSUPPORTED, "TOKENIZER_PATTERN",
                             "%s: neither this name nor its %d ranks tell how text is cut into "
                             "words: say it with --pattern, one of " KNOWN,
                             source->path, n_ranks);
}

/* ---- the model ------------------------------------------------------------------------------- */

static int32_t merge_rule(const void *model, const char *word, const tok_symbol *left,
                          const tok_symbol *right, int32_t *id)
{
    *id = kvass_vocab_word(model, word + left->start, left->n_bytes + right->n_bytes);
    return *id;
}

static kvass_status encode(const void *model, const char *word, size_t n_bytes, tok_run *run)
{
    const tok_vocab *vocab = model;
    int32_t whole = kvass_vocab_word(vocab, word, n_bytes);
    if (whole >= 0) {
        return kvass_ids_push(&run->ids, whole)
                   ? KVASS_OK
                   : kvass_fail_nomem(run->err, sizeof whole, "token ids");
    }
    kvass_status status = kvass_merger_begin(&run->merger, n_bytes, run->err);
    if (status != KVASS_OK) {
        return status;
    }
    for (size_t i = 0; i < n_bytes; i++) { /* every byte is a token: check_bytes */
        kvass_merger_add(&run->merger, kvass_vocab_word(vocab, word + i, 1), i, 1);
    }
    return kvass_merger_run(&run->merger, merge_rule, vocab, word, &run->ids, run->err);
}

static void close_model(void *model)
{
    (void)model; /* the vocabulary is the tokenizer's */
}

static const tok_model_ops ops = {"tiktoken", encode, close_model};

/* ---- lines ----------------------------------------------------------------------------------- */

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The bytes of text[n] into out[n]; 0 when it is not base64, or nothing. */
static size_t base64_decode(const char *text, size_t n, char *out)
{
    size_t n_out = 0, pad = n >= 4 && text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;
    if (n == 0 || n % 4 != 0) {
        return 0;
    }
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i < n - pad ? base64_digit(text[i]) : 0;
        if (digit < 0) {
            return 0;
        }
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            out[n_out++] = (char)(bits >> 16 & 0xff);
            out[n_out++] = (char)(bits >> 8 & 0xff);
            out[n_out++] = (char)(bits & 0xff);
        }
    }
    return n_out - pad;
}

/* "base64 rank" in line[n] into out[n]; false: it is something else. */
static bool parse_line(const char *line, size_t n, char *out, size_t *n_out, int32_t *rank)
{
    const char *space = memchr(line, ' ', n);
    size_t n_text = space ? (size_t)(space - line) : 0, at = n_text + 1;
    *n_out = n_text > 0 ? base64_decode(line, n_text, out) : 0;
    int64_t value = 0;
    if (*n_out == 0 || at == n || n - at > 7) {
        return false;
    }
    for (; at < n; at++) {
        if (line[at] < '0' || line[at] > '9') {
            return false;
        }
        value = value * 10 + (line[at] - '0');
    }
    *rank = (int32_t)value;
    return value < KVASS_MAX_VOCAB;
}

typedef struct lines {
    const char *text;
    size_t n, at, number; /* of bytes, of those read, of the line read last */
} lines;

/* The next line that is not empty, without its end; false after the last. */
static bool next_line(lines *l, const char **line, size_t *n)
{
    while (l->at < l->n) {
        const char *begin = l->text + l->at, *end = memchr(begin, '\n', l->n - l->at);
        *n = end ? (size_t)(end - begin) : l->n - l->at;
        l->at += *n + 1;
        l->number++;
        *n -= *n > 0 && begin[*n - 1] == '\r';
        *line = begin;
        if (*n > 0) {
            return true;
        }
    }
    return false;
}

static bool fits(const tok_source *source)
{
    char out[sizeof source->head];
    size_t n_out, n;
    int32_t rank;
    lines l = {.text = (const char *)source->head, .n = source->n_head};
    const char *line;
    (void)stem(source->path, &n);
    return n > 0 || (next_line(&l, &line, &n) && parse_line(line, n, out, &n_out, &rank));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Check every line; what they need together. */
static kvass_status measure(const char *path, lines l, char *scratch, int32_t *n_ranks,
                            int32_t *highest, size_t *n_bytes, kvass_error *err)
{
    const char *line;
    size_t n, n_token;
    *n_ranks = 0;
    *highest = -1;
    *n_bytes = 0;
    while (next_line(&l, &line, &n)) {
        int32_t rank = 0;
        if (n > MAX_LINE_BYTES || !parse_line(line, n, scratch, &n_token, &rank)) {
            return kvass_fail(err, KVASS_FORMAT, "RANK_LINE",
                              "%s: line %zu: expected base64, a space and a rank below %d, found "
                              "\"%.*s\"",
                              path, l.number, KVASS_MAX_VOCAB, (int)(n < 40 ? n : 40), line);
        }
        *highest = rank > *highest ? rank : *highest;
        *n_bytes += n_token;
        ++*n_ranks;
    }
    return KVASS_OK;
}

static kvass_status add_ranks(kvass_tokenizer *tok, const char *path, lines l, char *scratch,
                              kvass_error *err)
{
    const char *line;
    size_t n, n_token;
    kvass_status status = KVASS_OK;
    while (status == KVASS_OK && next_line(&l, &line, &n)) {
        int32_t rank = 0;
        (void)parse_line(line, n, scratch, &n_token, &rank);
        int32_t there = kvass_vocab_word(&tok->vocab, scratch, n_token);
        if (kvass_vocab_has(&tok->vocab, rank) || there >= 0) {
            return kvass_fail(err, KVASS_FORMAT, "RANK_DUPLICATE",
                              "%s: line %zu: rank %d, but its %s", path, l.number, rank,
                              there >= 0 ? "bytes have a rank already"
                                         : "rank belongs to other bytes already");
        }
        kvass_vocab_set(&tok->vocab, rank, scratch, n_token, 0);
        status = kvass_vocab_add_word(&tok->vocab, rank, scratch, n_token, NULL, err);
    }
    return status;
}

static kvass_status check_bytes(const kvass_tokenizer *tok, const char *path, kvass_error *err)
{
    for (int byte = 0; byte < 256; byte++) {
        char self = (char)byte;
        if (kvass_vocab_word(&tok->vocab, &self, 1) < 0) {
            return kvass_fail(err, KVASS_FORMAT, "RANK_BYTES",
                              "%s: no rank for the byte 0x%02x, expected one for each of the 256",
                              path, (unsigned)byte);
        }
    }
    return KVASS_OK;
}

/* The tokens that the file does not list: control tokens, where ids are left for them. */
static kvass_status add_specials(kvass_tokenizer *tok, const struct way *way, kvass_error *err)
{
    tok_vocab *vocab = &tok->vocab;
    kvass_status status = KVASS_OK;
    for (size_t i = 0; status == KVASS_OK && i < N_SPECIALS && way->specials[i].name; i++) {
        const special *s = &way->specials[i];
        bool fresh;
        tok_added_token token = {.id = s->id, .special = true};
        kvass_vocab_set(vocab, s->id, s->name, strlen(s->name), TOK_SPECIAL);
        status = kvass_added_put(&tok->added, &token, s->name, strlen(s->name), &fresh, err);
    }
    for (int32_t id = way->n_ranks; id < way->n_vocab; id++) {
        if (!kvass_vocab_has(vocab, id)) {
            kvass_vocab_set(vocab, id, "", 0, TOK_SPECIAL);
        }
    }
    tok->bos = way->bos;
    tok->eos = way->eos;
    if (status == KVASS_OK && way->add_bos && !kvass_ids_push(&tok->prefix, tok->bos)) {
        status = kvass_fail_nomem(err, sizeof tok->bos, "token ids");
    }
    return status;
}

static kvass_status set_split(kvass_tokenizer *tok, const char *split, const char *path,
                              kvass_error *err)
{
    tok_pre_step step = {.kind = TOK_PRE_SPLIT, .behavior = TOK_ISOLATED};
    kvass_status status = kvass_regex_open(&step.regex, split, strlen(split), false, path, err);
    return status == KVASS_OK ? kvass_pretok_add(&tok->pre, step, err) : status;
}

static kvass_status fill(kvass_tokenizer *tok, const tok_source *source, lines l, char *scratch,
                         kvass_error *err)
{
    const struct way *way = NULL;
    int32_t n_ranks, highest;
    size_t n_bytes;
    kvass_status status = measure(source->path, l, scratch, &n_ranks, &highest, &n_bytes, err);
    if (status == KVASS_OK) {
        status = find_way(source, n_ranks, &way, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    /* the very file, as its size says: then its control tokens are known, too */
    bool whole = n_ranks == way->n_ranks && highest < way->n_vocab;
    for (size_t i = 0; whole && i < N_SPECIALS && way->specials[i].name; i++) {
        n_bytes += strlen(way->specials[i].name);
    }
    status = kvass_vocab_open(&tok->vocab, whole ? way->n_vocab : highest + 1, n_bytes, err);
    if (status == KVASS_OK) {
        status = add_ranks(tok, source->path, l, scratch, err);
    }
    if (status == KVASS_OK) {
        status = check_bytes(tok, source->path, err);
    }
    if (status == KVASS_OK && whole && !kvass_vocab_has(&tok->vocab, way->eos)) {
        status = add_specials(tok, way, err);
    }
    return status == KVASS_OK ? set_split(tok, way->split, source->path, err) : status;
}

static kvass_status read_ranks(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    char *text = NULL, *scratch = malloc(MAX_LINE_BYTES);
    size_t n;
    if (!scratch) {
        return kvass_fail_nomem(err, MAX_LINE_BYTES, "a line");
    }
    tok->ops = &ops;
    tok->model = &tok->vocab;
    kvass_status status = kvass_file_slurp(source->path, MAX_RANKS_BYTES, &text, &n, err);
    if (status == KVASS_OK) {
        status = fill(tok, source, (lines){.text = text, .n = n}, scratch, err);
        free(text);
    }
    free(scratch);
    return status;
}

const tok_reader kvass_reader_tiktoken = {fits, read_ranks};
