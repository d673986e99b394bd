/* bpe.c - bpe.h: the first symbols of a word, and the rule by which merge.c joins them. */
#include "tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/utf8.h"

#define BYTE_PAIRS_BYTES (65536 * sizeof(int32_t))

/* ---- building -------------------------------------------------------------------------------- */

static void close_bpe(void *self)
{
    tok_bpe *bpe = self;
    if (bpe) {
        kvass_pairs_close(&bpe->merges);
        free(bpe->byte_pairs);
        free(bpe);
    }
}

kvass_status kvass_bpe_open(tok_bpe **out, const tok_vocab *vocab, size_t n_merges,
                            kvass_error *err)
{
    *out = NULL;
    tok_bpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe || n_merges > INT32_MAX - 1 || !(bpe->byte_pairs = malloc(BYTE_PAIRS_BYTES))) {
        close_bpe(bpe);
        return kvass_fail_nomem(err, n_merges, "merges");
    }
    bpe->vocab = vocab;
    bpe->unk = -1;
    memset(bpe->byte_ids, 0xff, sizeof bpe->byte_ids);
    memset(bpe->byte_pairs, 0xff, BYTE_PAIRS_BYTES);
    kvass_status status = kvass_pairs_open(&bpe->merges, n_merges, err);
    if (status != KVASS_OK) {
        close_bpe(bpe);
        return status;
    }
    *out = bpe;
    return KVASS_OK;
}

/* The byte that id is the first symbol of, or -1. */
static int byte_of_id(const tok_bpe *bpe, int32_t id)
{
    const tok_word *word = &bpe->vocab->words.all[id];
    if (bpe->by_char || word->n_bytes != 1) {
        return -1;
    }
    int byte = (unsigned char)bpe->vocab->words.bytes[word->offset];
    return bpe->byte_ids[byte] == id ? byte : -1;
}

kvass_status kvass_bpe_add(tok_bpe *bpe, int32_t left, int32_t right, int32_t merged, bool *fresh,
                           kvass_error *err)
{
    int32_t rank = (int32_t)bpe->merges.n;
    kvass_status status = kvass_pairs_add(&bpe->merges, left, right, merged, fresh, err);
    if (status != KVASS_OK || !*fresh) {
        return status;
    }
    int l = byte_of_id(bpe, left), r = byte_of_id(bpe, right);
    if (l >= 0 && r >= 0) {
        bpe->byte_pairs[l << 8 | r] = rank;
    }
    return KVASS_OK;
}

int32_t kvass_bpe_find_next(const tok_bpe *bpe, const char *word, size_t n_bytes)
{
    size_t n = bpe->merges.n;
    int32_t guess = n > 0 ? bpe->merges.all[n - 1].value + 1 : -1;
    return kvass_words_near(&bpe->vocab->words, guess, word, n_bytes);
}

/* ---- encoding -------------------------------------------------------------------------------- */

static int32_t merge_rule(const void *self, const char *word, const tok_symbol *left,
                          const tok_symbol *right, int32_t *id)
{
    const tok_bpe *bpe = self;
    int32_t rank;
    if (left->n_bytes + right->n_bytes == 2 && !bpe->by_char) {
        const unsigned char *bytes = (const unsigned char *)word + left->start;
        rank = bpe->byte_pairs[bytes[0] << 8 | bytes[1]];
    } else {
        rank = kvass_pairs_find(&bpe->merges, left->id, right->id);
    }
    if (rank >= 0) {
        *id = bpe->merges.all[rank].value;
    }
    return rank;
}

/* A symbol for bytes that no word begins with. */
static kvass_status add_unknown(const tok_bpe *bpe, const char *word, size_t at, size_t n,
                                tok_run *run)
{
    if (bpe->unk < 0) {
        return kvass_fail(run->err, KVASS_FORMAT, "BYTE_UNKNOWN",
                          "the vocabulary has no token for the byte 0x%02x, and none for what is "
                          "unknown",
                          (unsigned)(unsigned char)word[at]);
    }
    tok_merger *m = &run->merger;
    tok_symbol *last = m->n_symbols > 0 ? &m->symbols[m->n_symbols - 1] : NULL;
    if (bpe->fuse_unk && last && last->id == bpe->unk) {
        last->n_bytes += (uint32_t)n;
    } else {
        kvass_merger_add(m, bpe->unk, at, n);
    }
    return KVASS_OK;
}

