/* stage_pretok.c - the pre-tokenizers of tokenizer.json, by name. */
#include <string.h>

#include "tokenizer/stage.h"
#include "tokenizer/utf8.h"

/* what the ByteLevel pre-tokenizer splits by unless told otherwise: GPT-2's words */
static const char gpt2_words[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                 "|\\s+(?!\\S)|\\s+";

typedef struct pretok_target {
    tok_pretok *pre;
    bool *byte_level;
} pretok_target;

static kvass_status add_split(const tok_stage *st, const char *pattern, size_t n_bytes,
                              bool literal, tok_behavior behavior, bool invert, kvass_error *err)
{
    const pretok_target *target = st->target;
    tok_pre_step step = {.behavior = behavior, .invert = invert};
    kvass_status status = kvass_regex_open(&step.regex, pattern, n_bytes, literal, st->path, err);
    return status == KVASS_OK ? kvass_pretok_add(target->pre, step, err) : status;
}

/* *behavior is left as it is when the key is absent. */
static kvass_status behavior_of(const tok_stage *st, const kvass_json *item, tok_behavior *behavior,
                                kvass_error *err)
{
    static const struct {
        const char *name;
        tok_behavior behavior;
    } behaviors[] = {
        {"Isolated", TOK_ISOLATED},        {"Removed", TOK_REMOVED},
        {"Contiguous", TOK_CONTIGUOUS},    {"MergedWithPrevious", TOK_WITH_PREVIOUS},
        {"MergedWithNext", TOK_WITH_NEXT},
    };
    const char *name = "";
    size_t n_name;
    if (kvass_key_absent(item, "behavior")) {
        return KVASS_OK;
    }
    kvass_status status = kvass_key_string(item, "behavior", &name, &n_name, st->path, err);
    for (size_t i = 0; status == KVASS_OK && i < sizeof behaviors / sizeof behaviors[0]; i++) {
        if (strcmp(name, behaviors[i].name) == 0) {
            *behavior = behaviors[i].behavior;
            return KVASS_OK;
        }
    }
    return status == KVASS_OK ? kvass_fail(err, KVASS_UNSUPPORTED, st->rule,
                                           "%s: %s: behavior \"%.100s\" is not supported", st->path,
                                           st->what, name)
                              : status;
}

static kvass_status add_byte_level(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const pretok_target *target = st->target;
    bool add_prefix_space = true, use_regex = true;
    kvass_status status =
        kvass_key_bool(item, "add_prefix_space", &add_prefix_space, st->path, err);
    if (status == KVASS_OK) {
        status = kvass_key_bool(item, "use_regex", &use_regex, st->path, err);
    }
    if (status == KVASS_OK && add_prefix_space) {
        status = kvass_pretok_add(target->pre, (tok_pre_step){.kind = TOK_PRE_SPACE}, err);
    }
    if (status == KVASS_OK && use_regex) {
        status = add_split(st, gpt2_words, sizeof gpt2_words - 1, false, TOK_ISOLATED, false, err);
    }
    *target->byte_level = true;
    return status;
}

static kvass_status add_pattern(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const char *pattern = NULL;
    size_t n_bytes = 0;
    bool literal, invert = false;
    tok_behavior behavior = TOK_ISOLATED;
    kvass_status status = kvass_stage_pattern(st, item, &pattern, &n_bytes, &literal, err);
    if (status == KVASS_OK && kvass_key_absent(item, "behavior")) {
        status = kvass_key_fail_type(NULL, "behavior", "a string", st->path, err);
    }
    if (status == KVASS_OK) {
        status = behavior_of(st, item, &behavior, err);
    }
    if (status == KVASS_OK) {
        status = kvass_key_bool(item, "invert", &invert, st->path, err);
    }
    return status == KVASS_OK ? add_split(st, pattern, n_bytes, literal, behavior, invert, err)
                              : status;
}

static kvass_status add_digits(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    bool individual = false;
    kvass_status status = kvass_key_bool(item, "individual_digits", &individual, st->path, err);
    tok_behavior behavior = individual ? TOK_ISOLATED : TOK_CONTIGUOUS;
    return status == KVASS_OK ? add_split(st, "\\p{N}", 5, false, behavior, false, err) : status;
}

static kvass_status add_punctuation(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const pretok_target *target = st->target;
    tok_pre_step step = {.is = kvass_is_punctuation};
    kvass_status status = behavior_of(st, item, &step.behavior, err);
    return status == KVASS_OK ? kvass_pretok_add(target->pre, step, err) : status;
}

/* words and runs of signs, nothing of the space between */
static kvass_status add_whitespace(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    static const char words[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]+|"
                                "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\s]+";
    (void)item;
    return add_split(st, words, sizeof words - 1, false, TOK_REMOVED, true, err);
}

static kvass_status add_whitespace_split(const tok_stage *st, const kvass_json *item,
                                         kvass_error *err)
{
    const pretok_target *target = st->target;
    (void)item;
    tok_pre_step step = {.is = kvass_utf8_is_space, .behavior = TOK_REMOVED};
    return kvass_pretok_add(target->pre, step, err);
}

static kvass_status add_delimiter(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const char *text = NULL;
    size_t n = 0;
    kvass_status status = kvass_stage_character(st, item, "delimiter", &text, &n, err);
    return status == KVASS_OK ? add_split(st, text, n, true, TOK_REMOVED, false, err) : status;
}

static kvass_status add_metaspace(const tok_stage *st, const kvass_json *item, kvass_error *err)
{
    const pretok_target *target = st->target;
    tok_pre_step step = {.kind = TOK_PRE_MARK};
    bool split = true;
    kvass_status status = kvass_stage_mark(st, item, &step, err);
    if (status == KVASS_OK) {
        status = kvass_key_bool(item, "split", &split, st->path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_pretok_add(target->pre, step, err);
    }
    return status == KVASS_OK && split
               ? add_split(st, step.mark, step.n_mark, true, TOK_WITH_NEXT, false, err)
               : status;
}

static kvass_status add_pretok(const tok_stage *st, const kvass_json *item, const char *type,
                               kvass_error *err)
{
    static const tok_kind kinds[] = {{"ByteLevel", add_byte_level},
                                     {"Split", add_pattern},
                                     {"Digits", add_digits},
                                     {"Punctuation", add_punctuation},
                                     {"Whitespace", add_whitespace},
                                     {"WhitespaceSplit", add_whitespace_split},
                                     {"CharDelimiterSplit", add_delimiter},
                                     {"Metaspace", add_metaspace}};
    const pretok_target *target = st->target;
    if (*target->byte_level) {
        return kvass_fail(err, KVASS_UNSUPPORTED, st->rule,
                          "%s: %s \"%.100s\" after \"ByteLevel\" is not supported", st->path,
                          st->what, type);
    }
    return kvass_stage_add(st, item, type, kinds, sizeof kinds / sizeof kinds[0], err);
}

kvass_status kvass_pipeline_pretok(tok_pretok *pre, const kvass_json *json, const char *path,
                                   bool *byte_level, kvass_error *err)
{
    pretok_target target = {pre, byte_level};
    const tok_stage st = {"pre-tokenizer", "PRE_TOKENIZER", "pretokenizers", path, &target};
    *byte_level = false;
    return kvass_stage_each(&st, json, add_pretok, err);
}
