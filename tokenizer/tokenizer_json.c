/* tokenizer_json.c - the reader of tokenizer.json.
 * The stages around the model are read by pipeline.c, vocabulary and added tokens by build.c; this
 * file knows the document's outline and the options of the BPE model.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/build.h"

static bool fits(const tok_source *source)
{
    return kvass_json_get_kind(kvass_json_get(source->json, "model")) == KVASS_JSON_OBJECT;
}

/* ---- what must not be there ------------------------------------------------------------------ */

/* Options of the model that would change the result and are not supported. */
static kvass_status check_model(const kvass_json *model, const char *path, kvass_error *err)
{
    const kvass_json *type = kvass_json_get(model, "type");
    const char *name = kvass_json_as_string(type, NULL);
    if ((name && strcmp(name, "BPE") != 0) || (!name && !kvass_json_get(model, "merges"))) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "TOKENIZER_MODEL",
                          "%s: model type \"%.100s\" is not supported, only BPE is", path,
                          name ? name : kvass_json_kind_name(type));
    }
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *affix = "";
        size_t n = 0;
        if (!kvass_key_absent(model, affixes[i])) {
            kvass_status status = kvass_key_string(model, affixes[i], &affix, &n, path, err);
            if (status != KVASS_OK) {
                return status;
            }
        }
        if (n > 0) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "BPE_OPTION",
                              "%s: model: %s \"%.100s\" is not supported", path, affixes[i], affix);
        }
    }
    double dropout = 0;
    if (!kvass_key_absent(model, "dropout") &&
        (!kvass_json_as_real(kvass_json_get(model, "dropout"), &dropout) || dropout != 0)) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "BPE_OPTION",
                          "%s: model: dropout (a random encoding) is not supported", path);
    }
    return KVASS_OK;
}

/* We never cut a text, so truncation is not applied; but a file that contradicts itself is no good.
 */
static kvass_status check_outline(const kvass_json *root, const char *path, kvass_error *err)
{
    const char *version = kvass_json_as_string(kvass_json_get(root, "version"), NULL);
    if (!kvass_key_absent(root, "version") && (!version || strcmp(version, "1.0") != 0)) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "TOKENIZER_VERSION",
                          "%s: version \"%.40s\", expected \"1.0\"", path,
                          version ? version : "not a string");
    }
    const kvass_json *truncation = kvass_json_get(root, "truncation");
    int64_t stride, longest;
    if (kvass_json_as_int(kvass_json_get(truncation, "stride"), &stride) &&
        kvass_json_as_int(kvass_json_get(truncation, "max_length"), &longest) &&
        (stride < 0 || longest < 0 || (longest > 0 && stride >= longest))) {
        return kvass_fail(err, KVASS_FORMAT, "TRUNCATION",
                          "%s: truncation: stride %lld, expected 0 .. max_length %lld - 1", path,
                          (long long)stride, (long long)longest);
    }
    return KVASS_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* entries[n] from the list of added tokens; the caller frees *entries. */
static kvass_status list_added(const kvass_json *list, const char *path, tok_entry **entries,
                               kvass_error *err)
{
    size_t n = kvass_json_size(list);
    *entries = calloc(n + 1, sizeof **entries);
    if (!*entries) {
        return kvass_fail_nomem(err, n, "added tokens");
    }
    for (size_t i = 0; i < n; i++) {
        const kvass_json *one = kvass_json_at(list, i);
        if (!kvass_json_as_int(kvass_json_get(one, "id"), &(*entries)[i].id)) {
            return kvass_fail(err, KVASS_FORMAT, "ADDED_TOKEN",
                              "%s: added token %zu: \"id\": expected an integer, found %s", path, i,
                              kvass_json_kind_name(kvass_json_get(one, "id")));
        }
        (*entries)[i].fields = one;
    }
    return KVASS_OK;
}

static kvass_status read_merge(tok_build *b, tok_bpe *bpe, size_t i, const kvass_json *merge,
                               kvass_error *err)
{
    size_t n, n_right;
    const char *line = kvass_json_as_string(merge, &n);
    if (line) {
        return kvass_build_merge_line(b, bpe, i, line, n, err);
    }
    const char *left = kvass_json_as_string(kvass_json_at(merge, 0), &n);
    const char *right = kvass_json_as_string(kvass_json_at(merge, 1), &n_right);
    if (kvass_json_size(merge) != 2 || !left || !right) {
        return kvass_fail(err, KVASS_FORMAT, "MERGE_FORMAT",
                          "%s: merges[%zu]: expected \"a b\" or [\"a\", \"b\"], found %s", b->path,
                          i, kvass_json_kind_name(merge));
    }
    return kvass_build_merge(b, bpe, i, left, n, right, n_right, err);
}

