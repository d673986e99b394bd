/* build.c - build.h. The vocabulary is walked twice: once to check every id and to learn the sizes,
 * then to fill. Every count that sizes memory is bounded by what the file really holds.
 */
#include "tokenizer/build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_MARK (sizeof WORD_MARK - 1)

void kvass_build_close(tok_build *b)
{
    kvass_map_close(&b->by_text);
    free(b->texts);
    b->texts = NULL;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

/* A walk over {"token": id, ...} or [["token", score], ...], where the place is the id. */
typedef struct walk {
    const kvass_json *vocab, *value; /* value: of the current entry */
    void *it;
    size_t i;
    const char *text;
} walk;

static bool begin_entry(walk *w)
{
    const kvass_json *one = kvass_json_at(w->vocab, w->i);
    if (w->it) {
        w->text = kvass_json_iter_key(w->it);
        w->value = kvass_json_iter_value(w->it);
        return true;
    }
    w->text = kvass_json_as_string(kvass_json_at(one, 0), NULL);
    w->value = one;
    return w->i < kvass_json_size(w->vocab) && kvass_json_get_kind(w->vocab) == KVASS_JSON_ARRAY;
}

static bool first_entry(walk *w, const kvass_json *vocab)
{
    *w = (walk){.vocab = vocab, .it = kvass_json_iter(vocab)};
    return begin_entry(w);
}

static bool next_entry(walk *w)
{
    if (kvass_json_get_kind(w->vocab) == KVASS_JSON_OBJECT) {
        w->it = kvass_json_next(w->vocab, w->it);
        return w->it && begin_entry(w);
    }
    w->i++;
    return begin_entry(w);
}

static kvass_status entry_id(const tok_build *b, const walk *w, int64_t *id, kvass_error *err)
{
    *id = (int64_t)w->i;
    if (!w->it) {
        double score;
        bool ok = w->text && kvass_json_size(w->value) == 2 && w->i < KVASS_MAX_VOCAB &&
                  kvass_json_as_real(kvass_json_at(w->value, 1), &score);
        return ok ? KVASS_OK
                  : kvass_fail(
                        err, KVASS_FORMAT, "VOCAB_ENTRY",
                        "%s: vocab[%zu]: expected [\"token\", score], and at most %d of them",
                        b->path, w->i, KVASS_MAX_VOCAB);
    }
    *id = 0;
    if (kvass_json_as_int(w->value, id) && *id >= 0 && *id < KVASS_MAX_VOCAB) {
        return KVASS_OK;
    }
    char found[32];
    (void)snprintf(found, sizeof found, "%lld", (long long)*id);
    bool is_int = kvass_json_get_kind(w->value) == KVASS_JSON_INT;
    return kvass_fail(
        err, KVASS_FORMAT, "VOCAB_ID", "%s: vocab[\"%.100s\"]: expected an id in 0 .. %d, found %s",
        b->path, w->text, KVASS_MAX_VOCAB - 1, is_int ? found : kvass_json_kind_name(w->value));
}

/* Check all ids; *n_vocab is the highest + 1, *n_bytes what the pieces take. */
static kvass_status measure(const tok_build *b, const kvass_json *vocab, const tok_entry *entries,
                            size_t n_entries, int32_t *n_vocab, size_t *n_bytes, kvass_error *err)
{
    int64_t id = 0, highest = -1;
    *n_bytes = 0;
    walk w;
    for (bool more = first_entry(&w, vocab); more; more = next_entry(&w)) {
        kvass_status status = entry_id(b, &w, &id, err);
        if (status != KVASS_OK) {
            return status;
        }
        highest = id > highest ? id : highest;
        size_t n = strlen(w.text);
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

static kvass_status add_piece(tok_build *b, const char *text, int32_t id, char *scratch,
                              kvass_error *err)
{
    tok_vocab *vocab = &b->tok->vocab;
    if (b->texts[id]) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_ID",
                          "%s: vocab[\"%.100s\"]: id %d belongs to \"%.100s\" already", b->path,
                          text, id, b->texts[id]);
    }
    b->texts[id] = text;
    size_t n = strlen(text); /* the JSON reader allows no NUL */
    int32_t old = -1;
    bool is_word;
    size_t n_piece = decode_piece(&b->decoding, text, n, scratch, &is_word);
    kvass_vocab_set(vocab, id, scratch, n_piece, 0);
    kvass_status status = kvass_map_put(b->by_text, text, n, id, &old, err);
    if (status == KVASS_OK && old >= 0) { /* JSON objects have no key twice, lists may */
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_ENTRY",
                          "%s: vocab[%d]: \"%.100s\" is vocab[%d]", b->path, id, text, old);
    }
    if (status == KVASS_OK && is_word) {
        /* words are spelled as the model meets them: bytes, or normalized text */
        const char *word = b->decoding.byte_level ? scratch : text;
        status = kvass_vocab_add_word(vocab, id, word, b->decoding.byte_level ? n_piece : n, err);
    }
    return status;
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
    int32_t there = kvass_map_get(b->by_text, content, n);
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
    size_t n_bytes = 0;
    kvass_status status = measure(b, vocab, entries, n_entries, &n_vocab, &n_bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (n_vocab == 0) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE", "%s: the vocabulary is empty", b->path);
    }
    char *scratch = malloc(n_bytes + 1);
    b->texts = calloc((size_t)n_vocab, sizeof *b->texts);
    if (!scratch || !b->texts) {
        status = kvass_fail_nomem(err, n_bytes, "the vocabulary");
    }
    if (status == KVASS_OK) {
        status = kvass_map_open(&b->by_text, err);
    }
    if (status == KVASS_OK) {
        status = kvass_vocab_open(&b->tok->vocab, n_vocab, n_bytes, err);
    }
    walk w;
    for (bool more = first_entry(&w, vocab); status == KVASS_OK && more; more = next_entry(&w)) {
        int64_t id;
        (void)entry_id(b, &w, &id, NULL);
        status = add_piece(b, w.text, (int32_t)id, scratch, err);
    }
    free(scratch);
    for (size_t i = 0; status == KVASS_OK && i < n_entries; i++) {
        status = add_entry(b, i, &entries[i], err);
    }
    return status;
}

