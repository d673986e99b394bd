/* spm.c - spm.h over merge.h: a word's rank follows from its score. */
#include "tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/bpe.h"
#include "tokenizer/utf8.h"

#define N_MARK (sizeof WORD_MARK - 1)

static void close_spm(void *self)
{
    tok_spm *spm = self;
    if (spm) {
        kvass_trie_close(&spm->whole);
        free(spm->ranks);
        free(spm);
    }
}

/* ---- building -------------------------------------------------------------------------------- */

kvass_status kvass_spm_open(tok_spm **out, const tok_vocab *vocab, const float *scores,
                            kvass_error *err)
{
    *out = NULL;
    tok_spm *spm = calloc(1, sizeof *spm);
    if (!spm || !(spm->ranks = calloc((size_t)vocab->n_vocab + 1, sizeof *spm->ranks)) ||
        !kvass_vocab_rank(scores, vocab->n_vocab, spm->ranks)) {
        close_spm(spm);
        return kvass_fail_nomem(err, (size_t)vocab->n_vocab * sizeof *spm->ranks, "scores");
    }
    spm->vocab = vocab;
    spm->unk = -1;
    memset(spm->byte_ids, 0xff, sizeof spm->byte_ids);
    *out = spm;
    return KVASS_OK;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static bool is_whole(const tok_spm *spm, const tok_symbol *symbol)
{
    return symbol->id >= 0 && (spm->vocab->pieces[symbol->id].flags & TOK_WHOLE);
}

static int32_t merge_rule(const void *self, const char *text, const tok_symbol *left,
                          const tok_symbol *right, int32_t *id)
{
    const tok_spm *spm = self;
    if (is_whole(spm, left) || is_whole(spm, right)) {
        return -1;
    }
    *id = kvass_vocab_word(spm->vocab, text + left->start, left->n_bytes + right->n_bytes);
    return *id < 0 ? -1 : spm->ranks[*id];
}

/* What a symbol stands for that is no word: bytes, or the unknown. The words of a text with an
 * unknown token before it are encoded in turn, so it is seen here when two of them meet. */
static kvass_status push_bytes(const tok_spm *spm, const char *text, size_t n, tok_run *run)
{
    bool known = true;
    for (size_t i = 0; i < n; i++) {
        known = known && spm->byte_ids[(unsigned char)text[i]] >= 0;
    }
    if (!known && spm->unk < 0) {
        return kvass_fail(run->err, KVASS_FORMAT, "BYTE_UNKNOWN",
                          "the vocabulary has no token for the byte 0x%02x, and none for what is "
                          "unknown",
                          (unsigned)(unsigned char)text[0]);
    }
    bool again = run->ids.n > 0 && run->ids.data[run->ids.n - 1] == spm->unk;
    if (!known && spm->fuse_unk && again) {
        return KVASS_OK;
    }
    for (size_t i = 0; i < (known ? n : 1); i++) {
        int32_t id = known ? spm->byte_ids[(unsigned char)text[i]] : spm->unk;
        if (!kvass_ids_push(&run->ids, id)) {
            return kvass_fail_nomem(run->err, sizeof id, "token ids");
        }
    }
    return KVASS_OK;
}

/* One symbol for each character of word[n], or word that stays whole; id -1 where it is no
 * word. */
static void add_symbols(const tok_spm *spm, const char *word, size_t n, tok_merger *m)
{
    for (size_t at = 0, size; at < n; at += size) {
        size = kvass_trie_longest(&spm->whole, word + at, n - at, NULL);
        size = size > 0 ? size : kvass_utf8_char(word + at, n - at, NULL);
        size = size > 0 ? size : 1;
        kvass_merger_add(m, kvass_vocab_word(spm->vocab, word + at, size), at, size);
    }
}

static kvass_status encode_part(const tok_spm *spm, const char *word, size_t n, tok_run *run)
{
    tok_merger *m = &run->merger;
    kvass_status status = kvass_merger_begin(m, n, run->err);
    if (status != KVASS_OK) {
        return status;
    }
    size_t first = run->ids.n;
    add_symbols(spm, word, n, m);
    status = kvass_merger_run(m, merge_rule, spm, word, &run->ids, run->err);
    bool whole = true;
    for (size_t i = first; i < run->ids.n; i++) {
        whole = whole && run->ids.data[i] >= 0;
    }
    if (status != KVASS_OK || whole) {
        return status;
    }
    run->ids.n = first; /* rare: some symbol is no word, so they are put one by one */
    for (int32_t i = 0; i >= 0 && status == KVASS_OK; i = m->symbols[i].next) {
        const tok_symbol *s = &m->symbols[i];
        if (s->id < 0) {
            status = push_bytes(spm, word + s->start, s->n_bytes, run);
        } else if (!kvass_ids_push(&run->ids, s->id)) {
            status = kvass_fail_nomem(run->err, sizeof s->id, "token ids");
        }
    }
    return status;
}

static kvass_status encode(const void *self, const char *word, size_t n_bytes, tok_run *run)
{
    const tok_spm *spm = self;
    kvass_status status = KVASS_OK;
    for (size_t at = 0, end; status == KVASS_OK && at < n_bytes; at = end) {
        end = spm->by_words ? kvass_merge_end(word, n_bytes, at, WORD_MARK, N_MARK) : n_bytes;
        status = encode_part(spm, word + at, end - at, run);
    }
    return status;
}

const tok_model_ops kvass_spm_ops = {"spm", encode, close_spm};
