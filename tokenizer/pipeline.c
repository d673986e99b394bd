/* pipeline.c - pipeline.h: one table of names per stage. A Sequence holds other items, one level
 * deep; a single item is a sequence of one.
 */
#include "tokenizer/pipeline.h"

#include <string.h>

/* ---- keys ------------------------------------------------------------------------------------ */

bool kvass_key_absent(const kvass_json *object, const char *key)
{
    kvass_json_kind kind = kvass_json_get_kind(kvass_json_get(object, key));
    return kind == KVASS_JSON_ABSENT || kind == KVASS_JSON_NULL;
}

static kvass_status fail_type(const kvass_json *value, const char *key, const char *expected,
                              const char *path, kvass_error *err)
{
    return kvass_fail(err, KVASS_FORMAT, "KEY_TYPE", "%s: \"%s\": expected %s, found %s", path, key,
                      expected, kvass_json_kind_name(value));
}

kvass_status kvass_key_bool(const kvass_json *object, const char *key, bool *value,
                            const char *path, kvass_error *err)
{
    const kvass_json *json = kvass_json_get(object, key);
    if (kvass_key_absent(object, key) || kvass_json_as_bool(json, value)) {
        return KVASS_OK;
    }
    return fail_type(json, key, "true or false", path, err);
}

kvass_status kvass_key_string(const kvass_json *object, const char *key, const char **value,
                              size_t *n_bytes, const char *path, kvass_error *err)
{
    const kvass_json *json = kvass_json_get(object, key);
    const char *s = kvass_json_as_string(json, n_bytes);
    if (!s) {
        return fail_type(json, key, "a string", path, err);
    }
    *value = s;
    return KVASS_OK;
}

/* ---- sequences ------------------------------------------------------------------------------- */

typedef struct stage {
    const char *what, *rule; /* for messages: "normalizer", NORMALIZER */
    const char *list;        /* key of the items of a Sequence */
    const char *path;
    void *target;
} stage;

typedef kvass_status item_fn(const stage *st, const kvass_json *item, const char *type,
                             kvass_error *err);

static kvass_status refuse(const stage *st, const char *type, kvass_error *err)
{
    return kvass_fail(err, KVASS_UNSUPPORTED, st->rule, "%s: %s \"%.100s\" is not supported",
                      st->path, st->what, type);
}

static kvass_status each_item(const stage *st, const kvass_json *json, item_fn *item,
                              kvass_error *err)
{
    kvass_json_kind kind = kvass_json_get_kind(json);
    if (kind == KVASS_JSON_ABSENT || kind == KVASS_JSON_NULL) {
        return KVASS_OK;
    }
    const char *type = "";
    size_t n;
    kvass_status status = kvass_key_string(json, "type", &type, &n, st->path, err);
    if (status != KVASS_OK || strcmp(type, "Sequence") != 0) {
        return status == KVASS_OK ? item(st, json, type, err) : status;
    }
    const kvass_json *list = kvass_json_get(json, st->list);
    if (kvass_json_get_kind(list) != KVASS_JSON_ARRAY) {
        return fail_type(list, st->list, "an array", st->path, err);
    }
    for (size_t i = 0; status == KVASS_OK && i < kvass_json_size(list); i++) {
        const kvass_json *one = kvass_json_at(list, i);
        status = kvass_key_string(one, "type", &type, &n, st->path, err);
        if (status == KVASS_OK) {
            status = item(st, one, type, err);
        }
    }
    return status;
}

/* {"String": "..."} or {"Regex": "..."}; bare strings are literal, as in older files. */
static kvass_status pattern_of(const stage *st, const kvass_json *item, const char **text,
                               size_t *n_bytes, bool *literal, kvass_error *err)
{
    const kvass_json *pattern = kvass_json_get(item, "pattern");
    *literal = true;
    *text = kvass_json_as_string(pattern, n_bytes);
    if (*text) {
        return KVASS_OK;
    }
    *literal = kvass_json_get_kind(kvass_json_get(pattern, "Regex")) == KVASS_JSON_ABSENT;
    return kvass_key_string(pattern, *literal ? "String" : "Regex", text, n_bytes, st->path, err);
}

