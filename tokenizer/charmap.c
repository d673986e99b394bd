/* charmap.c - the reader of character-level vocabularies: the meta.pkl that nanoGPT writes, with
 * "stoi" (text to id) and "itos" (id to text), and the same as JSON, where the bare {"a": 0, ...}
 * will do as well.
 * Every character is a token. Longer texts in such a map are control tokens. A character that the
 * map lacks cannot be encoded.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/pickle.h"
#include "tokenizer/build.h"
#include "tokenizer/utf8.h"
#include "tokenizer/wordlevel.h"

#define MAX_PICKLE_BYTES ((size_t)16 << 20)

/* What the file says of one id; the text is a view into the document. */
typedef struct entry {
    int64_t id;
    const char *text;
    size_t n_bytes;
} entry;

typedef struct entries {
    entry *data; /* [n] */
    size_t n, cap;
} entries;

static bool is_character(const char *text, size_t n)
{
    return n > 0 && kvass_utf8_char(text, n, NULL) == n;
}

/* ---- which files ----------------------------------------------------------------------------- */

static bool is_pickle(const tok_source *source)
{
    return source->n_head > 2 && source->head[0] == 0x80 && source->head[1] >= 2 &&
           source->head[1] <= 5 && source->head[2] != 0;
}

/* {"a": 0, "b": 1, ...}, which is no vocab.json of a pair */
static bool is_bare_map(const tok_source *source)
{
    void *it = kvass_json_iter(source->json);
    bool ok = it != NULL;
    for (; it && ok; it = kvass_json_next(source->json, it)) {
        const char *key = kvass_json_iter_key(it);
        ok = kvass_json_get_kind(kvass_json_iter_value(it)) == KVASS_JSON_INT &&
             is_character(key, strlen(key));
    }
    char *merges = ok ? kvass_path_beside(source->path, "merges.txt") : NULL;
    ok = merges && access(merges, F_OK) != 0;
    free(merges);
    return ok;
}

/* A map in the document; a number is the id of a token that is called so. */
static bool has_map(const tok_source *source, const char *key)
{
    const kvass_json *value = kvass_json_get(source->json, key);
    return value && kvass_json_get_kind(value) != KVASS_JSON_INT;
}

static bool fits(const tok_source *source)
{
    return is_pickle(source) || has_map(source, "stoi") || has_map(source, "itos") ||
           is_bare_map(source);
}

/* ---- collecting ------------------------------------------------------------------------------ */

static kvass_status add(entries *all, int64_t id, const char *text, size_t n_bytes,
                        kvass_error *err)
{
    if (all->n == all->cap) { /* the document holds more bytes for each entry */
        size_t cap = all->cap ? 2 * all->cap : 256;
        entry *grown = realloc(all->data, cap * sizeof *grown);
        if (!grown) {
            return kvass_fail_nomem(err, cap * sizeof *grown, "a map of characters");
        }
        all->data = grown;
        all->cap = cap;
    }
    all->data[all->n++] = (entry){id, text, n_bytes};
    return KVASS_OK;
}

static kvass_status refuse(const char *path, const char *key, const char *expected,
                           const char *found, kvass_error *err)
{
    return kvass_fail(err, KVASS_FORMAT, "CHARACTER_MAP", "%s: \"%s\": expected %s, found %s", path,
                      key, expected, found);
}

/* text[n], digits alone, as an id */
static bool parse_id(const char *text, size_t n, int64_t *id)
{
    *id = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        *id = *id * 10 + (text[i] - '0');
    }
    return n > 0 && n < 10;
}

static kvass_status json_stoi(const kvass_json *map, const char *path, entries *all,
                              kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (void *it = kvass_json_iter(map); it && status == KVASS_OK; it = kvass_json_next(map, it)) {
        const char *key = kvass_json_iter_key(it);
        int64_t id;
        if (!kvass_json_as_int(kvass_json_iter_value(it), &id)) {
            return refuse(path, "stoi", "whole numbers",
                          kvass_json_kind_name(kvass_json_iter_value(it)), err);
        }
        status = add(all, id, key, strlen(key), err);
    }
    return status;
}

/* {"0": "a", ...} or ["a", ...] */
static kvass_status json_itos(const kvass_json *map, const char *path, entries *all,
                              kvass_error *err)
{
    kvass_status status = KVASS_OK;
    void *it = kvass_json_iter(map);
    bool list = kvass_json_get_kind(map) == KVASS_JSON_ARRAY;
    for (size_t i = 0; i < kvass_json_size(map) && status == KVASS_OK; i++) {
        const kvass_json *value = list ? kvass_json_at(map, i) : kvass_json_iter_value(it);
        const char *key = list ? "" : kvass_json_iter_key(it);
        int64_t id = (int64_t)i;
        size_t n = 0;
        const char *text = kvass_json_as_string(value, &n);
        if (!text || (!list && !parse_id(key, strlen(key), &id))) {
            return refuse(path, "itos", "texts by ids", kvass_json_kind_name(value), err);
        }
        status = add(all, id, text, n, err);
        it = list ? NULL : kvass_json_next(map, it);
    }
    return status;
}

