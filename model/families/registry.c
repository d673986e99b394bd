/* registry.c - the families there are, one line each, and the choice among them. */
#include <stdio.h>
#include <string.h>

#include "model/config.h"

/* One line for each file in families/. */
#define FAMILIES(X)                                                                                \
    X(gemma)                                                                                       \
    X(gemma2)                                                                                      \
    X(gemma3_text)                                                                                 \
    X(gpt2)                                                                                        \
    X(gpt_neo)                                                                                     \
    X(gpt_neox)                                                                                    \
    X(granite)                                                                                     \
    X(kvass)                                                                                       \
    X(llama)                                                                                       \
    X(mistral)                                                                                     \
    X(nanogpt)                                                                                     \
    X(olmo2)                                                                                       \
    X(opt)                                                                                         \
    X(phi)                                                                                         \
    X(phi3)                                                                                        \
    X(qwen2)                                                                                       \
    X(qwen3)                                                                                       \
    X(smollm3)                                                                                     \
    X(stablelm)                                                                                    \
    X(starcoder2)

#define X(name) extern const kvass_family kvass_family_##name;
FAMILIES(X)
#undef X

const kvass_family *const kvass_families[] = {
#define X(name) &kvass_family_##name,
    FAMILIES(X)
#undef X
        NULL,
};

/* "gpt2, llama" into text[n_bytes] */
static void list_families(char *text, size_t n_bytes)
{
    size_t at = 0;
    text[0] = '\0';
    for (const kvass_family *const *f = kvass_families; *f && at < n_bytes; f++) {
        int n = snprintf(text + at, n_bytes - at, "%s%s", at > 0 ? ", " : "", (*f)->name);
        at += n > 0 ? (size_t)n : 0;
    }
}

kvass_status kvass_family_find(const kvass_family **out, const kvass_checkpoint *ckpt,
                               kvass_error *err)
{
    char known[256];
    for (const kvass_family *const *f = kvass_families; *f; f++) {
        if ((*f)->detect ? (*f)->detect(ckpt) : kvass_config_is(ckpt, (*f)->name)) {
            *out = *f;
            return KVASS_OK;
        }
    }
    list_families(known, sizeof known);
    const kvass_json *type = kvass_json_get(ckpt->config, "model_type");
    const char *name = kvass_json_as_string(type, NULL);
    return kvass_fail(err, KVASS_UNSUPPORTED, "FAMILY",
                      "%s: \"model_type\": found %s%.64s%s, expected one of %s", ckpt->config_path,
                      name ? "\"" : "", name ? name : kvass_json_kind_name(type), name ? "\"" : "",
                      known);
}