/* ---- normalizer ------------------------------------------------------------------------------ */

static kvass_status add_normalizer(const stage *st, const kvass_json *item, const char *type,
                                   kvass_error *err)
{
    static const struct {
        const char *type;
        tok_norm_kind kind;
    } forms[] = {{"NFC", TOK_NFC}, {"NFD", TOK_NFD}, {"NFKC", TOK_NFKC}, {"NFKD", TOK_NFKD}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(type, forms[i].type) == 0) {
            return kvass_normalizer_add(st->target, forms[i].kind, NULL, 0, NULL, 0, err);
        }
    }
    const char *from = NULL, *to = NULL;
    size_t n_from = 0, n_to = 0;
    if (strcmp(type, "Prepend") == 0) {
        kvass_status status = kvass_key_string(item, "prepend", &to, &n_to, st->path, err);
        return status == KVASS_OK
                   ? kvass_normalizer_add(st->target, TOK_PREPEND, NULL, 0, to, n_to, err)
                   : status;
    }
    if (strcmp(type, "Replace") != 0) {
        return refuse(st, type, err);
    }
    bool literal;
    kvass_status status = pattern_of(st, item, &from, &n_from, &literal, err);
    if (status == KVASS_OK) {
        status = kvass_key_string(item, "content", &to, &n_to, st->path, err);
    }
    if (status == KVASS_OK && (!literal || n_from == 0)) {
        return refuse(st, "Replace (of a regular expression or of nothing)", err);
    }
    return status == KVASS_OK
               ? kvass_normalizer_add(st->target, TOK_REPLACE, from, n_from, to, n_to, err)
               : status;
}

kvass_status kvass_pipeline_normalizer(tok_normalizer *norm, const kvass_json *json,
                                       const char *path, kvass_error *err)
{
    const stage st = {"normalizer", "NORMALIZER", "normalizers", path, norm};
    return each_item(&st, json, add_normalizer, err);
}

/* ---- pre-tokenizer --------------------------------------------------------------------------- */

