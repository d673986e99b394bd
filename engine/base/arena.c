/* arena.c - count, commit, carve; see arena.h. */
#include "engine/base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

enum { ALIGNMENT = 64 }; /* a cache line, and the widest vector load */

void *kvass_arena_take(kvass_arena *arena, size_t n, size_t item_bytes)
{
    size_t n_bytes, end;
    if (!kvass_mul_size(n, item_bytes, &n_bytes) ||
        !kvass_round_up_size(n_bytes, ALIGNMENT, &n_bytes) ||
        !kvass_add_size(arena->used, n_bytes, &end) || (arena->base && end > arena->size)) {
        arena->overflow = true;
        return NULL;
    }
    void *taken = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    return taken;
}

bool kvass_arena_commit(kvass_arena *arena)
{
    if (arena->overflow) {
        return false;
    }
    size_t size = arena->used > 0 ? arena->used : ALIGNMENT;
    arena->base = aligned_alloc(ALIGNMENT, size);
    if (!arena->base) {
        return false;
    }
    memset(arena->base, 0, size);
    arena->size = size;
    arena->used = 0;
    return true;
}

void kvass_arena_release(kvass_arena *arena)
{
    free(arena->base);
    *arena = (kvass_arena){0};
}
