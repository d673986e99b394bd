/* checked.h - arithmetic on sizes that come from files or callers.
 * Every product or sum that sizes an allocation or an offset goes through here; each function
 * returns true when the exact result fits and only then writes it.
 */
#ifndef KVASS_BASE_CHECKED_H
#define KVASS_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool kvass_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool kvass_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* a rounded up to a multiple of `unit`, a power of two */
static inline bool kvass_round_up_size(size_t a, size_t unit, size_t *out)
{
    size_t sum;
    if (!kvass_add_size(a, unit - 1, &sum)) {
        return false;
    }
    *out = sum & ~(unit - 1);
    return true;
}

/* whether [offset, offset + n_bytes) lies inside [0, size) */
static inline bool kvass_range_inside(uint64_t offset, uint64_t n_bytes, uint64_t size)
{
    return offset <= size && n_bytes <= size - offset;
}

#endif
