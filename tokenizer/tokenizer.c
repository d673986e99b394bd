/* tokenizer.c - opening a tokenizer of any format, encoding, and questions about ids.
 * Formats are tried in the order of `readers`; a reader that fits decides.
 */
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/checked.h"
#include "engine/base/gguf.h"
#include "engine/base/options.h"
#include "tokenizer/utf8.h"

#define MAX_JSON_BYTES ((size_t)256 << 20)
#define MAX_TEXT_BYTES (INT32_MAX - 64) /* places in a text are int32 */

static const tok_reader *const readers[] = {
    &kvass_reader_tokenizer_json, &kvass_reader_charmap,       &kvass_reader_vocab_merges,
    &kvass_reader_gguf,           &kvass_reader_sentencepiece, &kvass_reader_tiktoken,
    &kvass_reader_llama2c_bin,
};

/* ---- opening --------------------------------------------------------------------------------- */

/* What a folder may hold, best first. */
static const char *const names[] = {
    "tokenizer.json",       "vocab.json",         "tokenizer.model",
    "tokenizer.bin",        "meta.pkl",           "meta.json",
    "gpt2.tiktoken",        "r50k_base.tiktoken", "p50k_base.tiktoken",
    "cl100k_base.tiktoken", "o200k_base.tiktoken"};
#define LONGEST_NAME "/cl100k_base.tiktoken"

/* The file that `path` means: itself, or the first of `names` in it, or its only GGUF file. *out is
 * the caller's. */
static kvass_status find_file(const char *path, char **out, kvass_error *err)
{
    struct stat st;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    size_t n_bytes;
    if (!kvass_add_size(strlen(path), sizeof LONGEST_NAME, &n_bytes) || !(*out = malloc(n_bytes))) {
        return kvass_fail_nomem(err, strlen(path), "a path");
    }
    if (!folder) {
        memcpy(*out, path, strlen(path) + 1);
        return KVASS_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(*out, n_bytes, "%s/%s", path, names[i]);
        if (stat(*out, &st) == 0) {
            return KVASS_OK;
        }
    }
    free(*out);
    int n_gguf = 0;
    kvass_status status = kvass_gguf_in_folder(path, out, &n_gguf, err);
    if (status != KVASS_OK || n_gguf == 1) {
        return status;
    }
    return kvass_fail(
        err, KVASS_IO, "TOKENIZER_MISSING",
        "%s: no tokenizer.json, vocab.json, tokenizer.model, tokenizer.bin, meta.pkl or tiktoken "
        "file (gpt2.tiktoken, ...) in this folder",
        path);
}

/* Look into the file: its head, and its contents when it is JSON; *text holds source->lists. */
static kvass_status look(tok_source *source, kvass_json **json, char **text, kvass_error *err)
{
    kvass_file file;
    kvass_status status = kvass_file_open(&file, source->path, err);
    if (status != KVASS_OK) {
        return status;
    }
    source->n_head = file.size < sizeof source->head ? (size_t)file.size : sizeof source->head;
    status = kvass_file_read(&file, 0, source->head, source->n_head, err);
    kvass_file_close(&file);
    size_t i = 0;
    while (i < source->n_head && memchr(" \t\r\n", source->head[i], 4)) {
        i++;
    }
    if (status == KVASS_OK && i < source->n_head && source->head[i] == '{') {
        status = source->lists ? kvass_json_open_lists(json, text, source->lists, TOK_N_LISTS,
                                                       source->path, MAX_JSON_BYTES, err)
                               : kvass_json_open(json, source->path, MAX_JSON_BYTES, err);
        source->json = *json;
    }
    return status;
}

static kvass_status read_source(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        if (readers[i]->fits(source)) {
            return readers[i]->read(tok, source, err);
        }
    }
    return kvass_fail(
        err, KVASS_UNSUPPORTED, "TOKENIZER_KIND",
        "%s: expected tokenizer.json, vocab.json, a GGUF file, a SentencePiece model, "
        "tiktoken's ranks, a map of characters or a llama2.c tokenizer.bin, found "
        "%s",
        source->path, kvass_file_looks_like(source->head, source->n_head));
}

