/* spm_bpe.c - SentencePiece's BPE: characters merge into the piece of the highest score that two
 * neighbours spell together, the leftmost among equals. What is no piece in the end is unknown.
 */
#include <stdlib.h>

#include "tokenizer/bpe.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/utf8.h"

static int32_t merge_rule(const void *self, const char *text, const tok_symbol *left,
                          const tok_symbol *right, int32_t *id)
{
    const tok_spm_bpe *m = self;
    if ((m->vocab->pieces[left->id].flags | m->vocab->pieces[right->id].flags) & TOK_WHOLE) {
        return -1;
    }
    *id = kvass_vocab_word(m->vocab, text + left->start, left->n_bytes + right->n_bytes);
    return *id < 0 ? -1 : m->ranks[*id];
}

static void add_symbols(const tok_spm_bpe *m, const char *text, size_t n, tok_merger *merger)
{
    for (size_t at = 0, size; at < n; at += size) {
        size = kvass_trie_longest(&m->frozen, text + at, n - at, NULL);
        if (size == 0) {
            size = kvass_utf8_char(text + at, n - at, NULL);
            size = size > 0 ? size : 1;
        }
        int32_t id = kvass_vocab_word(m->vocab, text + at, size);
        kvass_merger_add(merger, id >= 0 ? id : m->unk, at, size);
    }
}

/* The ids of what is left. Unknown text becomes its bytes, or one unknown token together with more
 * of it beside it; *after_unknown goes from word to word. */
static bool put_ids(const tok_spm_bpe *m, const char *text, const tok_merger *merger,
                    bool *after_unknown, tok_ids *ids)
{
    bool ok = true;
    for (int32_t i = 0; ok && i >= 0; i = merger->symbols[i].next) {
        const tok_symbol *s = &merger->symbols[i];
        bool unknown = s->id == m->unk, bytes = unknown;
        for (uint32_t k = 0; bytes && k < s->n_bytes; k++) {
            bytes = m->byte_ids[(unsigned char)text[s->start + k]] >= 0;
        }
        for (uint32_t k = 0; ok && bytes && k < s->n_bytes; k++) {
            ok = kvass_ids_push(ids, m->byte_ids[(unsigned char)text[s->start + k]]);
        }
        if (!bytes && !(unknown && *after_unknown)) {
            ok = kvass_ids_push(ids, s->id);
        }
        *after_unknown = unknown && !bytes;
    }
    return ok;
}

static kvass_status encode(const void *self, const char *text, size_t n_bytes, tok_run *run)
{
    const tok_spm_bpe *m = self;
    bool after_unknown = false;
    for (size_t at = 0, end; at < n_bytes; at = end) {
        end = n_bytes;
        if (m->by_words) {
            end = kvass_merge_end(text, n_bytes, at, WORD_MARK, sizeof WORD_MARK - 1);
        }
        kvass_status status = kvass_merger_begin(&run->merger, end - at, run->err);
        if (status != KVASS_OK) {
            return status;
        }
        add_symbols(m, text + at, end - at, &run->merger);
        kvass_merger_join(&run->merger, merge_rule, m, text + at);
        if (!put_ids(m, text + at, &run->merger, &after_unknown, &run->ids)) {
            return kvass_fail_nomem(run->err, run->ids.n * sizeof(int32_t), "token ids");
        }
    }
    return KVASS_OK;
}

static void close_model(void *self)
{
    tok_spm_bpe *m = self;
    if (m) {
        kvass_trie_close(&m->frozen);
        free(m->ranks);
        free(m);
    }
}

const tok_model_ops kvass_spm_bpe_ops = {"sentencepiece", encode, close_model};
