/* cache.c - the cache alone: a pool and one sequence behind the public kvass_cache.
 * For people who bring their own attention: append rows of a layer, read all of them back (a token
 * sees itself), advance when every layer has had its rows. Overflow is an error and writes nothing.
 */
#include <stdlib.h>

#include "engine/base/options.h"
#include "engine/cache/kv.h"

struct kvass_cache {
    kvass_arena arena;
    kv_owner *owners; /* owners[n_layers] */
    kvass_kernels kernels;
    kv_pool pool;
    kv_seq seq;
    int32_t *n_appended; /* n_appended[n_layers]: rows not yet advanced over */
};

kvass_cache_dims kvass_cache_dims_default(void)
{
    return (kvass_cache_dims){.struct_size = sizeof(kvass_cache_dims), .store = KVASS_STORE_F16};
}

static void carve(kvass_cache *cache, const kv_dims *dims)
{
    kv_pool_carve(&cache->pool, dims, cache->owners, &cache->arena);
    kv_seq_carve(&cache->seq, dims, cache->owners, &cache->arena);
    cache->n_appended =
        kvass_arena_take(&cache->arena, (size_t)dims->n_owners, sizeof *cache->n_appended);
}

static kvass_status check_dims(const kvass_cache_dims *d, kvass_error *err)
{
    const kv_store_ops *store = kv_store_get(d->store);
    enum { MAX_LAYERS = 1024, MAX_HEADS = 1 << 16, MAX_HEAD_DIM = 1 << 16, MAX_CTX = 1 << 24 };
    if (d->n_layers < 1 || d->n_layers > MAX_LAYERS || d->n_kv_heads < 1 ||
        d->n_kv_heads > MAX_HEADS || d->head_dim < 1 || d->head_dim > MAX_HEAD_DIM ||
        d->n_ctx < 1 || d->n_ctx > MAX_CTX || !store) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_DIMS",
                          "n_layers %d (1 to %d), n_kv_heads %d (1 to %d), head_dim %d (1 to %d), "
                          "n_ctx %d (1 to %d) or store %d is out of range",
                          d->n_layers, MAX_LAYERS, d->n_kv_heads, MAX_HEADS, d->head_dim,
                          MAX_HEAD_DIM, d->n_ctx, MAX_CTX, (int)d->store);
    }
    if (store->has_tail) {
        return kvass_fail(
            err, KVASS_UNSUPPORTED, "CACHE_STORE",
            "a cache alone stores f32 or f16: what a query reads of %s depends on its "
            "position, which only a context knows",
            store->name);
    }
    return KVASS_OK;
}

kvass_status kvass_cache_open(kvass_cache **out, const kvass_cache_dims *given, kvass_error *err)
{
    if (!out || !given) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "out and dims must be given");
    }
    *out = NULL;
    kvass_cache_dims d = kvass_cache_dims_default();
    kvass_status status;
    if ((status = kvass_options_take(&d, sizeof d, given, "kvass_cache_dims", err)) ||
        (status = check_dims(&d, err))) {
        return status;
    }
    kvass_cache *cache = calloc(1, sizeof *cache);
    if (!cache) {
        return kvass_fail_nomem(err, sizeof *cache, "a cache");
    }
    kv_dims dims = {.n_owners = d.n_layers,
                    .n_kv_heads = d.n_kv_heads,
                    .head_dim = d.head_dim,
                    .n_ctx = d.n_ctx,
                    .n_batch = d.n_ctx};
    cache->owners = calloc((size_t)d.n_layers, sizeof *cache->owners);
    if (!cache->owners) {
        status =
            kvass_fail_nomem(err, (size_t)d.n_layers * sizeof *cache->owners, "a cache's layers");
        goto fail;
    }
    for (int32_t l = 0; l < d.n_layers; l++) {
        kv_owner_plan(&cache->owners[l], &dims, (kv_policy){0});
        cache->owners[l].n_pages = cache->owners[l].n_entries;
    }
    carve(cache, &dims);
    size_t n_bytes = cache->arena.used;
    if (!kvass_arena_commit(&cache->arena)) {
        status = kvass_fail_nomem(err, n_bytes, "a cache's tables");
        goto fail;
    }
    carve(cache, &dims);
    cache->kernels = kvass_kernels_get(~0u);
    status = kv_pool_open(&cache->pool, kv_store_get(d.store), &cache->kernels, 0, err);
    if (status) {
        goto fail;
    }
    *out = cache;
    return KVASS_OK;
fail:
    kvass_cache_close(&cache);
    return status;
}

void kvass_cache_close(kvass_cache **cache)
{
    if (!cache || !*cache) {
        return;
    }
    kv_pool_close(&(*cache)->pool);
    kvass_arena_release(&(*cache)->arena);
    free((*cache)->owners);
    free(*cache);
    *cache = NULL;
}

static bool has_layer(const kvass_cache *cache, int32_t layer)
{
    return cache && layer >= 0 && layer < cache->pool.dims.n_owners;
}

