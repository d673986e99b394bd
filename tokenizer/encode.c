/* encode.c - from a text to ids: added tokens are cut out of the text as it is, the rest is
 * normalized, added tokens are cut out of that, the rest is cut into words, and the model encodes
 * each.
 */
#include <stdlib.h>

#include "tokenizer/tokenizer.h"

static kvass_status push(tok_run *run, int32_t id)
{
    return kvass_ids_push(&run->ids, id)
               ? KVASS_OK
               : kvass_fail_nomem(run->err, run->ids.n * sizeof id, "token ids");
}

static kvass_status push_all(tok_run *run, const tok_ids *ids)
{
    kvass_status status = KVASS_OK;
    for (size_t i = 0; status == KVASS_OK && i < ids->n; i++) {
        status = push(run, ids->data[i]);
    }
    return status;
}

static kvass_status encode_word(void *user, const char *word, size_t n_bytes)
{
    tok_run *run = user;
    return run->tok->ops->encode(run->tok->model, word, n_bytes, run);
}

typedef kvass_status encode_fn(tok_run *run, const char *text, size_t n);

/* Push the added tokens of one tree that stand in text[n]; what lies between them goes to `rest`.
 */
static kvass_status cut_added(tok_run *run, bool normalized, const char *text, size_t n,
                              encode_fn *rest)
{
    const tok_added *added = &run->tok->added;
    size_t from = 0, start, end;
    const tok_added_token *token;
    while ((token = kvass_added_find(added, normalized, run->opt->parse_special, text, n, from,
                                     &start, &end)) != NULL) {
        kvass_status status = start > from ? rest(run, text + from, start - from) : KVASS_OK;
        if (status == KVASS_OK) {
            status = push(run, token->id);
        }
        if (status != KVASS_OK) {
            return status;
        }
        from = end;
    }
    return from < n ? rest(run, text + from, n - from) : KVASS_OK;
}

static kvass_status encode_normalized(tok_run *run, const char *text, size_t n)
{
    bool at_start = run->at_start && text == run->begin;
    return kvass_pretok_run(&run->tok->pre, &run->matcher, text, n, at_start, encode_word, run,
                            run->err);
}

static kvass_status encode_plain(tok_run *run, const char *text, size_t n)
{
    char *owned;
    const char *begin = run->begin;
    run->at_start = text == begin;
    kvass_status status =
        kvass_normalizer_run(&run->tok->norm, text, n, &text, &n, &owned, run->err);
    if (status == KVASS_OK) {
        run->begin = text; /* of the normalized text, while it is cut */
        status = cut_added(run, true, text, n, encode_normalized);
        run->begin = begin;
    }
    free(owned);
    return status;
}

kvass_status kvass_run_encode(tok_run *run, const char *text, size_t n_bytes)
{
    kvass_status status = KVASS_OK;
    run->begin = text;
    if (run->opt->add_special) {
        status = push_all(run, &run->tok->prefix);
    }
    if (status == KVASS_OK) {
        status = cut_added(run, false, text, n_bytes, encode_plain);
    }
    if (status == KVASS_OK && run->opt->add_special) {
        status = push_all(run, &run->tok->suffix);
    }
    return status;
}

void kvass_run_close(tok_run *run)
{
    kvass_merger_close(&run->merger);
    kvass_matcher_close(&run->matcher);
    kvass_ids_close(&run->ids);
}
