/* spm_model.c - the reader of SentencePiece's .model files, protocol buffers.
 * ModelProto: 1 pieces {1 text, 2 score, 3 type}, 2 trainer {3 kind of model, 24 space as suffix,
 * 35 byte fallback, 41 BOS, 42 EOS}, 3 normalizer {2 map, 3 space first, 4 remove extra spaces,
 * 5 escape spaces}. Everything else is passed over.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "tokenizer/build.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/sentencepiece.h"

#define MAX_FILE_BYTES ((size_t)256 << 20)
#define KIND_UNIGRAM   1
#define KIND_BPE       2

typedef struct model {
    tok_spm_file spm;
    tok_spm_piece *pieces;
    uint64_t kind;
    bool suffix_space;
} model;

static kvass_status fail_field(const model *m, const char *where, size_t at, kvass_error *err)
{
    return kvass_fail(err, KVASS_FORMAT, "PROTOBUF",
                      "%s: byte %zu: no well-formed field of %s there", m->spm.path, at, where);
}

/* Where the bytes of a field lie in the file. */
static size_t place(const kvass_reader *file, const unsigned char *bytes)
{
    return (size_t)(bytes - file->bytes);
}

static kvass_status read_piece(model *m, const kvass_reader *file, const pb_field *message,
                               tok_spm_piece *piece, kvass_error *err)
{
    kvass_reader r = {message->bytes, message->n_bytes, 0};
    pb_field f;
    *piece = (tok_spm_piece){.text = "", .type = TOK_PIECE_NORMAL};
    while (pb_next(&r, &f)) {
        if (f.number == 1 && f.wire == PB_BYTES && f.n_bytes <= UINT32_MAX) {
            piece->text = (const char *)f.bytes;
            piece->n_bytes = (uint32_t)f.n_bytes;
        } else if (f.number == 2 && f.wire == PB_FIXED32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&piece->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == PB_VARINT) {
            piece->type = f.value <= TOK_PIECE_BYTE ? (int32_t)f.value : 0;
        }
    }
    return kvass_reader_left(&r) == 0
               ? KVASS_OK
               : fail_field(m, "a piece", place(file, message->bytes) + r.at, err);
}

static kvass_status read_trainer(model *m, const kvass_reader *file, const pb_field *message,
                                 kvass_error *err)
{
    kvass_reader r = {message->bytes, message->n_bytes, 0};
    pb_field f;
    while (pb_next(&r, &f)) {
        int32_t id = f.value <= KVASS_MAX_VOCAB ? (int32_t)f.value : -1;
        if (f.wire != PB_VARINT) {
            continue;
        }
        switch (f.number) {
        case 3:
            m->kind = f.value;
            break;
        case 24:
            m->suffix_space = f.value != 0;
            break;
        case 35:
            m->spm.byte_fallback = f.value != 0;
            break;
        case 41:
            m->spm.bos = id;
            break;
        case 42:
            m->spm.eos = id;
            break;
        default:
            break;
        }
    }
    return kvass_reader_left(&r) == 0
               ? KVASS_OK
               : fail_field(m, "the trainer's part", place(file, message->bytes) + r.at, err);
}

static kvass_status read_normalizer(model *m, const kvass_reader *file, const pb_field *message,
                                    kvass_error *err)
{
    kvass_reader r = {message->bytes, message->n_bytes, 0};
    pb_field f;
    while (pb_next(&r, &f)) {
        if (f.number == 2 && f.wire == PB_BYTES) {
            m->spm.map = f.bytes;
            m->spm.n_map = f.n_bytes;
        } else if (f.wire == PB_VARINT && f.number == 3) {
            m->spm.prefix_space = f.value != 0;
        } else if (f.wire == PB_VARINT && f.number == 4) {
            m->spm.remove_extra = f.value != 0;
        } else if (f.wire == PB_VARINT && f.number == 5) {
            m->spm.escape = f.value != 0;
        }
    }
    return kvass_reader_left(&r) == 0
               ? KVASS_OK
               : fail_field(m, "the normalizer", place(file, message->bytes) + r.at, err);
}

/* How many pieces there are; all top fields are well-formed. */
static kvass_status count_pieces(const model *m, kvass_reader r, size_t *n, kvass_error *err)
{
    pb_field f;
    *n = 0;
    while (pb_next(&r, &f)) {
        *n += f.number == 1 && f.wire == PB_BYTES;
    }
    if (kvass_reader_left(&r) > 0) {
        return fail_field(m, "a SentencePiece model", r.at, err);
    }
    if (*n == 0 || *n > KVASS_MAX_VOCAB) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE", "%s: %zu pieces, expected 1 .. %d",
                          m->spm.path, *n, KVASS_MAX_VOCAB);
    }
    return KVASS_OK;
}

