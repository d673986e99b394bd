/* watch.h - attention's weights written into the caller's maps while they are computed.
 * Both paths of attention tell every stretch of keys that a query read, segment by segment, and
 * when the row is done, what to scale it by. Rows of different heads and positions are told by
 * different threads; a row's segments may be, too, but not its end.
 */
#ifndef KVASS_ENGINE_WATCH_H
#define KVASS_ENGINE_WATCH_H

#include "engine/context.h"

typedef struct kvass_watch {
    const kvass_seq *seq;
    int32_t n_heads, n_maps;
    kvass_attention_map *maps; /* maps[n_maps] */
    int32_t *map_of;           /* map_of[n_layers, n_heads]: -1 = none */
    float **seg_max;           /* seg_max[n_maps][n, segments]: what a segment's weights are to */
} kvass_watch;

/* A query: its row in one map. */
typedef struct kvass_watch_row {
    const kvass_watch *watch;
    int32_t map, pos;
} kvass_watch_row;

/* The row of a query head, if it is watched: else its watch is NULL. */
static inline kvass_watch_row kvass_watch_find(const kvass_context *ctx, const kvass_block *block,
                                               const kvass_run *run, int32_t head, int32_t pos)
{
    const kvass_watch *watch = ctx->watch;
    if (!watch || watch->seq != run->seq) {
        return (kvass_watch_row){0};
    }
    int32_t map = watch->map_of[(int32_t)(block - ctx->blocks) * watch->n_heads + head];
    bool watched = map >= 0 && pos < watch->maps[map].n;
    return watched ? (kvass_watch_row){watch, map, pos} : (kvass_watch_row){0};
}

/* Keys [pos, pos + n) of segment s were read, with weights[n] that are exp(score - max). */
void kvass_watch_keys(kvass_watch_row row, int32_t s, float max, int32_t pos, int32_t n,
                      const float *weights);
/* The row is complete: its softmax has this maximum and sum. Keys from `chosen` on, and pinned
 * ones, are read whatever select says. */
void kvass_watch_end(kvass_watch_row row, const kvass_context *ctx, const kvass_block *block,
                     int32_t chosen, float max, float sum);

/* Forget whom the context watches. */
void kvass_watch_close(kvass_context *ctx);

#endif
