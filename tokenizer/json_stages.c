/* json_stages.c - json_put.h: what stands around the model in tokenizer.json. */
#include "tokenizer/json_put.h"

static kvass_status put_normalizer(const tok_writing *w)
{
    const tok_normalizer *norm = &w->tok->norm;
    kvass_writing_put(w, "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    for (int32_t i = 0; i < norm->n_steps; i++) {
        const tok_norm_step *step = &norm->steps[i];
        kvass_writing_put(w, i > 0 ? "," : "");
        if (step->kind == TOK_NFC) {
            kvass_writing_put(w, "{\"type\":\"NFC\"}");
        } else if (step->kind == TOK_PREPEND) {
            kvass_writing_put(w, "{\"type\":\"Prepend\",\"prepend\":");
            kvass_writing_put_quoted(w, step->to, step->n_to);
            kvass_writing_put(w, "}");
        } else if (step->kind == TOK_REPLACE) {
            kvass_writing_put(w, "{\"type\":\"Replace\",\"pattern\":{\"String\":");
            kvass_writing_put_quoted(w, step->from, step->n_from);
            kvass_writing_put(w, "},\"content\":");
            kvass_writing_put_quoted(w, step->to, step->n_to);
            kvass_writing_put(w, "}");
        } else {
            return kvass_writing_refuse(w, "how it normalizes text");
        }
    }
    kvass_writing_put(w, "]},\n");
    return KVASS_OK;
}

static kvass_status put_pretok(const tok_writing *w)
{
    const tok_pretok *pre = &w->tok->pre;
    if (w->spm) {
        kvass_writing_put(w, "\"pre_tokenizer\":null,\n");
        return pre->n_steps == 0 ? KVASS_OK
                                 : kvass_writing_refuse(w, "how it cuts text into words");
    }
    kvass_writing_put(w, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (int32_t i = 0; i < pre->n_steps; i++) {
        const tok_pre_step *step = &pre->steps[i];
        size_t n;
        bool literal;
        if (step->kind != TOK_PRE_SPLIT || !step->regex || step->invert ||
            step->behavior != TOK_ISOLATED) {
            return kvass_writing_refuse(w, "how it cuts text into words");
        }
        const char *pattern = kvass_regex_pattern(step->regex, &n, &literal);
        kvass_writing_put(
            w, "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false,\"pattern\":{");
        kvass_writing_put(w, literal ? "\"String\":" : "\"Regex\":");
        kvass_writing_put_quoted(w, pattern, n);
        kvass_writing_put(w, "}},\n");
    }
    kvass_writing_put(w, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                         "\"use_regex\":false}]},\n");
    return KVASS_OK;
}

/* {"SpecialToken": ...} for each id, with commas on the side of the text */
static void put_ends(const tok_writing *w, const tok_ids *ids, bool before, const char *type)
{
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const char *text = kvass_writing_spell(w, ids->data[i], &n);
        kvass_writing_put(w, before ? "{\"SpecialToken\":{\"id\":" : ",{\"SpecialToken\":{\"id\":");
        kvass_writing_put_quoted(w, text, n);
        kvass_writing_put(w, type);
        kvass_writing_put(w, before ? "}}," : "}}");
    }
}

/* What stands around a text, or each of two. */
static void put_post(const tok_writing *w)
{
    const tok_ids *ends[] = {&w->tok->prefix, &w->tok->suffix};
    if (ends[0]->n + ends[1]->n == 0) {
        kvass_writing_put(w, "\"post_processor\":null,\n");
        return;
    }
    kvass_writing_put(w, "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[");
    for (int pair = 0; pair < 2; pair++) {
        kvass_writing_put(w, pair ? "],\"pair\":[" : "");
        for (int text = 0; text <= pair; text++) {
            const char *type = text ? ",\"type_id\":1" : ",\"type_id\":0";
            kvass_writing_put(w, text ? "," : "");
            put_ends(w, ends[0], true, type);
            kvass_writing_put(w,
                              text ? "{\"Sequence\":{\"id\":\"B\"" : "{\"Sequence\":{\"id\":\"A\"");
            kvass_writing_put(w, type);
            kvass_writing_put(w, "}}");
            put_ends(w, ends[1], false, type);
        }
    }
    kvass_writing_put(w, "],\"special_tokens\":{");
    for (int e = 0, any = 0; e < 2; e++) {
        for (size_t i = 0; i < ends[e]->n; i++) {
            size_t n;
            const char *text = kvass_writing_spell(w, ends[e]->data[i], &n);
            if (e > 0 && ends[0]->n > 0 && ends[0]->data[0] == ends[e]->data[i]) {
                continue;
            }
            kvass_writing_put(w, any++ ? "," : "");
            kvass_writing_put_quoted(w, text, n);
            kvass_writing_put(w, ":{\"id\":");
            kvass_writing_put_quoted(w, text, n);
            kvass_writing_put(w, ",\"ids\":[");
            kvass_writing_put_int(w, ends[e]->data[i]);
            kvass_writing_put(w, "],\"tokens\":[");
            kvass_writing_put_quoted(w, text, n);
            kvass_writing_put(w, "]}");
        }
    }
    kvass_writing_put(w, "}},\n");
}

static void put_decoder(const tok_writing *w)
{
    if (w->bpe) {
        kvass_writing_put(w, "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                             "\"trim_offsets\":true,\"use_regex\":true},\n");
        return;
    }
    kvass_writing_put(
        w, "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
           "{\"String\":\"" WORD_MARK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
           "{\"type\":\"Fuse\"}");
    kvass_writing_put(w, w->tok->strip_space
                             ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\n"
                             : "]},\n");
}

kvass_status kvass_writing_put_stages(const tok_writing *w)
{
    kvass_status status = put_normalizer(w);
    if (status == KVASS_OK) {
        status = put_pretok(w);
    }
    put_post(w);
    put_decoder(w);
    return status;
}