/* The symbols of one character, word[at .. at + n): a word, its bytes, or unknown. */
static kvass_status add_char(const tok_bpe *bpe, const char *word, size_t at, size_t n,
                             tok_run *run)
{
    int32_t id = kvass_vocab_word(bpe->vocab, word + at, n);
    if (id >= 0) {
        kvass_merger_add(&run->merger, id, at, n);
        return KVASS_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (bpe->byte_ids[(unsigned char)word[at + i]] < 0) {
            return add_unknown(bpe, word, at, n, run);
        }
    }
    for (size_t i = 0; i < n; i++) {
        kvass_merger_add(&run->merger, bpe->byte_ids[(unsigned char)word[at + i]], at + i, 1);
    }
    return KVASS_OK;
}

static kvass_status add_symbols(const tok_bpe *bpe, const char *word, size_t n, tok_run *run)
{
    kvass_status status = KVASS_OK;
    for (size_t at = 0, size; status == KVASS_OK && at < n; at += size) {
        int32_t id = bpe->byte_ids[(unsigned char)word[at]];
        size = 1;
        if (bpe->by_char) {
            size = kvass_utf8_char(word + at, n - at, NULL);
            size = size > 0 ? size : 1; /* a byte that is no character */
            status = add_char(bpe, word, at, size, run);
        } else if (id >= 0) {
            kvass_merger_add(&run->merger, id, at, 1);
        } else {
            status = add_unknown(bpe, word, at, 1, run);
        }
    }
    return status;
}

static kvass_status encode(const void *self, const char *word, size_t n_bytes, tok_run *run)
{
    const tok_bpe *bpe = self;
    int32_t whole = bpe->ignore_merges ? kvass_vocab_word(bpe->vocab, word, n_bytes) : -1;
    if (whole >= 0) {
        return kvass_ids_push(&run->ids, whole) ? KVASS_OK
                                                : kvass_fail_nomem(run->err, 4, "token ids");
    }
    kvass_status status = KVASS_OK;
    for (size_t at = 0, end; status == KVASS_OK && at < n_bytes; at = end) {
        end = n_bytes;
        if (bpe->by_words) {
            end = kvass_merge_end(word, n_bytes, at, WORD_MARK, sizeof WORD_MARK - 1);
        }
        status = kvass_merger_begin(&run->merger, end - at, run->err);
        if (status == KVASS_OK) {
            status = add_symbols(bpe, word + at, end - at, run);
        }
        if (status == KVASS_OK) {
            status =
                kvass_merger_run(&run->merger, merge_rule, bpe, word + at, &run->ids, run->err);
        }
    }
    return status;
}

const tok_model_ops kvass_bpe_ops = {"bpe", encode, close_bpe};

/* ---- the printable alphabet ------------------------------------------------------------------ */

/* The byte that a character of the alphabet stands for, or -1. Printable bytes of Latin-1 stand for
 * themselves; the others follow from U+0100 on, in order. */
static int byte_of(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff)) {
        return (int)cp;
    }
    if (cp < 0x100 || cp > 0x143) {
        return -1;
    }
    int i = (int)cp - 0x100; /* 00 .. 20, 7f .. a0, ad */
    return i <= 0x20 ? i : i < 0x43 ? 0x7f + i - 0x21 : 0xad;
}

bool kvass_bytelevel_decode(const char *text, size_t n, char *out, size_t *n_out)
{
    *n_out = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t cp = (unsigned char)text[i];
        if (cp >= 0xc2 && cp <= 0xc5 && i + 1 < n && ((unsigned char)text[i + 1] & 0xc0) == 0x80) {
            cp = (cp & 0x1f) << 6 | ((unsigned char)text[++i] & 0x3f); /* up to U+017F */
        } else if (cp >= 0x80) {
            return false;
        }
        int byte = byte_of(cp);
        if (byte < 0) {
            return false;
        }
        out[(*n_out)++] = (char)byte;
    }
    return true;
}

/* The character that stands for a byte. */
static uint32_t char_of(unsigned char byte)
{
    if (byte_of(byte) == (int)byte) {
        return byte;
    }
    return 0x100 + (byte <= 0x20 ? byte : byte == 0xad ? 0x43u : byte - 0x7fu + 0x21u);
}

size_t kvass_bytelevel_encode(const char *bytes, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t cp = char_of((unsigned char)bytes[i]);
        if (cp < 0x80) {
            out[n_out++] = (char)cp;
        } else {
            out[n_out++] = (char)(0xc0 | cp >> 6);
            out[n_out++] = (char)(0x80 | (cp & 0x3f));
        }
    }
    return n_out;
}
