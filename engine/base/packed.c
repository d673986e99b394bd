/* packed.c - see packed.h. */
#include "engine/base/packed.h"

#include <string.h>

/* bytes in front of a block's halves: some types have them last */
static size_t before_halves(kvass_dtype dtype)
{
    bool last = dtype == KVASS_DTYPE_Q2_K || dtype == KVASS_DTYPE_Q3_K || dtype == KVASS_DTYPE_Q6_K;
    return last ? (size_t)(kvass_dtype_get(dtype)->block_bytes - kvass_packed_head(dtype)) : 0;
}

/* Bit c of the first 4 bytes is bit c/4 of byte c%4 of the others; either is made of the other. */
static void copy_fifth(unsigned char *plain, unsigned char *packed, bool pack)
{
    unsigned char out[KVASS_PACK_UNIT] = {0};
    for (uint32_t c = 0; c < KVASS_QBLOCK; c++) {
        uint32_t byte = pack ? plain[c / 8] : packed[c % 4];
        uint32_t bit = byte >> (pack ? c % 8 : c / 4) & 1u, at = pack ? c % 4 : c / 8;
        out[at] = (unsigned char)(out[at] | bit << (pack ? c / 4 : c % 8));
    }
    memcpy(pack ? packed : plain, out, sizeof out);
}

/* The pieces of one block of one row: `plain` is the block as its type has it, `packed` the group's
 * block. Either is copied to the other. */
static void copy_block(kvass_dtype dtype, int32_t row, unsigned char *plain, unsigned char *packed,
                       bool pack)
{
    const size_t half = sizeof(uint16_t), unit = KVASS_PACK_UNIT;
    size_t n_bytes = (size_t)kvass_dtype_get(dtype)->block_bytes, before = before_halves(dtype);
    size_t head = (size_t)kvass_packed_head(dtype), at = head;
    unsigned char *from = before > 0 ? plain : plain + head;
    for (size_t i = 0; i < head; i += half) {
        unsigned char *place = packed + i * KVASS_PACK_ROWS + (size_t)row * half;
        memcpy(pack ? place : plain + before + i, pack ? plain + before + i : place, half);
    }
    packed += (size_t)row * unit;
    if (dtype == KVASS_DTYPE_Q5_0 || dtype == KVASS_DTYPE_Q5_1) {
        copy_fifth(from, packed + at * KVASS_PACK_ROWS, pack);
        at += unit;
        from += unit;
    }
    for (; at < n_bytes; at += unit, from += unit) {
        unsigned char *place = packed + at * KVASS_PACK_ROWS;
        memcpy(pack ? place : from, pack ? from : place, unit);
    }
}

void kvass_pack_rows(kvass_dtype dtype, void *rows, size_t row_bytes, int32_t n_rows, void *scratch)
{
    size_t block_bytes = (size_t)kvass_dtype_get(dtype)->block_bytes;
    size_t n_blocks = row_bytes / block_bytes;
    unsigned char *group = rows;
    for (int32_t r = 0; r + KVASS_PACK_ROWS <= n_rows; r += KVASS_PACK_ROWS) {
        memcpy(scratch, group, KVASS_PACK_ROWS * row_bytes);
        for (int32_t i = 0; i < KVASS_PACK_ROWS; i++) {
            unsigned char *row = (unsigned char *)scratch + (size_t)i * row_bytes;
            for (size_t b = 0; b < n_blocks; b++) {
                copy_block(dtype, i, row + b * block_bytes,
                           group + b * block_bytes * KVASS_PACK_ROWS, true);
            }
        }
        group += KVASS_PACK_ROWS * row_bytes;
    }
}

const void *kvass_weight_block(const kvass_weight *w, int32_t row, int32_t i, void *out)
{
    size_t at = (size_t)i * (size_t)kvass_dtype_get(w->dtype)->block_bytes;
    unsigned char *data = (unsigned char *)(uintptr_t)w->data;
    if (row >= kvass_packed_end(w)) {
        return data + (size_t)row * w->row_bytes + at;
    }
    int32_t in_group = row % KVASS_PACK_ROWS;
    unsigned char *group = data + (size_t)(row - in_group) * w->row_bytes;
    copy_block(w->dtype, in_group, out, group + at * KVASS_PACK_ROWS, false);
    return out;
}