static kvass_status read_fields(model *m, const kvass_reader *file, kvass_error *err)
{
    kvass_reader r = *file;
    pb_field f;
    kvass_status status = KVASS_OK;
    while (status == KVASS_OK && pb_next(&r, &f)) {
        if (f.wire != PB_BYTES) {
            continue;
        }
        if (f.number == 1) {
            status = read_piece(m, file, &f, &m->pieces[m->spm.n_pieces++], err);
        } else if (f.number == 2) {
            status = read_trainer(m, file, &f, err);
        } else if (f.number == 3) {
            status = read_normalizer(m, file, &f, err);
        }
    }
    return status;
}

static kvass_status check_kind(const model *m, kvass_error *err)
{
    if (m->kind != KIND_UNIGRAM && m->kind != KIND_BPE) {
        return kvass_fail(
            err, KVASS_UNSUPPORTED, "TOKENIZER_MODEL",
            "%s: SentencePiece model type %llu is not supported, only 1 (unigram) and "
            "2 (BPE) are",
            m->spm.path, (unsigned long long)m->kind);
    }
    if (m->suffix_space) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "NORMALIZER",
                          "%s: SentencePiece's treat_whitespace_as_suffix is not supported",
                          m->spm.path);
    }
    return KVASS_OK;
}

/* tokenizer_config.json beside it may say that BOS is not added, or that EOS is. */
static kvass_status apply_config(kvass_tokenizer *tok, const char *path, kvass_error *err)
{
    kvass_json *config;
    kvass_status status = kvass_config_open(&config, path, err);
    bool add_bos = true, add_eos = false;
    if (status == KVASS_OK) {
        (void)kvass_json_as_bool(kvass_json_get(config, "add_bos_token"), &add_bos);
        (void)kvass_json_as_bool(kvass_json_get(config, "add_eos_token"), &add_eos);
        tok->prefix.n = add_bos ? tok->prefix.n : 0;
        status = kvass_config_apply(tok, config, err);
    }
    if (status == KVASS_OK && add_eos && tok->eos >= 0 && !kvass_ids_push(&tok->suffix, tok->eos)) {
        status = kvass_fail_nomem(err, sizeof tok->eos, "token ids");
    }
    kvass_json_close(&config);
    return status;
}

static kvass_status read_model(kvass_tokenizer *tok, const char *path, const kvass_reader *file,
                               kvass_error *err)
{
    model m = {.kind = KIND_UNIGRAM}; /* and what else is not there has these values */
    m.spm = (tok_spm_file){.path = path,
                           .bos = 1,
                           .eos = 2,
                           .prefix_space = true,
                           .remove_extra = true,
                           .escape = true};
    size_t n;
    kvass_status status = count_pieces(&m, *file, &n, err);
    if (status != KVASS_OK) {
        return status;
    }
    m.pieces = calloc(n, sizeof *m.pieces);
    if (!m.pieces) {
        return kvass_fail_nomem(err, n * sizeof *m.pieces, "pieces");
    }
    m.spm.pieces = m.pieces;
    status = read_fields(&m, file, err);
    if (status == KVASS_OK) {
        status = check_kind(&m, err);
    }
    m.spm.unigram = m.kind == KIND_UNIGRAM;
    if (status == KVASS_OK) {
        status = kvass_spm_build(tok, &m.spm, err);
    }
    free(m.pieces);
    return status;
}

static kvass_status read_file(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    char *bytes;
    size_t n_bytes;
    kvass_status status = kvass_file_slurp(source->path, MAX_FILE_BYTES, &bytes, &n_bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    kvass_reader r = {(const unsigned char *)bytes, n_bytes, 0};
    status = read_model(tok, source->path, &r, err);
    free(bytes);
    return status == KVASS_OK ? apply_config(tok, source->path, err) : status;
}

/* It begins with a piece that begins with its text; or it has no other format's beginning, and the
 * name that such files have. */
static bool fits(const tok_source *source)
{
    size_t n_path = strlen(source->path);
    bool named = n_path > 6 && strcmp(source->path + n_path - 6, ".model") == 0;
    if (named && source->n_head > 0 && (source->head[0] == 0x0a || source->head[0] == 0x12)) {
        return true;
    }
    kvass_reader r = {source->head, source->n_head, 0};
    const unsigned char *tag = kvass_reader_take(&r, 1);
    uint64_t n_piece, n_text;
    if (source->json || !tag || *tag != 0x0a || !pb_varint(&r, &n_piece)) {
        return false;
    }
    size_t begin = r.at;
    tag = kvass_reader_take(&r, 1);
    return tag && *tag == 0x0a && pb_varint(&r, &n_text) && n_text <= n_piece &&
           n_piece - n_text >= r.at - begin;
}

const tok_reader kvass_reader_sentencepiece = {fits, read_file};
