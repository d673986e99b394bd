/* build.c - build.h. The vocabulary is listed first (build_list.c), which tells the sizes, then
 * filled in. Every count that sizes memory is bounded by what the file really holds.
 */
#include "tokenizer/build.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

void kvass_build_close(tok_build *b)
{
    kvass_words_close(&b->others);
    free(b->listed);
    free(b->texts);
    free(b->scratch);
    b->listed = NULL;
    b->texts = NULL;
    b->scratch = NULL;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

/* *n_vocab is the highest id + 1, *n_bytes what the pieces take, with those of the entries, which
 * are checked. */
static kvass_status measure(const tok_build *b, const tok_entry *entries, size_t n_entries,
                            int32_t *n_vocab, size_t *n_bytes, kvass_error *err)
{
    int64_t highest = -1;
    *n_bytes = 0;
    for (size_t i = 0; i < b->n_listed; i++) {
        size_t n = b->listed[i].n_bytes;
        highest = b->listed[i].id > highest ? b->listed[i].id : highest;
        *n_bytes += n > b->decoding.n_to ? n : n * (b->decoding.n_to + 1);
    }
    for (size_t i = 0; i < n_entries; i++) {
        const char *content = NULL;
        size_t n = 0;
        content = kvass_json_as_string(kvass_json_get(entries[i].fields, "content"), &n);
        if (!content) {
            return kvass_fail(err, KVASS_FORMAT, "ADDED_TOKEN",
                              "%s: added token %zu: \"content\": expected a string, found %s",
                              b->path, i,
                              kvass_json_kind_name(kvass_json_get(entries[i].fields, "content")));
        }
        if (entries[i].id < 0 || entries[i].id >= KVASS_MAX_VOCAB || n == 0 ||
            n > ADDED_MAX_BYTES) {
            return kvass_fail(err, KVASS_FORMAT, "ADDED_TOKEN",
                              "%s: added token %zu: id %lld and %zu bytes, expected an id in "
                              "0 .. %d and 1 .. %d bytes",
                              b->path, i, (long long)entries[i].id, n, KVASS_MAX_VOCAB - 1,
                              ADDED_MAX_BYTES);
        }
        highest = entries[i].id > highest ? entries[i].id : highest;
        *n_bytes += n * (b->decoding.n_to + 1);
    }
    *n_vocab = (int32_t)(highest + 1);
    return *n_bytes <= UINT32_MAX
               ? KVASS_OK
               : kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE",
                            "%s: the vocabulary decodes to %zu bytes, at most %u", b->path,
                            *n_bytes, UINT32_MAX);
}

/* What `text` decodes to, into out; *is_word = false when no text can become it. */
static size_t decode_piece(const tok_decoding *d, const char *text, size_t n, char *out,
                           bool *is_word)
{
    size_t n_out = 0;
    *is_word = true;
    if (d->byte_level) {
        if (kvass_bytelevel_decode(text, n, out, &n_out)) {
            return n_out;
        }
        *is_word = false; /* outside the alphabet: it only names itself */
        memcpy(out, text, n);
        return n;
    }
    int byte = d->byte_fallback ? kvass_vocab_byte_name(text, n) : -1;
    if (byte >= 0) {
        *is_word = false;
        out[0] = (char)byte;
        return 1;
    }
    for (size_t i = 0; i < n;) {
        if (d->from && n - i >= d->n_from && memcmp(text + i, d->from, d->n_from) == 0) {
            memcpy(out + n_out, d->to, d->n_to);
            n_out += d->n_to;
            i += d->n_from;
        } else {
            out[n_out++] = text[i++];
        }
    }
    return n_out;
}

/* The text listed for an id. */
static const tok_listed *listed_for(const tok_build *b, int32_t id)
{
    size_t i = 0;
    while (i < b->n_listed && b->listed[i].id != id) {
        i++;
    }
    return i < b->n_listed ? &b->listed[i] : NULL;
}

static int at_most(size_t n, int most)
{
    return n < (size_t)most ? (int)n : most;
}

static kvass_status add_piece(tok_build *b, const tok_listed *one, kvass_error *err)
{
    tok_vocab *vocab = &b->tok->vocab;
    const char *text = b->texts + one->offset;
    size_t n = one->n_bytes;
    int32_t id = one->id;
    if (kvass_vocab_has(vocab, id)) {
        const tok_listed *first = listed_for(b, id);
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_ID",
                          "%s: vocab[\"%.*s\"]: id %d belongs to \"%.*s\" already", b->path,
                          at_most(n, 100), text, id, at_most(first->n_bytes, 100),
                          b->texts + first->offset);
    }
    int32_t old = -1;
    bool is_word;
    size_t n_piece = decode_piece(&b->decoding, text, n, b->scratch, &is_word);
    kvass_vocab_set(vocab, id, b->scratch, n_piece, 0);
    kvass_status status;
    if (!is_word) {
        status = kvass_words_add(&b->others, id, text, n, &old, err);
    } else if (b->decoding.byte_level) { /* words are spelled as the model meets them */
        status = kvass_vocab_add_word(vocab, id, b->scratch, n_piece, &old, err);
    } else {
        status = kvass_vocab_add_word(vocab, id, text, n, &old, err);
    }
    if (status == KVASS_OK && old >= 0) { /* JSON objects have no key twice, lists may */
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_ENTRY", "%s: vocab[%d]: \"%.*s\" is vocab[%d]",
                          b->path, id, at_most(n, 100), text, old);
    }
    return status;
}