/* ---- merges ---------------------------------------------------------------------------------- */

void kvass_build_byte_ids(const tok_build *b, int32_t byte_ids[256])
{
    static const char digits[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; byte++) {
        char name[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        byte_ids[byte] = kvass_map_get(b->by_text, name, sizeof name);
    }
}

kvass_status kvass_build_bpe(tok_build *b, size_t n_merges, tok_bpe **bpe, kvass_error *err)
{
    kvass_status status = kvass_bpe_open(bpe, &b->tok->vocab, n_merges, err);
    if (status != KVASS_OK) {
        return status;
    }
    b->tok->ops = &kvass_bpe_ops;
    b->tok->model = *bpe;
    (*bpe)->by_char = !b->decoding.byte_level;
    (*bpe)->by_words = (*bpe)->by_char && kvass_map_get(b->by_text, WORD_MARK, N_MARK) >= 0;
    for (int byte = 0; byte < 256 && b->decoding.byte_level; byte++) {
        char self = (char)byte;
        (*bpe)->byte_ids[byte] = kvass_vocab_word(&b->tok->vocab, &self, 1);
    }
    if (!b->decoding.byte_level && b->decoding.byte_fallback) {
        kvass_build_byte_ids(b, (*bpe)->byte_ids);
    }
    return KVASS_OK;
}

kvass_status kvass_build_merge(tok_build *b, tok_bpe *bpe, size_t i, const char *left,
                               size_t n_left, const char *right, size_t n_right, kvass_error *err)
{
    int32_t l = kvass_map_get(b->by_text, left, n_left);
    int32_t r = kvass_map_get(b->by_text, right, n_right);
    if (l < 0 || r < 0) {
        size_t n_part = l < 0 ? n_left : n_right;
        return kvass_fail(err, KVASS_FORMAT, "MERGE_PART",
                          "%s: merges[%zu]: \"%.*s\" is not in the vocabulary", b->path, i,
                          (int)(n_part < 100 ? n_part : 100), l < 0 ? left : right);
    }
    char stack[256], *both = stack;
    size_t n = n_left + n_right;
    if (n > sizeof stack && !(both = malloc(n))) {
        return kvass_fail_nomem(err, n, "a merge");
    }
    memcpy(both, left, n_left);
    memcpy(both + n_left, right, n_right);
    int32_t merged = kvass_map_get(b->by_text, both, n);
    bpe->by_words = bpe->by_words && !kvass_merge_crosses(both, n, WORD_MARK, N_MARK);
    if (both != stack) {
        free(both);
    }
    if (merged < 0) {
        return kvass_fail(
            err, KVASS_FORMAT, "MERGE_RESULT",
            "%s: merges[%zu]: \"%.60s\" and \"%.60s\" together are not in the vocabulary", b->path,
            i, b->texts[l], b->texts[r]);
    }
    bool fresh = false;
    kvass_status status = kvass_bpe_add(bpe, l, r, merged, &fresh, err);
    if (status == KVASS_OK && !fresh) {
        status = kvass_fail(err, KVASS_FORMAT, "MERGE_DUPLICATE",
                            "%s: merges[%zu]: \"%.60s\" and \"%.60s\" were merged before", b->path,
                            i, b->texts[l], b->texts[r]);
    }
    return status;
}

kvass_status kvass_build_merge_line(tok_build *b, tok_bpe *bpe, size_t i, const char *text,
                                    size_t n, kvass_error *err)
{
    const char *space = memchr(text, ' ', n);
    size_t n_left = space ? (size_t)(space - text) : 0;
    size_t n_right = space ? n - n_left - 1 : 0;
    if (n_left == 0 || n_right == 0 || memchr(space + 1, ' ', n_right)) {
        return kvass_fail(err, KVASS_FORMAT, "MERGE_FORMAT",
                          "%s: merges[%zu]: expected two tokens parted by a space, found \"%.*s\"",
                          b->path, i, (int)(n < 100 ? n : 100), text);
    }
    return kvass_build_merge(b, bpe, i, text, n_left, space + 1, n_right, err);
}