kvass_status kvass_cache_append(kvass_cache *cache, int32_t layer, const float *k, const float *v,
                                int32_t n_rows, kvass_error *err)
{
    if (!has_layer(cache, layer) || !k || !v || n_rows < 0) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "a cache, one of its layers, k, v and a number of rows are needed");
    }
    const kv_dims *dims = &cache->pool.dims;
    int32_t first = cache->seq.n_rows + cache->n_appended[layer];
    if (n_rows > dims->n_ctx - first) {
        return kvass_fail(err, KVASS_CONTEXT_FULL, "CONTEXT_FULL",
                          "layer %d holds %d rows of %d: %d more do not fit", layer, first,
                          dims->n_ctx, n_rows);
    }
    /* pages are reserved for all layers at once; the deepest layer's rows decide */
    int32_t n_new = cache->n_appended[layer] + n_rows;
    if (n_new > cache->seq.n_reserved) {
        kv_seq *seq = &cache->seq;
        kv_seq_extend(&cache->pool, seq, n_new - seq->n_reserved);
    }
    for (int32_t r = 0; r < n_rows; r++) {
        for (int32_t kv_head = 0; kv_head < dims->n_kv_heads; kv_head++) {
            size_t at =
                ((size_t)r * (size_t)dims->n_kv_heads + (size_t)kv_head) * (size_t)dims->head_dim;
            kv_seq_put(&cache->pool, &cache->seq, layer, kv_head, first + r, k + at, v + at);
        }
    }
    cache->n_appended[layer] += n_rows;
    return KVASS_OK;
}

int32_t kvass_cache_n_rows(const kvass_cache *cache, int32_t layer)
{
    return has_layer(cache, layer) ? cache->seq.n_rows + cache->n_appended[layer] : 0;
}

/* out[pos, kv_head] = row `pos` of a range, for rows of a span read one by one in the caller's
 * layout */
static void read_span(const kvass_cache *cache, const kv_codec *codec, const void *range,
                      kv_span span, int32_t kv_head, float *out)
{
    const kv_dims *dims = &cache->pool.dims;
    for (int32_t i = 0; out && i < span.n_rows; i++) {
        size_t row = (size_t)(span.pos + i) * (size_t)dims->n_kv_heads + (size_t)kv_head;
        kv_span one = {span.row + i, 1, span.pos + i};
        codec->load(&cache->kernels, range, one, dims->head_dim,
                    out + row * (size_t)dims->head_dim);
    }
}

kvass_status kvass_cache_read(const kvass_cache *cache, int32_t layer, float *k, float *v,
                              kvass_error *err)
{
    if (!has_layer(cache, layer)) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "a cache and one of its layers are needed");
    }
    const kv_pool *pool = &cache->pool;
    int32_t n_rows = kvass_cache_n_rows(cache, layer);
    for (int32_t pos = 0; pos < n_rows; pos += KV_PAGE_ROWS) {
        int32_t end = n_rows - pos < KV_PAGE_ROWS ? n_rows : pos + KV_PAGE_ROWS;
        kv_span span[2]; /* one page: one span, and the room that kv_seq_spans asks for */
        (void)kv_seq_spans(pool, &cache->seq, layer, (kv_view){.lo = pos, .hi = end}, span);
        for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads; kv_head++) {
            read_span(cache, &pool->store->key, kv_pool_key_range(pool, layer, kv_head), span[0],
                      kv_head, k);
            read_span(cache, &pool->store->value, kv_pool_value_range(pool, layer, kv_head),
                      span[0], kv_head, v);
        }
    }
    return KVASS_OK;
}

kvass_status kvass_cache_advance(kvass_cache *cache, kvass_error *err)
{
    if (!cache) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "a cache is needed");
    }
    for (int32_t l = 1; l < cache->pool.dims.n_owners; l++) {
        if (cache->n_appended[l] != cache->n_appended[0]) {
            return kvass_fail(
                err, KVASS_INVALID, "CACHE_LAYERS",
                "layer %d has %d new rows, layer 0 has %d: append to every layer before "
                "advancing",
                l, cache->n_appended[l], cache->n_appended[0]);
        }
    }
    (void)kv_seq_commit(&cache->pool, &cache->seq, cache->n_appended[0]);
    for (int32_t l = 0; l < cache->pool.dims.n_owners; l++) {
        cache->n_appended[l] = 0;
    }
    return KVASS_OK;
}

void kvass_cache_reset(kvass_cache *cache)
{
    kv_seq_rollback(&cache->pool, &cache->seq);
    kv_seq_truncate(&cache->pool, &cache->seq, 0);
    for (int32_t l = 0; l < cache->pool.dims.n_owners; l++) {
        cache->n_appended[l] = 0;
    }
}

void kvass_cache_get_usage(const kvass_cache *cache, kvass_cache_usage *usage)
{
    kv_pool_get_usage(&cache->pool, usage);
}