static kvass_status pickle_stoi(const kvass_pickle *p, kvass_pickle_node map, const char *path,
                                entries *all, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (kvass_pickle_item i = kvass_pickle_first(p, map); i && status == KVASS_OK;
         i = kvass_pickle_next(p, i)) {
        size_t n = 0;
        int64_t id;
        const char *text = kvass_pickle_text(p, kvass_pickle_key(p, i), &n);
        if (!text || !kvass_pickle_int(p, kvass_pickle_value(p, i), &id)) {
            return refuse(
                path, "stoi", "ids by texts",
                kvass_pickle_kind_name(p, text ? kvass_pickle_value(p, i) : kvass_pickle_key(p, i)),
                err);
        }
        status = add(all, id, text, n, err);
    }
    return status;
}

static kvass_status pickle_itos(const kvass_pickle *p, kvass_pickle_node map, const char *path,
                                entries *all, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    bool list = kvass_pickle_get_kind(p, map) == KVASS_PICKLE_LIST;
    int64_t id = -1;
    for (kvass_pickle_item i = kvass_pickle_first(p, map); i && status == KVASS_OK;
         i = kvass_pickle_next(p, i)) {
        size_t n = 0;
        const char *text = kvass_pickle_text(p, kvass_pickle_value(p, i), &n);
        bool has_id = list || kvass_pickle_int(p, kvass_pickle_key(p, i), &id);
        id += list;
        if (!text || !has_id) {
            return refuse(
                path, "itos", "texts by ids",
                kvass_pickle_kind_name(p, text ? kvass_pickle_key(p, i) : kvass_pickle_value(p, i)),
                err);
        }
        status = add(all, id, text, n, err);
    }
    return status;
}

/* ---- building -------------------------------------------------------------------------------- */

static kvass_status check(const tok_source *source, const entries *all, int32_t *n_vocab,
                          size_t *n_bytes, kvass_error *err)
{
    int64_t highest = -1;
    *n_bytes = 0;
    for (size_t i = 0; i < all->n; i++) {
        const entry *e = &all->data[i];
        if (e->id < 0 || e->id >= KVASS_MAX_VOCAB || e->n_bytes == 0 ||
            e->n_bytes > ADDED_MAX_BYTES) {
            return kvass_fail(err, KVASS_FORMAT, "CHARACTER_MAP",
                              "%s: id %lld for %zu bytes, expected an id in 0 .. %d and 1 .. %d "
                              "bytes",
                              source->path, (long long)e->id, e->n_bytes, KVASS_MAX_VOCAB - 1,
                              ADDED_MAX_BYTES);
        }
        highest = e->id > highest ? e->id : highest;
        *n_bytes += e->n_bytes;
    }
    if (highest < 0) {
        return kvass_fail(err, KVASS_FORMAT, "CHARACTER_MAP",
                          "%s: expected \"stoi\" or \"itos\" with characters in it", source->path);
    }
    if (source->n_vocab > 0 && highest >= source->n_vocab) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE",
                          "%s: ids up to %lld, but the model has %d tokens", source->path,
                          (long long)highest, source->n_vocab);
    }
    *n_vocab = (int32_t)(highest + 1);
    return KVASS_OK;
}

static kvass_status add_token(kvass_tokenizer *tok, const entry *e, kvass_error *err)
{
    int32_t id = (int32_t)e->id;
    bool character = is_character(e->text, e->n_bytes), fresh = false;
    kvass_vocab_set(&tok->vocab, id, e->text, e->n_bytes, character ? 0 : TOK_SPECIAL);
    if (character) {
        return kvass_vocab_add_word(&tok->vocab, id, e->text, e->n_bytes, NULL, err);
    }
    tok_added_token token = {.id = id, .special = true};
    return kvass_added_put(&tok->added, &token, e->text, e->n_bytes, &fresh, err);
}

