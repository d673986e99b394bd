/* stream.c - ids in, complete UTF-8 out.
 * Bytes that may begin a character wait (at most 3) for the rest; bytes that can be no part of one
 * pass through as they are: what to show for them is the caller's choice.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

#define MAX_HELD 3

struct kvass_stream {
    const kvass_tokenizer *tok;
    bool with_special;
    bool at_start;  /* nothing but control tokens so far */
    bool any;       /* a token was shown */
    size_t n_joint; /* 1 when a space goes before the text of this one */
    size_t n_held;
    char held[MAX_HELD];
    char *bytes; /* [MAX_HELD + 1 + longest piece]: what the last put gave out */
};

kvass_status kvass_stream_open(kvass_stream **out, const kvass_tokenizer *tok, bool with_special,
                               kvass_error *err)
{
    if (!out || !tok) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "kvass_stream_open: out or tok is NULL");
    }
    *out = NULL;
    size_t n_bytes = MAX_HELD + 1 + tok->vocab.longest;
    kvass_stream *s = calloc(1, sizeof *s);
    char *bytes = malloc(n_bytes);
    if (!s || !bytes) {
        free(s);
        free(bytes);
        return kvass_fail_nomem(err, n_bytes, "a stream");
    }
    *s = (kvass_stream){.tok = tok, .with_special = with_special, .at_start = true, .bytes = bytes};
    *out = s;
    return KVASS_OK;
}

void kvass_stream_close(kvass_stream **stream)
{
    if (stream && *stream) {
        free((*stream)->bytes);
        free(*stream);
        *stream = NULL;
    }
}

/* text[*n_bytes] without its spaces, in the stream's own room. */
static const char *without_spaces(kvass_stream *s, const char *text, size_t *n_bytes)
{
    char *out = s->bytes + MAX_HELD + 1;
    size_t n = 0;
    for (size_t i = 0; i < *n_bytes; i++) {
        if (text[i] != ' ') {
            out[n++] = text[i];
        }
    }
    *n_bytes = n;
    return out;
}

/* The text of one id here: nothing for control tokens, no space at the beginning of a text. */
static const char *piece_text(kvass_stream *s, int32_t id, size_t *n_bytes)
{
    const kvass_tokenizer *tok = s->tok;
    const char *text = kvass_tokenizer_piece(tok, id, n_bytes);
    bool special = tok->vocab.pieces[id].flags & TOK_SPECIAL;
    bool shown = !special || s->with_special;
    s->n_joint = tok->join_space && s->any && shown ? 1 : 0;
    s->any = s->any || shown;
    if (special) {
        s->at_start = s->at_start || id == tok->bos;
        *n_bytes = shown ? *n_bytes : 0;
        return text;
    }
    if (s->at_start && tok->strip_spaces) {
        text = without_spaces(s, text, n_bytes);
    } else if (s->at_start && tok->strip_space && *n_bytes > 0 && text[0] == ' ') {
        text++;
        --*n_bytes;
    }
    s->at_start = false;
    return text;
}

kvass_status kvass_stream_put(kvass_stream *stream, int32_t id, const char **bytes, size_t *n_bytes,
                              kvass_error *err)
{
    if (!stream || !bytes || !n_bytes) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "kvass_stream_put: stream, bytes or n_bytes is NULL");
    }
    if (id < 0 || id >= stream->tok->vocab.n_vocab) {
        return kvass_fail(err, KVASS_INVALID, "TOKEN_ID", "token id %d, expected 0 .. %d", id,
                          stream->tok->vocab.n_vocab - 1);
    }
    size_t n_text;
    const char *text = piece_text(stream, id, &n_text);
    memcpy(stream->bytes, stream->held, stream->n_held);
    memmove(stream->bytes + stream->n_held + stream->n_joint, text, n_text);
    if (stream->n_joint > 0) {
        stream->bytes[stream->n_held] = ' ';
    }
    size_t n = stream->n_held + stream->n_joint + n_text;
    stream->n_held = kvass_utf8_partial(stream->bytes, n);
    n -= stream->n_held;
    memcpy(stream->held, stream->bytes + n, stream->n_held);
    *bytes = stream->bytes;
    *n_bytes = n;
    return KVASS_OK;
}

void kvass_stream_end(kvass_stream *stream, const char **bytes, size_t *n_bytes)
{
    memcpy(stream->bytes, stream->held, stream->n_held);
    *bytes = stream->bytes;
    *n_bytes = stream->n_held;
    stream->n_held = 0;
    stream->at_start = true;
    stream->any = false;
}
