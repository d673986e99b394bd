/* protobuf.h - walking the fields of a protocol buffer message, for SentencePiece's .model.
 * A field is a number, a kind and a value; messages inside are bytes to walk in turn. Nothing is
 * copied, and nothing beyond the message is read.
 */
#ifndef KVASS_TOKENIZER_PROTOBUF_H
#define KVASS_TOKENIZER_PROTOBUF_H

#include "engine/base/reader.h"

typedef enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 } pb_wire;

typedef struct pb_field {
    uint32_t number;
    pb_wire wire;
    uint64_t value;             /* of a varint; the bits of a fixed32 or fixed64 */
    const unsigned char *bytes; /* [n_bytes], of PB_BYTES */
    size_t n_bytes;
} pb_field;

/* Up to ten bytes of seven bits, the lowest first. */
static inline bool pb_varint(kvass_reader *r, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const unsigned char *byte = kvass_reader_take(r, 1);
        if (!byte || (shift == 63 && *byte > 1)) {
            return false;
        }
        *out |= (uint64_t)(*byte & 0x7f) << shift;
        if (*byte < 0x80) {
            return true;
        }
    }
    return false;
}

/* The next field; false at the end (r->at == r->size) and where it is malformed (r->at is there).
 */
static inline bool pb_next(kvass_reader *r, pb_field *f)
{
    kvass_reader at = *r;
    uint64_t tag, n = 0;
    uint32_t low;
    *f = (pb_field){0};
    if (kvass_reader_left(r) == 0 || !pb_varint(&at, &tag) || tag >> 3 == 0 || tag >> 32 != 0) {
        return false;
    }
    f->number = (uint32_t)(tag >> 3);
    f->wire = (pb_wire)(tag & 7);
    bool ok = false;
    switch (f->wire) {
    case PB_VARINT:
        ok = pb_varint(&at, &f->value);
        break;
    case PB_FIXED64:
        ok = kvass_reader_u64(&at, &f->value);
        break;
    case PB_FIXED32:
        ok = kvass_reader_u32(&at, &low);
        f->value = ok ? low : 0;
        break;
    case PB_BYTES:
        ok = pb_varint(&at, &n) && n <= kvass_reader_left(&at);
        f->n_bytes = ok ? (size_t)n : 0;
        f->bytes = ok ? kvass_reader_take(&at, f->n_bytes) : NULL;
        break;
    }
    if (ok) {
        *r = at;
    }
    return ok;
}

#endif