/* what the ByteLevel pre-tokenizer splits by unless told otherwise: GPT-2's words */
static const char gpt2_words[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                 "|\\s+(?!\\S)|\\s+";

typedef struct pretok_target {
    tok_pretok *pre;
    bool *byte_level;
} pretok_target;

static kvass_status add_split(const stage *st, const char *pattern, size_t n_bytes, bool literal,
                              tok_behavior behavior, bool invert, kvass_error *err)
{
    const pretok_target *target = st->target;
    kvass_regex *regex;
    kvass_status status = kvass_regex_open(&regex, pattern, n_bytes, literal, st->path, err);
    return status == KVASS_OK ? kvass_pretok_add(target->pre, regex, behavior, invert, err)
                              : status;
}

static kvass_status add_byte_level(const stage *st, const kvass_json *item, kvass_error *err)
{
    const pretok_target *target = st->target;
    bool add_prefix_space = true, use_regex = true;
    kvass_status status =
        kvass_key_bool(item, "add_prefix_space", &add_prefix_space, st->path, err);
    if (status == KVASS_OK) {
        status = kvass_key_bool(item, "use_regex", &use_regex, st->path, err);
    }
    if (status == KVASS_OK && add_prefix_space) {
        status = kvass_pretok_add(target->pre, NULL, TOK_ISOLATED, false, err);
    }
    if (status == KVASS_OK && use_regex) {
        status = add_split(st, gpt2_words, sizeof gpt2_words - 1, false, TOK_ISOLATED, false, err);
    }
    *target->byte_level = true;
    return status;
}

static kvass_status add_pattern(const stage *st, const kvass_json *item, kvass_error *err)
{
    static const struct {
        const char *name;
        tok_behavior behavior;
    } behaviors[] = {
        {"Isolated", TOK_ISOLATED},        {"Removed", TOK_REMOVED},
        {"Contiguous", TOK_CONTIGUOUS},    {"MergedWithPrevious", TOK_WITH_PREVIOUS},
        {"MergedWithNext", TOK_WITH_NEXT},
    };
    const char *pattern = NULL, *name = "";
    size_t n_bytes = 0, n_name;
    bool literal, invert = false;
    kvass_status status = pattern_of(st, item, &pattern, &n_bytes, &literal, err);
    if (status == KVASS_OK) {
        status = kvass_key_string(item, "behavior", &name, &n_name, st->path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_key_bool(item, "invert", &invert, st->path, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof behaviors / sizeof behaviors[0]; i++) {
        if (strcmp(name, behaviors[i].name) == 0) {
            return add_split(st, pattern, n_bytes, literal, behaviors[i].behavior, invert, err);
        }
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, st->rule,
                      "%s: %s \"Split\": behavior \"%.100s\" is not supported", st->path, st->what,
                      name);
}

static kvass_status add_pretok(const stage *st, const kvass_json *item, const char *type,
                               kvass_error *err)
{
    const pretok_target *target = st->target;
    if (*target->byte_level) {
        return kvass_fail(err, KVASS_UNSUPPORTED, st->rule,
                          "%s: %s \"%.100s\" after \"ByteLevel\" is not supported", st->path,
                          st->what, type);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return add_byte_level(st, item, err);
    }
    if (strcmp(type, "Split") == 0) {
        return add_pattern(st, item, err);
    }
    if (strcmp(type, "Digits") == 0) {
        bool individual = false;
        kvass_status status = kvass_key_bool(item, "individual_digits", &individual, st->path, err);
        tok_behavior behavior = individual ? TOK_ISOLATED : TOK_CONTIGUOUS;
        return status == KVASS_OK ? add_split(st, "\\p{N}", 5, false, behavior, false, err)
                                  : status;
    }
    return refuse(st, type, err);
}

kvass_status kvass_pipeline_pretok(tok_pretok *pre, const kvass_json *json, const char *path,
                                   bool *byte_level, kvass_error *err)
{
    pretok_target target = {pre, byte_level};
    const stage st = {"pre-tokenizer", "PRE_TOKENIZER", "pretokenizers", path, &target};
    *byte_level = false;
    return each_item(&st, json, add_pretok, err);
}

/* ---- decoder --------------------------------------------------------------------------------- */

typedef struct decoder_target {
    tok_decoding *decoding;
    bool fused;
} decoder_target;

static kvass_status add_strip(const stage *st, const kvass_json *item, kvass_error *err)
{
    const decoder_target *target = st->target;
    const char *content = "";
    size_t n;
    int64_t start = 0, stop = 0;
    kvass_status status = kvass_key_string(item, "content", &content, &n, st->path, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (!kvass_json_as_int(kvass_json_get(item, "start"), &start) ||
        !kvass_json_as_int(kvass_json_get(item, "stop"), &stop) || start != 1 || stop != 0 ||
        strcmp(content, " ") != 0 || !target->fused) {
        return refuse(st, "Strip (other than of one space at the beginning)", err);
    }
    target->decoding->strip_space = true;
    return KVASS_OK;
}

static kvass_status add_decoder(const stage *st, const kvass_json *item, const char *type,
                                kvass_error *err)
{
    decoder_target *target = st->target;
    tok_decoding *d = target->decoding;
    if (strcmp(type, "ByteLevel") == 0) {
        d->byte_level = true;
    } else if (strcmp(type, "ByteFallback") == 0) {
        d->byte_fallback = true;
    } else if (strcmp(type, "Fuse") == 0) {
        target->fused = true;
    } else if (strcmp(type, "Strip") == 0) {
        return add_strip(st, item, err);
    } else if (strcmp(type, "Replace") == 0) {
        bool literal;
        kvass_status status = pattern_of(st, item, &d->from, &d->n_from, &literal, err);
        if (status == KVASS_OK && (!literal || d->n_from == 0 || d->to || target->fused)) {
            return refuse(st, "Replace (other than of one text, before Fuse)", err);
        }
        return status == KVASS_OK
                   ? kvass_key_string(item, "content", &d->to, &d->n_to, st->path, err)
                   : status;
    } else {
        return refuse(st, type, err);
    }
    return KVASS_OK;
}

kvass_status kvass_pipeline_decoder(tok_decoding *decoding, const kvass_json *json,
                                    const char *path, kvass_error *err)
{
    *decoding = (tok_decoding){0};
    decoder_target target = {decoding, false};
    const stage st = {"decoder", "DECODER", "decoders", path, &target};
    kvass_status status = each_item(&st, json, add_decoder, err);
    if (status == KVASS_OK && decoding->byte_level && (decoding->byte_fallback || decoding->to)) {
        return refuse(&st, "ByteLevel with others", err);
    }
    return status;
}

/* ---- post-processor -------------------------------------------------------------------------- */

/* The ids of special token `name` of a template, appended to `ids`. */
static kvass_status add_template_ids(const stage *st, const kvass_json *item, const char *name,
                                     tok_ids *ids, kvass_error *err)
{
    const kvass_tokenizer *tok = st->target;
    const kvass_json *list =
        kvass_json_get(kvass_json_get(kvass_json_get(item, "special_tokens"), name), "ids");
    if (kvass_json_size(list) == 0) {
        return kvass_fail(err, KVASS_FORMAT, "TEMPLATE",
                          "%s: the template names \"%.100s\", which has no ids", st->path, name);
    }
    for (size_t i = 0; i < kvass_json_size(list); i++) {
        int64_t id = -1;
        if (!kvass_json_as_int(kvass_json_at(list, i), &id) || id < 0 || id > INT32_MAX ||
            !kvass_vocab_has(&tok->vocab, (int32_t)id)) {
            return kvass_fail(err, KVASS_FORMAT, "TEMPLATE",
                              "%s: the template's \"%.100s\" has an id that is no token", st->path,
                              name);
        }
        if (!kvass_ids_push(ids, (int32_t)id)) {
            return kvass_fail_nomem(err, sizeof(int32_t), "token ids");
        }
    }
    return KVASS_OK;
}

static kvass_status add_template(const stage *st, const kvass_json *item, kvass_error *err)
{
    kvass_tokenizer *tok = st->target;
    const kvass_json *single = kvass_json_get(item, "single");
    size_t n_texts = 0;
    for (size_t i = 0; i < kvass_json_size(single); i++) {
        const kvass_json *piece = kvass_json_at(single, i);
        const kvass_json *special = kvass_json_get(piece, "SpecialToken");
        const kvass_json *sequence = kvass_json_get(piece, "Sequence");
        const char *name = "";
        size_t n;
        kvass_status status =
            kvass_key_string(special ? special : sequence, "id", &name, &n, st->path, err);
        if (status == KVASS_OK && special) {
            status = add_template_ids(st, item, name, n_texts ? &tok->suffix : &tok->prefix, err);
        } else if (status == KVASS_OK) {
            n_texts += strcmp(name, "A") == 0 ? 1 : 2;
        }
        if (status != KVASS_OK) {
            return status;
        }
    }
    if (n_texts != 1) {
        return kvass_fail(err, KVASS_FORMAT, "TEMPLATE",
                          "%s: the template for one text does not hold text \"A\" just once",
                          st->path);
    }
    return KVASS_OK;
}

static kvass_status add_post(const stage *st, const kvass_json *item, const char *type,
                             kvass_error *err)
{
    if (strcmp(type, "ByteLevel") == 0) {
        return KVASS_OK; /* it only moves offsets, which we do not give out */
    }
    return strcmp(type, "TemplateProcessing") == 0 ? add_template(st, item, err)
                                                   : refuse(st, type, err);
}

kvass_status kvass_pipeline_post(kvass_tokenizer *tok, const kvass_json *json, const char *path,
                                 kvass_error *err)
{
    const stage st = {"post-processor", "POST_PROCESSOR", "processors", path, tok};
    return each_item(&st, json, add_post, err);
}