static kvass_status open_source(kvass_tokenizer **out, tok_source *source, kvass_error *err)
{
    kvass_json *json = NULL;
    char *text = NULL;
    kvass_tokenizer *tok = calloc(1, sizeof *tok);
    if (!tok) {
        return kvass_fail_nomem(err, sizeof *tok, "the tokenizer");
    }
    tok->bos = tok->eos = -1;
    kvass_status status = look(source, &json, &text, err);
    if (status == KVASS_OK) {
        status = read_source(tok, source, err);
    }
    for (int i = 0; status == KVASS_OK && text && i < TOK_N_LISTS; i++) {
        if (source->lists[i].text && !source->lists[i].walked) {
            status = kvass_fail(err, KVASS_FORMAT, "JSON_SYNTAX", "%s: %s: unread", source->path,
                                source->lists[i].name);
        }
    }
    kvass_json_close(&json);
    free(text);
    if (status != KVASS_OK) {
        kvass_tokenizer_close(&tok);
    }
    *out = tok;
    return status;
}

/* What is wrong with a document whose lists stayed text is told by reading it as a whole. */
static kvass_status open_file(kvass_tokenizer **out, tok_source *source, kvass_error *err)
{
    kvass_json_list lists[TOK_N_LISTS] = {[TOK_LIST_VOCAB] = {.name = "vocab", .open = '{'},
                                          [TOK_LIST_MERGES] = {.name = "merges", .open = '['}};
    source->lists = lists;
    kvass_status status = open_source(out, source, err);
    bool cut = lists[TOK_LIST_VOCAB].n_bytes > 0 || lists[TOK_LIST_MERGES].n_bytes > 0;
    source->lists = NULL;
    if (cut && (status == KVASS_FORMAT || status == KVASS_UNSUPPORTED)) {
        status = open_source(out, source, err);
    }
    return status;
}

kvass_tokenizer_options kvass_tokenizer_options_default(void)
{
    return (kvass_tokenizer_options){.struct_size = sizeof(kvass_tokenizer_options)};
}

kvass_status kvass_tokenizer_open(kvass_tokenizer **out, const char *path, int32_t n_vocab,
                                  kvass_error *err)
{
    kvass_tokenizer_options opt = kvass_tokenizer_options_default();
    opt.n_vocab = n_vocab;
    return kvass_tokenizer_open_as(out, path, &opt, err);
}

kvass_status kvass_tokenizer_open_as(kvass_tokenizer **out, const char *path,
                                     const kvass_tokenizer_options *options, kvass_error *err)
{
    kvass_tokenizer_options opt = kvass_tokenizer_options_default();
    kvass_status status =
        kvass_options_take(&opt, sizeof opt, options, "kvass_tokenizer_open_as", err);
    if (status != KVASS_OK) {
        return status;
    }
    if (!out || !path || opt.n_vocab < 0) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "kvass_tokenizer_open: %s",
                          opt.n_vocab < 0 ? "n_vocab is negative" : "out or path is NULL");
    }
    *out = NULL;
    tok_source source = {.n_vocab = opt.n_vocab, .pattern = opt.pattern};
    char *file = NULL;
    status = find_file(path, &file, err);
    if (status == KVASS_OK) {
        source.path = file;
        status = open_file(out, &source, err);
    }
    free(file);
    return status;
}

void kvass_tokenizer_close(kvass_tokenizer **tok)
{
    if (!tok || !*tok) {
        return;
    }
    kvass_tokenizer *t = *tok;
    if (t->ops) {
        t->ops->close(t->model);
    }
    kvass_vocab_close(&t->vocab);
    kvass_added_close(&t->added);
    kvass_normalizer_close(&t->norm);
    kvass_pretok_close(&t->pre);
    kvass_ids_close(&t->prefix);
    kvass_ids_close(&t->suffix);
    free(t);
    *tok = NULL;
}

/* ---- questions ------------------------------------------------------------------------------- */

