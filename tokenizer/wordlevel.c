/* wordlevel.c - the model that knows whole words only: tokenizer.json's WordLevel, and a list of
 * characters where a text is cut into characters first.
 */
#include "tokenizer/wordlevel.h"

#include <stdlib.h>

static kvass_status encode(const void *self, const char *word, size_t n_bytes, tok_run *run)
{
    const tok_wordlevel *model = self;
    int32_t id = kvass_vocab_word(model->vocab, word, n_bytes);
    id = id < 0 ? model->unk : id;
    if (id < 0) {
        return kvass_fail(run->err, KVASS_FORMAT, "WORD_UNKNOWN",
                          "\"%.*s\" is not in the vocabulary, and there is no token for what is "
                          "unknown",
                          (int)(n_bytes < 60 ? n_bytes : 60), word);
    }
    return kvass_ids_push(&run->ids, id) ? KVASS_OK : kvass_fail_nomem(run->err, 4, "token ids");
}

static void close_wordlevel(void *self)
{
    free(self);
}

static const tok_model_ops ops = {"wordlevel", encode, close_wordlevel};
const tok_model_ops kvass_characters_ops = {"characters", encode, close_wordlevel};

kvass_status kvass_wordlevel_open(kvass_tokenizer *tok, tok_wordlevel **out, kvass_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return kvass_fail_nomem(err, sizeof **out, "the tokenizer");
    }
    (*out)->vocab = &tok->vocab;
    (*out)->unk = -1;
    tok->ops = &ops;
    tok->model = *out;
    return KVASS_OK;
}
