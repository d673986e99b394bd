/* linear.c - see linear.h. */
#include "engine/linear.h"

enum {
    GEMM_ROWS = 48, /* from so many rows on a BLAS call beats row-wise dot products */
    TILE_UNIT = 16, /* columns: a tile is a multiple of this, */
    TILE_SHARE = 8, /* about an eighth of the matrix, */
    TILE_MIN = 32,  /* and between these */
    TILE_MAX = 256,
    SHARE_UNIT = 16 /* output rows of a matrix-vector product are shared out in such units */
};

static int32_t round_up(int32_t n, int32_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static int32_t tile_columns(int32_t n_out)
{
    int32_t tile = round_up((n_out + TILE_SHARE - 1) / TILE_SHARE, TILE_UNIT);
    return tile < TILE_MIN ? TILE_MIN : tile > TILE_MAX ? TILE_MAX : tile;
}

static bool uses_gemm(const kvass_context *ctx, int32_t n_rows)
{
    return n_rows >= GEMM_ROWS && !ctx->deterministic && ctx->kernels.gemm_is_blas;
}

size_t kvass_linear_scratch(const kvass_weight *w)
{
    bool widens = w->dtype != KVASS_DTYPE_F32 && !kvass_dtype_is_integer(w->dtype);
    return !widens ? 0 : (size_t)tile_columns(w->n_out) * (size_t)w->n_in;
}

bool kvass_linear_columns(const kvass_context *ctx, int32_t member, int32_t n_out, int32_t n_rows,
                          int32_t *block, int32_t *begin, int32_t *end)
{
    if (uses_gemm(ctx, n_rows)) {
        int32_t tile = tile_columns(n_out);
        int64_t first = ((int64_t)*block * ctx->team.n_threads + member) * tile;
        if (first >= n_out) {
            return false;
        }
        *begin = (int32_t)first;
        *end = n_out - *begin < tile ? n_out : *begin + tile;
    } else {
        kvass_team_share(&ctx->team, member, (n_out + SHARE_UNIT - 1) / SHARE_UNIT, begin, end);
        *begin *= SHARE_UNIT;
        *end = *end * SHARE_UNIT < n_out ? *end * SHARE_UNIT : n_out;
        if (*block > 0 || *begin >= *end) {
            return false;
        }
    }
    ++*block;
    return true;
}

/* y[n_rows, begin..end) by one BLAS call; w's rows begin..end widened to f32 first */
static void gemm_tile(kvass_context *ctx, int32_t member, const kvass_weight *w, const float *x,
                      int32_t n_rows, int32_t begin, int32_t end, float *y)
{
    const unsigned char *rows = (const unsigned char *)w->data + (size_t)begin * w->row_bytes;
    const float *tile = (const float *)(const void *)rows;
    if (w->dtype != KVASS_DTYPE_F32) {
        float *widened = ctx->scratch[member].widened;
        for (int32_t r = 0; r < end - begin; r++) {
            ctx->kernels.widen[w->dtype](rows + (size_t)r * w->row_bytes, w->n_in,
                                         widened + (size_t)r * (size_t)w->n_in);
        }
        tile = widened;
    }
    /* y[n_rows, end-begin] = x[n_rows, n_in] . tile[end-begin, n_in]^T */
    ctx->kernels.gemm_nt(n_rows, end - begin, w->n_in, 1.0f, x, w->n_in, tile, w->n_in, 0.0f,
                         y + begin, w->n_out);
}

/* x[n_rows, n_in] as integers. Few rows are rounded by each member, into its own buffers; many by
 * all together. */
static const kvass_acts *round_rows(kvass_context *ctx, int32_t member, const float *x,
                                    int32_t n_rows, int32_t n_in)
{
    bool own = n_rows <= KVASS_OWN_ACTS;
    const kvass_acts *acts = own ? &ctx->scratch[member].acts : &ctx->acts;
    int32_t begin = 0, end = n_rows;
    if (!own) {
        kvass_team_share(&ctx->team, member, n_rows, &begin, &end);
    }
    for (int32_t r = begin; r < end; r++) {
        size_t at = (size_t)r * (size_t)n_in, block = at / KVASS_QBLOCK;
        ctx->kernels.quantize(x + at, n_in, acts->q + at, acts->d + block, acts->sum + 2 * block);
    }
    if (!own) {
        kvass_team_barrier(&ctx->team);
    }
    return acts;
}

void kvass_linear_run(kvass_context *ctx, int32_t member, const kvass_product *products, int32_t n,
                      const float *x, int32_t n_rows)
{
    const kvass_acts *acts = NULL;
    for (int32_t i = 0; i < n; i++) {
        const kvass_weight *w = &products[i].linear->w;
        const float *bias = products[i].linear->b;
        float *y = products[i].y;
        bool integer = kvass_dtype_is_integer(w->dtype);
        if (member == 0) {
            ctx->n_products++;
        }
        if (integer && !acts) {
            acts = round_rows(ctx, member, x, n_rows, w->n_in);
        }
        int32_t block = 0, begin, end;
        while (kvass_linear_columns(ctx, member, w->n_out, n_rows, &block, &begin, &end)) {
            if (integer) {
                ctx->kernels.matmul_int[w->dtype](w, begin, end, acts, n_rows, y, w->n_out);
            } else if (uses_gemm(ctx, n_rows)) {
                gemm_tile(ctx, member, w, x, n_rows, begin, end, y);
            } else {
                ctx->kernels.matmul[w->dtype](w->data, w->row_bytes, w->n_in, begin, end, x,
                                              w->n_in, n_rows, y, w->n_out);
            }
            for (int32_t r = 0; bias && r < n_rows; r++) {
                float *columns = y + (size_t)r * (size_t)w->n_out + begin;
                ctx->kernels.add(columns, bias + begin, end - begin);
            }
        }
    }
}