static kvass_status read_options(tok_build *b, tok_bpe *bpe, const kvass_json *model,
                                 kvass_error *err)
{
    kvass_status status = kvass_key_bool(model, "ignore_merges", &bpe->ignore_merges, b->path, err);
    if (status == KVASS_OK) {
        status = kvass_key_bool(model, "fuse_unk", &bpe->fuse_unk, b->path, err);
    }
    if (status != KVASS_OK || kvass_key_absent(model, "unk_token")) {
        return status;
    }
    const char *unk = NULL;
    size_t n;
    status = kvass_key_string(model, "unk_token", &unk, &n, b->path, err);
    if (status == KVASS_OK) {
        bpe->unk = kvass_map_get(b->by_text, unk, n);
        if (bpe->unk < 0) {
            status = kvass_fail(err, KVASS_FORMAT, "UNK_TOKEN",
                                "%s: model: unk_token \"%.100s\" is not in the vocabulary", b->path,
                                unk);
        }
    }
    return status;
}

/* byte_fallback is an option of the model here, but a stage of the decoder: they go together. */
static kvass_status check_spelling(const tok_build *b, const kvass_json *model, bool byte_level,
                                   kvass_error *err)
{
    bool fallback = false;
    kvass_status status = kvass_key_bool(model, "byte_fallback", &fallback, b->path, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (byte_level != b->decoding.byte_level || fallback != b->decoding.byte_fallback ||
        (!byte_level && !b->decoding.to)) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "DECODER",
                          "%s: the decoder does not undo what the pre-tokenizer and the model do "
                          "(byte level: %d and %d, byte fallback: %d and %d)",
                          b->path, b->decoding.byte_level, byte_level, b->decoding.byte_fallback,
                          fallback);
    }
    return KVASS_OK;
}

static kvass_status read_model(tok_build *b, const kvass_json *model, const tok_entry *entries,
                               size_t n_entries, kvass_error *err)
{
    const kvass_json *vocab = kvass_json_get(model, "vocab");
    const kvass_json *merges = kvass_json_get(model, "merges");
    if (kvass_json_get_kind(vocab) != KVASS_JSON_OBJECT ||
        kvass_json_get_kind(merges) != KVASS_JSON_ARRAY) {
        return kvass_fail(
            err, KVASS_FORMAT, "KEY_TYPE",
            "%s: model: expected an object \"vocab\" and an array \"merges\", found %s "
            "and %s",
            b->path, kvass_json_kind_name(vocab), kvass_json_kind_name(merges));
    }
    size_t n_merges = kvass_json_size(merges);
    tok_bpe *bpe = NULL;
    kvass_status status = kvass_build_vocab(b, vocab, entries, n_entries, err);
    if (status == KVASS_OK) {
        status = kvass_build_bpe(b, n_merges, &bpe, err);
    }
    if (status == KVASS_OK) {
        status = read_options(b, bpe, model, err);
    }
    for (size_t i = 0; status == KVASS_OK && i < n_merges; i++) {
        status = read_merge(b, bpe, i, kvass_json_at(merges, i), err);
    }
    return status;
}

static kvass_status read_stages(tok_build *b, const kvass_json *root, kvass_error *err)
{
    const kvass_json *model = kvass_json_get(root, "model");
    bool byte_level = false;
    kvass_status status = check_outline(root, b->path, err);
    if (status == KVASS_OK) {
        status = check_model(model, b->path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_pipeline_normalizer(&b->tok->norm, kvass_json_get(root, "normalizer"),
                                           b->path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_pipeline_pretok(&b->tok->pre, kvass_json_get(root, "pre_tokenizer"), b->path,
                                       &byte_level, err);
    }
    if (status == KVASS_OK) {
        status =
            kvass_pipeline_decoder(&b->decoding, kvass_json_get(root, "decoder"), b->path, err);
    }
    return status == KVASS_OK ? check_spelling(b, model, byte_level, err) : status;
}

static kvass_status read_json(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    const kvass_json *root = source->json;
    const kvass_json *list = kvass_json_get(root, "added_tokens");
    tok_build b = {.tok = tok, .path = source->path};
    tok_entry *entries = NULL;
    kvass_json *config = NULL;
    kvass_status status = read_stages(&b, root, err);
    if (status == KVASS_OK) {
        status = list_added(list, b.path, &entries, err);
    }
    if (status == KVASS_OK) {
        status = read_model(&b, kvass_json_get(root, "model"), entries, kvass_json_size(list), err);
    }
    if (status == KVASS_OK) {
        tok->strip_space = b.decoding.strip_space;
        status = kvass_pipeline_post(tok, kvass_json_get(root, "post_processor"), b.path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_config_open(&config, b.path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_config_apply(tok, config, err);
    }
    kvass_json_close(&config);
    free(entries);
    kvass_build_close(&b);
    return status;
}

const tok_reader kvass_reader_tokenizer_json = {fits, read_json};
