/* unigram.c - unigram.h. best[i] is the best way to reach byte i of the word; a way goes through
 * the ends of characters only. Where no piece reaches over a mark the best ways to it all share one
 * place, so what lies before can be given out, and only its score goes on.
 */
#include "tokenizer/unigram.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "tokenizer/bpe.h"
#include "tokenizer/utf8.h"

/* The best way to a place. */
typedef struct way {
    double score;
    int32_t id;       /* of its last piece */
    uint32_t n_bytes; /* of its last piece; 0: the place is not reached */
} way;

static void close_unigram(void *self)
{
    tok_unigram *m = self;
    if (m) {
        kvass_trie_close(&m->pieces);
        free(m->scores);
        free(m);
    }
}

static void offer(const tok_unigram *m, way *to, double score, int32_t id, uint32_t n_bytes)
{
    score = m->single ? (double)(float)score : score;
    if (to->n_bytes == 0 || score > to->score) {
        *to = (way){score, id, n_bytes};
    }
}

static size_t char_size(const char *s, size_t n)
{
    size_t size = kvass_utf8_char(s, n, NULL);
    return size > 0 ? size : 1;
}

/* Fill best[1 .. n] from best[0]. */
static void find_ways(const tok_unigram *m, const char *s, size_t n, way *best)
{
    for (size_t at = 0, size; at < n; at += size) {
        size = char_size(s + at, n - at);
        bool has_single = false;
        uint32_t node = 0;
        for (size_t i = at; i < n; i++) {
            node = kvass_trie_child(&m->pieces, node, (unsigned char)s[i]);
            if (node == 0) {
                break;
            }
            int32_t id = m->pieces.values[node];
            if (id >= 0) {
                uint32_t n_piece = (uint32_t)(i + 1 - at);
                offer(m, &best[i + 1], m->scores[id] + best[at].score, id, n_piece);
                has_single = has_single || n_piece == size;
            }
        }
        if (!has_single) {
            offer(m, &best[at + size], m->unk_score + best[at].score, m->unk, (uint32_t)size);
        }
    }
}

/* The ids of unknown text: it may be a piece by itself (the one named for what is unknown), else
 * its bytes, else unknown. */
static bool put_unknown(const tok_unigram *m, const char *s, size_t n, tok_ids *ids)
{
    int32_t id = -1;
    if (kvass_trie_longest(&m->pieces, s, n, &id) == n) {
        return kvass_ids_push(ids, id);
    }
    for (size_t i = 0; i < n; i++) {
        if (m->byte_ids[(unsigned char)s[i]] < 0) {
            return kvass_ids_push(ids, m->unk);
        }
    }
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        ok = kvass_ids_push(ids, m->byte_ids[(unsigned char)s[i]]);
    }
    return ok;
}

/* Give out the pieces of the best way through s[n], which ends at best[n]. The way is turned round
 * first: best[i].n_bytes becomes the length of the piece that begins at i. */
static kvass_status put_pieces(const tok_unigram *m, const char *s, size_t n, way *best,
                               tok_run *run)
{
    way next = best[n];
    for (size_t at = n; at > 0;) {
        size_t begin = at - next.n_bytes;
        way before = best[begin];
        best[begin] = next;
        next = before;
        at = begin;
    }
    bool ok = true;
    for (size_t at = 0, end; ok && at < n; at = end) {
        int32_t id = best[at].id;
        end = at + best[at].n_bytes;
        if (id != m->unk) {
            ok = kvass_ids_push(&run->ids, id);
            continue;
        }
        while (end < n && best[end].id == m->unk) {
            end += best[end].n_bytes;
        }
        if (m->unk < 0) {
            return kvass_fail(
                run->err, KVASS_FORMAT, "WORD_UNKNOWN",
                "\"%.*s\" is not in the vocabulary, and there is no token for what is "
                "unknown",
                (int)(end - at < 60 ? end - at : 60), s + at);
        }
        ok = put_unknown(m, s + at, end - at, &run->ids);
    }
    return ok ? KVASS_OK : kvass_fail_nomem(run->err, run->ids.n * 4, "token ids");
}

static kvass_status encode(const void *self, const char *word, size_t n_bytes, tok_run *run)
{
    const tok_unigram *m = self;
    way *best = NULL;
    size_t cap = 0;
    double score = 0;
    kvass_status status = KVASS_OK;
    for (size_t at = 0, end; status == KVASS_OK && at < n_bytes; at = end) {
        end = n_bytes;
        if (m->by_words) {
            end = kvass_merge_end(word, n_bytes, at, WORD_MARK, sizeof WORD_MARK - 1);
        }
        size_t n = end - at, n_room = 0;
        if (n + 1 > cap) {
            cap = n + n / 2 + 64;
            free(best);
            best = kvass_mul_size(cap, sizeof *best, &n_room) ? malloc(n_room) : NULL;
            if (!best) {
                return kvass_fail_nomem(run->err, n_room, "ways through a word");
            }
        }
        memset(best, 0, (n + 1) * sizeof *best);
        best[0].score = score;
        find_ways(m, word + at, n, best);
        score = best[n].score;
        status = put_pieces(m, word + at, n, best, run);
    }
    free(best);
    return status;
}

static const tok_model_ops ops = {"unigram", encode, close_unigram};

kvass_status kvass_unigram_open(kvass_tokenizer *tok, tok_key *keys, size_t n_keys, double *scores,
                                tok_unigram **out, kvass_error *err)
{
    tok_unigram *m = calloc(1, sizeof *m);
    *out = m;
    if (!m) {
        free(scores);
        return kvass_fail_nomem(err, sizeof *m, "the tokenizer");
    }
    m->scores = scores;
    m->unk = -1;
    memset(m->byte_ids, 0xff, sizeof m->byte_ids);
    tok->ops = &ops;
    tok->model = m;
    m->by_words = true;
    for (size_t i = 0; i < n_keys && m->by_words; i++) {
        m->by_words =
            !kvass_merge_crosses(keys[i].text, keys[i].n_bytes, WORD_MARK, sizeof WORD_MARK - 1);
    }
    kvass_status status = kvass_trie_open(&m->pieces, keys, n_keys, err);
    m->by_words = status == KVASS_OK && m->by_words &&
                  kvass_trie_longest(&m->pieces, WORD_MARK, sizeof WORD_MARK - 1, NULL) > 0;
    return status;
}