int32_t kvass_build_find(const tok_build *b, const char *text, size_t n)
{
    size_t n_word = n;
    if (n > b->longest) {
        return -1;
    }
    int32_t id;
    if (!b->decoding.byte_level) {
        id = kvass_vocab_word(&b->tok->vocab, text, n);
    } else if (kvass_bytelevel_decode(text, n, b->scratch, &n_word)) {
        return kvass_vocab_word(&b->tok->vocab, b->scratch, n_word);
    } else {
        id = -1;
    }
    return id >= 0 ? id : kvass_words_get(&b->others, text, n);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static kvass_status read_flags(const tok_build *b, const kvass_json *fields, tok_added_token *token,
                               kvass_error *err)
{
    struct {
        const char *key;
        bool *value;
    } flags[] = {{"lstrip", &token->lstrip},
                 {"rstrip", &token->rstrip},
                 {"single_word", &token->single_word},
                 {"normalized", &token->normalized}};
    kvass_status status = kvass_key_bool(fields, "special", &token->special, b->path, err);
    token->normalized = !token->special;
    for (size_t i = 0; status == KVASS_OK && i < sizeof flags / sizeof flags[0]; i++) {
        status = kvass_key_bool(fields, flags[i].key, flags[i].value, b->path, err);
    }
    return status;
}

/* Whether id and content agree with the vocabulary and the tokens added before. */
static kvass_status check_entry(const tok_build *b, size_t i, int32_t id, const char *content,
                                size_t n, kvass_error *err)
{
    const tok_vocab *vocab = &b->tok->vocab;
    int32_t there = kvass_build_find(b, content, n);
    bool taken = kvass_vocab_has(vocab, id) && there != id;
    if (!taken && (there < 0 || there == id)) {
        return KVASS_OK;
    }
    return kvass_fail(err, KVASS_FORMAT, "ADDED_TOKEN",
                      "%s: added token %zu, \"%.100s\": id %d, but the vocabulary has %s %d",
                      b->path, i, content, id, taken ? "another token at" : "that token at",
                      taken ? id : there);
}

/* What an added token that the vocabulary lacks decodes to: its name, but for the replacement. */
static kvass_status set_added(tok_build *b, int32_t id, const char *content, size_t n,
                              kvass_error *err)
{
    tok_decoding replacement = {.from = b->decoding.from,
                                .to = b->decoding.to,
                                .n_from = b->decoding.n_from,
                                .n_to = b->decoding.n_to};
    char *text = malloc(n * (b->decoding.n_to + 1));
    if (!text) {
        return kvass_fail_nomem(err, n, "an added token");
    }
    bool is_word;
    size_t n_text = decode_piece(&replacement, content, n, text, &is_word);
    kvass_vocab_set(&b->tok->vocab, id, text, n_text, 0);
    free(text);
    return KVASS_OK;
}

static kvass_status add_entry(tok_build *b, size_t i, const tok_entry *entry, kvass_error *err)
{
    kvass_tokenizer *tok = b->tok;
    tok_added_token token = {.id = (int32_t)entry->id};
    const char *content = NULL;
    size_t n = 0;
    char *owned = NULL;
    kvass_status status = read_flags(b, entry->fields, &token, err);
    if (status == KVASS_OK) {
        status = kvass_key_string(entry->fields, "content", &content, &n, b->path, err);
    }
    if (status == KVASS_OK) {
        status = check_entry(b, i, token.id, content, n, err);
    }
    if (status == KVASS_OK && !kvass_vocab_has(&tok->vocab, token.id)) {
        status = set_added(b, token.id, content, n, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    tok->vocab.pieces[token.id].flags |= token.special ? TOK_SPECIAL : 0;
    const char *name = content;
    size_t n_name = n;
    bool fresh = false;
    if (token.normalized) {
        status = kvass_normalizer_run(&tok->norm, content, n, &name, &n_name, &owned, err);
    }
    if (status == KVASS_OK && n_name > 0) {
        status = kvass_added_put(&tok->added, &token, name, n_name, &fresh, err);
    }
    if (status == KVASS_OK && !fresh) {
        status = kvass_fail(err, KVASS_FORMAT, "ADDED_TOKEN",
                            "%s: added token %zu, \"%.100s\": its name is empty, or taken", b->path,
                            i, content);
    }
    free(owned);
    return status;
}

kvass_status kvass_build_vocab(tok_build *b, const kvass_json *vocab, const tok_entry *entries,
                               size_t n_entries, kvass_error *err)
{
    int32_t n_vocab = 0;
    size_t n_bytes = 0, n_scratch = 0;
    kvass_status status = kvass_build_list(b, vocab, err);
    if (status == KVASS_OK) {
        status = measure(b, entries, n_entries, &n_vocab, &n_bytes, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    if (n_vocab == 0) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE", "%s: the vocabulary is empty", b->path);
    }
    if (!kvass_mul_size(b->longest + 1, b->decoding.n_to + 2, &n_scratch) ||
        !(b->scratch = malloc(n_scratch))) {
        return kvass_fail_nomem(err, n_scratch, "the vocabulary");
    }
    status = kvass_words_open(&b->others, n_vocab, 0, err);
    if (status == KVASS_OK) {
        status = kvass_vocab_open(&b->tok->vocab, n_vocab, n_bytes, err);
    }
    for (size_t i = 0; status == KVASS_OK && i < b->n_listed; i++) {
        status = add_piece(b, &b->listed[i], err);
    }
    for (size_t i = 0; status == KVASS_OK && i < n_entries; i++) {
        status = add_entry(b, i, &entries[i], err);
    }
    return status;
}
