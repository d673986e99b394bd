/* reader.h - a cursor over bytes that never passes their end.
 * Each take returns false, and moves nothing, when too few bytes remain. Little-endian.
 */
#ifndef KVASS_BASE_READER_H
#define KVASS_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct kvass_reader {
    const unsigned char *bytes;
    size_t size;
    size_t at; /* next byte; <= size */
} kvass_reader;

static inline size_t kvass_reader_left(const kvass_reader *r)
{
    return r->size - r->at;
}

/* a view of the next n bytes, or NULL */
static inline const unsigned char *kvass_reader_take(kvass_reader *r, size_t n)
{
    if (n > kvass_reader_left(r)) {
        return NULL;
    }
    const unsigned char *p = r->bytes + r->at;
    r->at += n;
    return p;
}

static inline bool kvass_reader_u32(kvass_reader *r, uint32_t *out)
{
    const unsigned char *p = kvass_reader_take(r, 4);
    if (!p) {
        return false;
    }
    *out = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return true;
}

static inline bool kvass_reader_i32(kvass_reader *r, int32_t *out)
{
    uint32_t u;
    if (!kvass_reader_u32(r, &u)) {
        return false;
    }
    memcpy(out, &u, sizeof u);
    return true;
}

static inline bool kvass_reader_u64(kvass_reader *r, uint64_t *out)
{
    uint32_t lo = 0, hi = 0;
    if (kvass_reader_left(r) < 8) {
        return false;
    }
    (void)kvass_reader_u32(r, &lo);
    (void)kvass_reader_u32(r, &hi);
    *out = (uint64_t)hi << 32 | lo;
    return true;
}

static inline bool kvass_reader_f32(kvass_reader *r, float *out)
{
    uint32_t u;
    if (!kvass_reader_u32(r, &u)) {
        return false;
    }
    memcpy(out, &u, sizeof u);
    return true;
}

#endif
