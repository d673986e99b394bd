/* stage_decoder.c - the decoders and post-processors of tokenizer.json, by name. */
#include <string.h>

#include "tokenizer/stage.h"

/* ---- decoder --------------------------------------------------------------------------------- */

typedef struct decoder_target {
    tok_decoding *decoding;
    bool fused;
} decoder_target;

static kvass_status add_strip(const tok_stage *st, const kvass_json *item, kvass_error *err)
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
        return kvass_stage_refuse(st, "Strip (other than of one space at the beginning)", err);
    }
    target->decoding->strip_space = true;
    return KVASS_OK;
}

static kvass_status add_metaspace_decoder(const tok_stage *st, const kvass_json *item,
                                          kvass_error *err)
{
    decoder_target *target = st->target;
    tok_decoding *d = target->decoding;
    if (d->to || target->fused) {
        return kvass_stage_refuse(st, "Metaspace (after others)", err);
    }
    tok_pre_step step = {.n_mark = 0};
    kvass_status status = kvass_stage_mark(st, item, &step, err);
    if (status == KVASS_OK) {
        d->from = kvass_json_as_string(kvass_json_get(item, "replacement"), &d->n_from);
        d->to = " ";
        d->n_to = 1;
        d->strip_spaces = step.first != TOK_MARK_NEVER;
    }
    return status;
}

static kvass_status add_decoder(const tok_stage *st, const kvass_json *item, const char *type,
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
    } else if (strcmp(type, "Metaspace") == 0) {
        return add_metaspace_decoder(st, item, err);
    } else if (strcmp(type, "Strip") == 0) {
        return add_strip(st, item, err);
    } else if (strcmp(type, "Replace") == 0) {
        bool literal;
        kvass_status status = kvass_stage_pattern(st, item, &d->from, &d->n_from, &literal, err);
        if (status == KVASS_OK && (!literal || d->n_from == 0 || d->to || target->fused)) {
            return kvass_stage_refuse(st, "Replace (other than of one text, before Fuse)", err);
        }
        return status == KVASS_OK
                   ? kvass_key_string(item, "content", &d->to, &d->n_to, st->path, err)
                   : status;
    } else {
        return kvass_stage_refuse(st, type, err);
    }
    return KVASS_OK;
}

kvass_status kvass_pipeline_decoder(tok_decoding *decoding, const kvass_json *json,
                                    const char *path, kvass_error *err)
{
    kvass_json_kind kind = kvass_json_get_kind(json);
    *decoding = (tok_decoding){
        .join_space = kind == KVASS_JSON_ABSENT || kind == KVASS_JSON_NULL,
    };
    decoder_target target = {decoding, false};
    const tok_stage st = {"decoder", "DECODER", "decoders", path, &target};
    kvass_status status = kvass_stage_each(&st, json, add_decoder, err);
    if (status == KVASS_OK && decoding->byte_level && (decoding->byte_fallback || decoding->to)) {
        return kvass_stage_refuse(&st, "ByteLevel with others", err);
    }
    return status;
}

/* ---- post-processor -------------------------------------------------------------------------- */

/* The ids of special token `name` of a template, appended to `ids`. */
static kvass_status add_template_ids(const tok_stage *st, const kvass_json *item, const char *name,
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

static kvass_status add_template(const tok_stage *st, const kvass_json *item, kvass_error *err)
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

/* ["<s>", 1]: a token and its id, appended to `ids`. */
static kvass_status add_pair(const tok_stage *st, const kvass_json *item, const char *key,
                             tok_ids *ids, kvass_error *err)
{
    const kvass_tokenizer *tok = st->target;
    const kvass_json *pair = kvass_json_get(item, key);
    int64_t id = -1;
    if (kvass_json_size(pair) != 2 || !kvass_json_as_int(kvass_json_at(pair, 1), &id) || id < 0 ||
        id > INT32_MAX || !kvass_vocab_has(&tok->vocab, (int32_t)id)) {
        return kvass_fail(err, KVASS_FORMAT, "TEMPLATE", "%s: \"%s\": expected a token and its id",
                          st->path, key);
    }
    return kvass_ids_push(ids, (int32_t)id) ? KVASS_OK : kvass_fail_nomem(err, 4, "token ids");
}

static kvass_status add_cls_sep(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    kvass_tokenizer *tok = st->target;
    kvass_status status = add_pair(st, item, "cls", &tok->prefix, err);
    return status == KVASS_OK ? add_pair(st, item, "sep", &tok->suffix, err) : status;
}

static kvass_status add_post(const tok_stage *st, const kvass_json *item, const char *type,
                             kvass_error *err)
{
    if (strcmp(type, "ByteLevel") == 0) {
        return KVASS_OK; /* it only moves offsets, which we do not give out */
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        return add_template(st, item, err);
    }
    bool cls_sep = strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0;
    return cls_sep ? add_cls_sep(st, item, err) : kvass_stage_refuse(st, type, err);
}

kvass_status kvass_pipeline_post(kvass_tokenizer *tok, const kvass_json *json, const char *path,
                                 kvass_error *err)
{
    const tok_stage st = {"post-processor", "POST_PROCESSOR", "processors", path, tok};
    return kvass_stage_each(&st, json, add_post, err);
}
