/* tokenizer_json.c - the reader of tokenizer.json.
 * The stages around the model are read by stage_*.c, vocabulary and added tokens by build.c, the
 * model by models.c; this file knows the document's outline.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/build.h"

static bool fits(const tok_source *source)
{
    return kvass_json_get_kind(kvass_json_get(source->json, "model")) == KVASS_JSON_OBJECT;
}

/* ---- what must not be there ------------------------------------------------------------------ */

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

/* byte_fallback is an option of the model here, but a stage of the decoder: they go together. */
static kvass_status check_spelling(const tok_build *b, bool byte_level, bool fallback,
                                   kvass_error *err)
{
    static const char *const said[] = {"no", "yes"};
    if (byte_level != b->decoding.byte_level || fallback != b->decoding.byte_fallback) {
        return kvass_fail(
            err, KVASS_UNSUPPORTED, "DECODER",
            "%s: the decoder does not undo what the pre-tokenizer and the model do "
            "(byte level: decoded %s, encoded %s; byte fallback: decoded %s, encoded %s)",
            b->path, said[b->decoding.byte_level], said[byte_level],
            said[b->decoding.byte_fallback], said[fallback]);
    }
    return KVASS_OK;
}

static kvass_status read_stages(tok_build *b, const kvass_json *root, tok_build_fn **build,
                                kvass_error *err)
{
    bool byte_level = false, fallback = false;
    kvass_status status = check_outline(root, b->path, err);
    if (status == KVASS_OK) {
        status = kvass_model_find(kvass_json_get(root, "model"), b->path, build, &fallback, err);
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
    return status == KVASS_OK ? check_spelling(b, byte_level, fallback, err) : status;
}

static kvass_status read_json(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    const kvass_json *root = source->json;
    const kvass_json *list = kvass_json_get(root, "added_tokens");
    tok_build b = {.tok = tok, .path = source->path, .lists = source->lists};
    tok_entry *entries = NULL;
    kvass_json *config = NULL;
    tok_build_fn *build = NULL;
    kvass_status status = read_stages(&b, root, &build, err);
    if (status == KVASS_OK) {
        status = list_added(list, b.path, &entries, err);
    }
    if (status == KVASS_OK) {
        status = build(&b, kvass_json_get(root, "model"), entries, kvass_json_size(list), err);
    }
    if (status == KVASS_OK) {
        tok->strip_space = b.decoding.strip_space;
        tok->strip_spaces = b.decoding.strip_spaces;
        tok->join_space = b.decoding.join_space;
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
