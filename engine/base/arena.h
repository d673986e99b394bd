/* arena.h - one block of memory, carved once.
 * The same carving code runs twice: first over an empty arena that only counts, then over one that
 * has its block. So the size is known before anything is taken, and nothing is taken later.
 */
#ifndef KVASS_BASE_ARENA_H
#define KVASS_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct kvass_arena {
    unsigned char *base; /* NULL while counting */
    size_t size;         /* of the block; 0 while counting */
    size_t used;         /* carved or counted so far */
    bool overflow;       /* a size did not fit size_t, or the block was too small */
} kvass_arena;

/* n * item_bytes bytes, zeroed, aligned to 64; NULL while counting or on overflow (check
 * arena->overflow once at the end). */
void *kvass_arena_take(kvass_arena *arena, size_t n, size_t item_bytes);

/* Take the block that a counting run over *arena asked for and rewind. false: out of memory or
 * overflow. */
bool kvass_arena_commit(kvass_arena *arena);

/* Give the block back; the arena is empty again. */
void kvass_arena_release(kvass_arena *arena);

#endif