void kvass_tokenizer_get_info(const kvass_tokenizer *tok, kvass_tokenizer_info *info)
{
    *info = (kvass_tokenizer_info){
        .kind = tok->ops->kind,
        .n_vocab = tok->vocab.n_vocab,
        .bos = tok->bos,
        .eos = tok->eos,
        .adds_bos = tok->prefix.n > 0 && tok->prefix.data[0] == tok->bos,
    };
}

const char *kvass_tokenizer_piece(const kvass_tokenizer *tok, int32_t id, size_t *n_bytes)
{
    if (id < 0 || id >= tok->vocab.n_vocab) {
        *n_bytes = 0;
        return NULL;
    }
    const tok_piece *piece = &tok->vocab.pieces[id];
    *n_bytes = piece->n_bytes;
    return tok->vocab.bytes + piece->offset;
}

bool kvass_tokenizer_is_special(const kvass_tokenizer *tok, int32_t id)
{
    return kvass_vocab_has(&tok->vocab, id) && (tok->vocab.pieces[id].flags & TOK_SPECIAL);
}

int32_t kvass_tokenizer_find(const kvass_tokenizer *tok, const char *name, size_t n_bytes)
{
    const tok_added_token *token = kvass_added_get(&tok->added, name, n_bytes);
    int32_t id = token ? token->id : kvass_vocab_word(&tok->vocab, name, n_bytes);
    /* a byte's token is no word, and some vocabularies spell words otherwise than they decode */
    for (int32_t i = 0; id < 0 && n_bytes > 0 && i < tok->vocab.n_vocab; i++) {
        const tok_piece *piece = &tok->vocab.pieces[i];
        if (piece->n_bytes == n_bytes &&
            memcmp(tok->vocab.bytes + piece->offset, name, n_bytes) == 0) {
            id = i;
        }
    }
    return id;
}

/* ---- encoding -------------------------------------------------------------------------------- */

kvass_encode_options kvass_encode_options_default(void)
{
    return (kvass_encode_options){.struct_size = sizeof(kvass_encode_options)};
}

static kvass_status check_text(const char *text, size_t n_bytes, const kvass_encode_options *opt,
                               kvass_error *err)
{
    if (n_bytes > MAX_TEXT_BYTES) {
        return kvass_fail(err, KVASS_INVALID, "TEXT_TOO_LONG", "text of %zu bytes, at most %d",
                          n_bytes, MAX_TEXT_BYTES);
    }
    size_t n_valid = opt->strict_utf8 ? kvass_utf8_valid(text, n_bytes) : n_bytes;
    if (n_valid < n_bytes) {
        return kvass_fail(err, KVASS_FORMAT, "UTF8_INVALID",
                          "text: byte %zu (0x%02x) is not valid UTF-8", n_valid,
                          (unsigned)(unsigned char)text[n_valid]);
    }
    return KVASS_OK;
}

kvass_status kvass_tokenizer_encode(const kvass_tokenizer *tok, const char *text, size_t n_bytes,
                                    const kvass_encode_options *opt, int32_t *ids, size_t cap,
                                    size_t *n_ids, kvass_error *err)
{
    if (!tok || !n_ids || (n_bytes > 0 && !text) || (cap > 0 && !ids)) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "kvass_tokenizer_encode: tok, text, ids or n_ids is NULL");
    }
    kvass_encode_options options = kvass_encode_options_default();
    kvass_status status =
        kvass_options_take(&options, sizeof options, opt, "kvass_tokenizer_encode", err);
    if (status == KVASS_OK) {
        status = check_text(text, n_bytes, &options, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    tok_run run = {.tok = tok, .opt = &options, .err = err};
    status = kvass_run_encode(&run, text, n_bytes);
    if (status == KVASS_OK) {
        size_t n = run.ids.n < cap ? run.ids.n : cap;
        if (n > 0) {
            memcpy(ids, run.ids.data, n * sizeof *ids);
        }
        *n_ids = run.ids.n;
    }
    kvass_run_close(&run);
    return status;
}
