/* stage.h - what the readers of tokenizer.json's stages share: walking the items of a Sequence, and
 * the keys that several kinds of items have.
 */
#ifndef KVASS_TOKENIZER_STAGE_H
#define KVASS_TOKENIZER_STAGE_H

#include "tokenizer/pipeline.h"

typedef struct tok_stage {
    const char *what, *rule; /* for messages: "normalizer", NORMALIZER */
    const char *list;        /* key of the items of a Sequence */
    const char *path;
    void *target;
} tok_stage;

typedef kvass_status tok_item_fn(const tok_stage *st, const kvass_json *item, const char *type,
                                 kvass_error *err);

/* A kind of item by its name. */
typedef struct tok_kind {
    const char *type;
    kvass_status (*add)(const tok_stage *st, const kvass_json *item, kvass_error *err);
} tok_kind;

/* Call item() for each item of json: of a Sequence, or json itself; none when it is absent. */
kvass_status kvass_stage_each(const tok_stage *st, const kvass_json *json, tok_item_fn *item,
                              kvass_error *err);

/* Call the add() of `type`; UNSUPPORTED (st->rule) when kinds[n] does not know it. */
kvass_status kvass_stage_add(const tok_stage *st, const kvass_json *item, const char *type,
                             const tok_kind *kinds, size_t n, kvass_error *err);

/* UNSUPPORTED: `type` is not supported. */
kvass_status kvass_stage_refuse(const tok_stage *st, const char *type, kvass_error *err);

/* The key "pattern": {"String": "..."} or {"Regex": "..."}; bare strings are literal, as in older
 * files. FORMAT (KEY_TYPE). */
kvass_status kvass_stage_pattern(const tok_stage *st, const kvass_json *item, const char **text,
                                 size_t *n_bytes, bool *literal, kvass_error *err);

/* One character of a key that must be there. FORMAT (KEY_TYPE). */
kvass_status kvass_stage_character(const tok_stage *st, const kvass_json *item, const char *key,
                                   const char **text, size_t *n, kvass_error *err);

/* The mark of a Metaspace, pre-tokenizer or decoder, and where it is put first, into step. FORMAT
 * (KEY_TYPE), UNSUPPORTED. */
kvass_status kvass_stage_mark(const tok_stage *st, const kvass_json *item, tok_pre_step *step,
                              kvass_error *err);

/* FORMAT (KEY_TYPE): "key" is not what was expected. */
kvass_status kvass_key_fail_type(const kvass_json *value, const char *key, const char *expected,
                                 const char *path, kvass_error *err);

#endif
