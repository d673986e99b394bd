/* watch.c - see watch.h. A cell that was told but not scaled yet is marked as READ. */
#include "engine/watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/error.h"

enum { READ = KVASS_N_KEYS };

const char *kvass_key_name(kvass_key key)
{
    static const char *const names[] = {
#define X(name, text) text,
        KVASS_KEY_MAP(X)
#undef X
    };
    size_t i = (size_t)key;
    return i < sizeof names / sizeof names[0] ? names[i] : "?";
}

static int32_t n_segments(int32_t n)
{
    return (n + KVASS_SEGMENT_ROWS - 1) / KVASS_SEGMENT_ROWS;
}

void kvass_watch_keys(kvass_watch_row row, int32_t s, float max, int32_t pos, int32_t n,
                      const float *weights)
{
    const kvass_attention_map *map = &row.watch->maps[row.map];
    size_t at = (size_t)row.pos * (size_t)map->n + (size_t)pos;
    row.watch->seg_max[row.map][row.pos * n_segments(map->n) + s] = max;
    memcpy(map->weights + at, weights, (size_t)n * sizeof *weights);
    memset(map->keys + at, READ, (size_t)n);
}

/* what a key is to a query at pos; n_first: meta tokens and prefix */
static kvass_key key_of(const kvass_block *block, kv_view view, int32_t n_first, int32_t chosen,
                        int32_t key, bool read)
{
    if (key >= view.hi) {
        return KVASS_KEY_FUTURE;
    }
    if (!read) {
        return key >= view.lo ? KVASS_KEY_SKIPPED : KVASS_KEY_EVICTED;
    }
    if (key < block->policy.n_pinned) {
        return key < n_first ? KVASS_KEY_META : KVASS_KEY_SINK;
    }
    return key < chosen ? KVASS_KEY_PAGE : KVASS_KEY_WINDOW;
}

void kvass_watch_end(kvass_watch_row row, const kvass_context *ctx, const kvass_block *block,
                     int32_t chosen, float max, float sum)
{
    const kvass_attention_map *map = &row.watch->maps[row.map];
    const float *seg_max = row.watch->seg_max[row.map] + row.pos * n_segments(map->n);
    float *weights = map->weights + (size_t)row.pos * (size_t)map->n;
    unsigned char *keys = map->keys + (size_t)row.pos * (size_t)map->n;
    kv_view view = block->retain->view(&block->policy, row.pos);
    for (int32_t j = 0; j < map->n; j++) {
        bool read = keys[j] == READ;
        weights[j] = read ? weights[j] * expf(seg_max[j / KVASS_SEGMENT_ROWS] - max) / sum : 0.0f;
        keys[j] = (unsigned char)key_of(block, view, ctx->n_meta + ctx->n_prefix, chosen, j, read);
    }
}

/* ---- whom to watch --------------------------------------------------------------------------- */

static kvass_status check_map(const kvass_context *ctx, const kvass_attention_map *map, int32_t i,
                              kvass_error *err)
{
    const kvass_config *c = &ctx->model->config;
    if (map->layer < 0 || map->layer >= c->n_layers || map->head < 0 || map->head >= c->n_heads) {
        return kvass_fail(err, KVASS_INVALID, "MAP",
                          "map %d: layer %d, head %d: the model has %d layers of %d heads", i,
                          map->layer, map->head, c->n_layers, c->n_heads);
    }
    if (map->n < 1 || !map->weights || !map->keys) {
        return kvass_fail(err, KVASS_INVALID, "MAP", "map %d: no room for weights and keys", i);
    }
    if (map->n > ctx->n_meta + ctx->n_ctx) {
        return kvass_fail(err, KVASS_INVALID, "MAP", "map %d: %d positions, the context holds %d",
                          i, map->n, ctx->n_meta + ctx->n_ctx);
    }
    return KVASS_OK;
}

static void release(kvass_watch *watch, int32_t n_maps)
{
    for (int32_t i = 0; watch && watch->seg_max && i < n_maps; i++) {
        free(watch->seg_max[i]);
    }
    if (watch) {
        free(watch->seg_max);
        free(watch->maps);
        free(watch->map_of);
        free(watch);
    }
}

void kvass_watch_close(kvass_context *ctx)
{
    if (ctx->watch) {
        release(ctx->watch, ctx->watch->n_maps);
        ctx->watch = NULL;
    }
}

/* everything a watch needs, or NULL */
static kvass_watch *new_watch(const kvass_context *ctx, const kvass_attention_map *maps,
                              int32_t n_maps)
{
    size_t n = (size_t)n_maps;
    size_t n_cells = (size_t)ctx->model->config.n_layers * (size_t)ctx->model->config.n_heads;
    kvass_watch *watch = calloc(1, sizeof *watch);
    if (!watch) {
        return NULL;
    }
    watch->maps = calloc(n, sizeof *watch->maps);
    watch->map_of = calloc(n_cells, sizeof *watch->map_of);
    watch->seg_max = calloc(n, sizeof *watch->seg_max);
    bool ok = watch->maps && watch->map_of && watch->seg_max;
    for (int32_t i = 0; ok && i < n_maps; i++) {
        watch->seg_max[i] =
            calloc((size_t)maps[i].n * (size_t)n_segments(maps[i].n), sizeof **watch->seg_max);
        ok = watch->seg_max[i] != NULL;
    }
    if (!ok) {
        release(watch, n_maps);
        return NULL;
    }
    watch->n_maps = n_maps;
    watch->n_heads = ctx->model->config.n_heads;
    memset(watch->map_of, 0xff, n_cells * sizeof *watch->map_of);
    return watch;
}

kvass_status kvass_seq_watch(kvass_seq *seq, const kvass_attention_map *maps, int32_t n_maps,
                             kvass_error *err)
{
    if (!seq || !seq->open || n_maps < 0 || (n_maps > 0 && !maps)) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "an open sequence, and maps, are needed");
    }
    kvass_context *ctx = seq->ctx;
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < n_maps && !status; i++) {
        status = check_map(ctx, &maps[i], i, err);
    }
    kvass_watch *watch = NULL;
    if (!status && n_maps > 0 && !(watch = new_watch(ctx, maps, n_maps))) {
        status = kvass_fail_nomem(err, (size_t)n_maps * sizeof *maps, "watching attention");
    }
    if (status) {
        return status;
    }
    kvass_watch_close(ctx);
    for (int32_t i = 0; i < n_maps; i++) {
        size_t n_cells = (size_t)maps[i].n * (size_t)maps[i].n;
        memset(maps[i].weights, 0, n_cells * sizeof *maps[i].weights);
        memset(maps[i].keys, KVASS_KEY_FUTURE, n_cells);
        watch->maps[i] = maps[i];
        watch->map_of[maps[i].layer * watch->n_heads + maps[i].head] = i;
        watch->seq = seq;
    }
    ctx->watch = watch;
    return KVASS_OK;
}
