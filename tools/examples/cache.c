/* cache.c - the cache alone, for an attention of one's own.
 * cc cache.c $(pkg-config --cflags --libs kvass) -o cache && ./cache
 *
 * For each new token: append its keys and values in every layer, read back all there are so far
 * (the new token's included, so that it sees itself), attend; when all layers are done, advance.
 */
#include <kvass/kvass.h>
#include <stdio.h>

enum { N_LAYERS = 2, N_KV_HEADS = 2, HEAD_DIM = 4, N_CTX = 3, ROW = N_KV_HEADS * HEAD_DIM };

static int fail(const kvass_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

static void print_usage(const char *when, const kvass_cache *cache)
{
    kvass_cache_usage usage;
    kvass_cache_get_usage(cache, &usage);
    printf("%s: %d of %d positions, %zu bytes used, %zu reserved, %zu per token\n", when,
           (int)kvass_cache_n_rows(cache, 0), N_CTX, usage.bytes_used, usage.bytes_reserved,
           usage.bytes_per_token);
}

/* One token through all layers. k[ROW] and v[ROW] would come from the layer's projections. */
static kvass_status put_token(kvass_cache *cache, int32_t pos, kvass_error *err)
{
    float k[ROW], v[ROW], all_k[N_CTX * ROW], all_v[N_CTX * ROW];
    for (int32_t layer = 0; layer < N_LAYERS; layer++) {
        for (int i = 0; i < ROW; i++) {
            k[i] = (float)(100 * layer + 10 * pos + i);
            v[i] = -k[i];
        }
        kvass_status status = kvass_cache_append(cache, layer, k, v, 1, err);
        if (status == KVASS_OK) {
            status = kvass_cache_read(cache, layer, all_k, all_v, err);
        }
        if (status != KVASS_OK) {
            return status;
        }
        int32_t n_rows = kvass_cache_n_rows(cache, layer);
        printf("token %d, layer %d: attends to %d rows, the newest key starts with %g\n", (int)pos,
               (int)layer, (int)n_rows, (double)all_k[(n_rows - 1) * ROW]);
    }
    return kvass_cache_advance(cache, err);
}

int main(void)
{
    kvass_error err;
    kvass_cache *cache;
    kvass_cache_dims dims = kvass_cache_dims_default();
    dims.n_layers = N_LAYERS;
    dims.n_kv_heads = N_KV_HEADS;
    dims.head_dim = HEAD_DIM;
    dims.n_ctx = N_CTX;
    dims.store = KVASS_STORE_F32;
    if (kvass_cache_open(&cache, &dims, &err) != KVASS_OK) {
        return fail(&err);
    }
    print_usage("new", cache);
    for (int32_t pos = 0; pos < N_CTX; pos++) {
        if (put_token(cache, pos, &err) != KVASS_OK) {
            return fail(&err);
        }
    }
    print_usage("full", cache);
    if (put_token(cache, N_CTX, &err) != KVASS_CONTEXT_FULL) {
        return 1;
    }
    printf("one more: %s\n", err.message);
    kvass_cache_reset(cache); /* the memory stays reserved */
    print_usage("reset", cache);
    if (put_token(cache, 0, &err) != KVASS_OK) {
        return fail(&err);
    }
    kvass_cache_close(&cache);
    return 0;
}
