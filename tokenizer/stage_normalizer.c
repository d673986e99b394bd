/* stage_normalizer.c - the normalizers of tokenizer.json, by name. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/stage.h"

static kvass_status add_replace(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const char *from = NULL, *to = NULL;
    size_t n_from = 0, n_to = 0;
    bool literal;
    kvass_regex *regex;
    kvass_status status = kvass_stage_pattern(st, item, &from, &n_from, &literal, err);
    if (status == KVASS_OK) {
        status = kvass_key_string(item, "content", &to, &n_to, st->path, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    if (n_from == 0) {
        return kvass_stage_refuse(st, "Replace (of nothing)", err);
    }
    if (literal) {
        return kvass_normalizer_add(st->target, TOK_REPLACE, from, n_from, to, n_to, err);
    }
    status = kvass_regex_open(&regex, from, n_from, false, st->path, err);
    return status == KVASS_OK ? kvass_normalizer_add_regex(st->target, regex, to, n_to, err)
                              : status;
}

static kvass_status add_strip_white(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    bool left = true, right = true;
    kvass_status status = kvass_key_bool(item, "strip_left", &left, st->path, err);
    if (status == KVASS_OK) {
        status = kvass_key_bool(item, "strip_right", &right, st->path, err);
    }
    if (status == KVASS_OK && left) {
        status = kvass_normalizer_add(st->target, TOK_STRIP_LEFT, NULL, 0, NULL, 0, err);
    }
    if (status == KVASS_OK && right) {
        status = kvass_normalizer_add(st->target, TOK_STRIP_RIGHT, NULL, 0, NULL, 0, err);
    }
    return status;
}

static kvass_status add_precompiled(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const char *text = NULL;
    size_t n = 0;
    kvass_status status = kvass_key_string(item, "precompiled_charsmap", &text, &n, st->path, err);
    if (status != KVASS_OK || n == 0) {
        return status; /* an empty map changes nothing */
    }
    tok_rules *rules = calloc(1, sizeof *rules);
    if (!rules) {
        return kvass_fail_nomem(err, sizeof *rules, "a normalizer");
    }
    status = kvass_charsmap_open_base64(&rules->map, text, n, st->path, err);
    if (status != KVASS_OK) {
        kvass_rules_close(&rules);
        return status;
    }
    return kvass_normalizer_add_rules(st->target, TOK_CHARSMAP, rules, err);
}

static kvass_status add_prepend(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const char *to = NULL;
    size_t n_to = 0;
    kvass_status status = kvass_key_string(item, "prepend", &to, &n_to, st->path, err);
    return status == KVASS_OK
               ? kvass_normalizer_add(st->target, TOK_PREPEND, NULL, 0, to, n_to, err)
               : status;
}

static kvass_status add_normalizer(const tok_stage *st, const kvass_json *item, const char *type,
                                   kvass_error *err)
{
    static const struct {
        const char *type;
        tok_norm_kind kind;
    } plain[] = {{"NFC", TOK_NFC},
                 {"NFD", TOK_NFD},
                 {"NFKC", TOK_NFKC},
                 {"NFKD", TOK_NFKD},
                 {"Lowercase", TOK_LOWERCASE},
                 {"StripAccents", TOK_STRIP_ACCENTS},
                 {"Nmt", TOK_NMT}};
    static const tok_kind others[] = {{"Prepend", add_prepend},
                                      {"Replace", add_replace},
                                      {"Strip", add_strip_white},
                                      {"Precompiled", add_precompiled}};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (strcmp(type, plain[i].type) == 0) {
            return kvass_normalizer_add(st->target, plain[i].kind, NULL, 0, NULL, 0, err);
        }
    }
    return kvass_stage_add(st, item, type, others, sizeof others / sizeof others[0], err);
}

kvass_status kvass_pipeline_normalizer(tok_normalizer *norm, const kvass_json *json,
                                       const char *path, kvass_error *err)
{
    const tok_stage st = {"normalizer", "NORMALIZER", "normalizers", path, norm};
    return kvass_stage_each(&st, json, add_normalizer, err);
}