/* Each entry defines an id, or says again what is known of it. */
static kvass_status build(kvass_tokenizer *tok, const tok_source *source, const entries *all,
                          kvass_error *err)
{
    int32_t n_vocab = 0;
    size_t n_bytes = 0;
    kvass_status status = check(source, all, &n_vocab, &n_bytes, err);
    if (status == KVASS_OK) {
        status = kvass_vocab_open(&tok->vocab, n_vocab, n_bytes, err);
    }
    for (size_t i = 0; i < all->n && status == KVASS_OK; i++) {
        const entry *e = &all->data[i];
        size_t n = 0;
        const char *old = kvass_tokenizer_piece(tok, (int32_t)e->id, &n);
        bool known = kvass_vocab_has(&tok->vocab, (int32_t)e->id);
        bool same = known && n == e->n_bytes && memcmp(old, e->text, n) == 0;
        const tok_added_token *named = kvass_added_get(&tok->added, e->text, e->n_bytes);
        int32_t word = named ? named->id : kvass_vocab_word(&tok->vocab, e->text, e->n_bytes);
        if (!same && (known || word >= 0)) {
            status = kvass_fail(err, KVASS_FORMAT, "CHARACTER_MAP",
                                "%s: \"%.*s\" with id %lld contradicts what else the file says of "
                                "%s",
                                source->path, (int)(e->n_bytes < 40 ? e->n_bytes : 40), e->text,
                                (long long)e->id, known ? "this id" : "this text");
        } else if (!same) {
            status = add_token(tok, e, err);
        }
    }
    return status;
}

static bool every(uint32_t cp)
{
    (void)cp;
    return true;
}

static kvass_status set_model(kvass_tokenizer *tok, kvass_error *err)
{
    tok_pre_step step = {.kind = TOK_PRE_SPLIT, .is = every, .behavior = TOK_ISOLATED};
    tok_wordlevel *model;
    kvass_status status = kvass_pretok_add(&tok->pre, step, err);
    status = status == KVASS_OK ? kvass_wordlevel_open(tok, &model, err) : status;
    if (status == KVASS_OK) {
        tok->ops = &kvass_characters_ops;
    }
    return status;
}

/* ---- the reader ------------------------------------------------------------------------------ */

static kvass_status collect_pickle(const tok_source *source, kvass_pickle **p, char **text,
                                   entries *all, kvass_error *err)
{
    static const char *const functions[] = {NULL};
    size_t n;
    kvass_status status = kvass_file_slurp(source->path, MAX_PICKLE_BYTES, text, &n, err);
    if (status == KVASS_OK) {
        status = kvass_pickle_read(p, *text, n, functions, source->path, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    kvass_pickle_node root = kvass_pickle_root(*p);
    if (kvass_pickle_get_kind(*p, root) != KVASS_PICKLE_DICT) {
        return kvass_fail(err, KVASS_FORMAT, "CHARACTER_MAP",
                          "%s: expected a dictionary with \"stoi\" and \"itos\", found %s",
                          source->path, kvass_pickle_kind_name(*p, root));
    }
    kvass_pickle_node stoi = kvass_pickle_get(*p, root, "stoi");
    kvass_pickle_node itos = kvass_pickle_get(*p, root, "itos");
    kvass_pickle_kind kind = kvass_pickle_get_kind(*p, itos);
    if (stoi && kvass_pickle_get_kind(*p, stoi) != KVASS_PICKLE_DICT) {
        return refuse(source->path, "stoi", "a dictionary", kvass_pickle_kind_name(*p, stoi), err);
    }
    if (itos && kind != KVASS_PICKLE_DICT && kind != KVASS_PICKLE_LIST) {
        return refuse(source->path, "itos", "a dictionary or a list",
                      kvass_pickle_kind_name(*p, itos), err);
    }
    status = stoi ? pickle_stoi(*p, stoi, source->path, all, err) : KVASS_OK;
    return status == KVASS_OK && itos ? pickle_itos(*p, itos, source->path, all, err) : status;
}

static kvass_status collect_json(const tok_source *source, entries *all, kvass_error *err)
{
    const kvass_json *stoi = kvass_json_get(source->json, "stoi");
    const kvass_json *itos = kvass_json_get(source->json, "itos");
    if (!stoi && !itos) {
        return json_stoi(source->json, source->path, all, err);
    }
    kvass_json_kind kind = kvass_json_get_kind(itos);
    if (stoi && kvass_json_get_kind(stoi) != KVASS_JSON_OBJECT) {
        return refuse(source->path, "stoi", "an object", kvass_json_kind_name(stoi), err);
    }
    if (itos && kind != KVASS_JSON_OBJECT && kind != KVASS_JSON_ARRAY) {
        return refuse(source->path, "itos", "an object or an array", kvass_json_kind_name(itos),
                      err);
    }
    kvass_status status = json_stoi(stoi, source->path, all, err);
    return status == KVASS_OK ? json_itos(itos, source->path, all, err) : status;
}

static kvass_status read_map(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    entries all = {0};
    kvass_pickle *p = NULL;
    char *text = NULL;
    kvass_status status = source->json ? collect_json(source, &all, err)
                                       : collect_pickle(source, &p, &text, &all, err);
    if (status == KVASS_OK) {
        status = build(tok, source, &all, err);
    }
    if (status == KVASS_OK) {
        status = set_model(tok, err);
    }
    kvass_pickle_close(&p);
    free(text);
    free(all.data);
    return status;
}

const tok_reader kvass_reader_charmap = {fits, read_map};
