/* tradeoff_cache.c - the caches that `kvass tradeoff` compares: their names, what they ask of the
 * library, and which of them promise the full cache's predictions.
 */
#include "tools/tradeoff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_SINKS = 4, TOPK_PAGES = 8, MAX_N = 1 << 24 };

static const struct {
    const char *name;
    bool sized;
} kinds[] = {
    [TRADEOFF_FULL] = {"full", false},    [TRADEOFF_F16] = {"f16", false},
    [TRADEOFF_Q8] = {"q8", false},        [TRADEOFF_Q4] = {"q4", false},
    [TRADEOFF_WINDOW] = {"window", true}, [TRADEOFF_SINKS] = {"sinks", true},
    [TRADEOFF_STREAM] = {"stream", true}, [TRADEOFF_TOPK] = {"topk", true},
    [TRADEOFF_PAIRS] = {"pairs", false},  [TRADEOFF_NONE] = {"none", false},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* the number behind the colon; 0 for sqrt, -1 for neither */
static int32_t parse_size(const char *text, bool takes_sqrt)
{
    int64_t n;
    if (takes_sqrt && strcmp(text, "sqrt") == 0) {
        return 0;
    }
    return cli_parse_int(text, 1, MAX_N, &n) ? (int32_t)n : -1;
}

bool tradeoff_cache_parse(const char *text, tradeoff_cache *cache)
{
    const char *colon = strchr(text, ':');
    size_t n_name = colon ? (size_t)(colon - text) : strlen(text);
    for (int i = 0; i < N_KINDS; i++) {
        if (strlen(kinds[i].name) != n_name || strncmp(kinds[i].name, text, n_name) != 0) {
            continue;
        }
        *cache = (tradeoff_cache){.kind = (tradeoff_kind)i};
        bool is_topk = cache->kind == TRADEOFF_TOPK;
        if (!kinds[i].sized) {
            (void)snprintf(cache->name, sizeof cache->name, "%s", kinds[i].name);
            return !colon;
        }
        if (!colon && !is_topk) {
            return false;
        }
        cache->n = colon ? parse_size(colon + 1, !is_topk) : TOPK_PAGES;
        if (cache->n > 0) {
            (void)snprintf(cache->name, sizeof cache->name, "%s:%d", kinds[i].name, (int)cache->n);
        } else {
            (void)snprintf(cache->name, sizeof cache->name, "%s:sqrt", kinds[i].name);
        }
        return cache->n >= 0;
    }
    return false;
}

kvass_context_options tradeoff_cache_options(const tradeoff_cache *cache,
                                             const kvass_context_options *base, int32_t n_ctx)
{
    kvass_context_options opt = *base;
    opt.n_ctx = n_ctx;
    opt.n_batch = opt.n_batch < n_ctx ? opt.n_batch : n_ctx;
    switch (cache->kind) {
    case TRADEOFF_FULL:
        break;
    case TRADEOFF_F16:
        opt.store = KVASS_STORE_F16;
        break;
    case TRADEOFF_Q8:
        opt.store = KVASS_STORE_Q8;
        break;
    case TRADEOFF_Q4:
        opt.store = KVASS_STORE_Q4;
        break;
    case TRADEOFF_WINDOW:
    case TRADEOFF_SINKS:
    case TRADEOFF_STREAM:
        opt.retain = KVASS_RETAIN_WINDOW;
        opt.window = cache->n > 0 ? cache->n : (int32_t)(4 * sqrt((double)n_ctx));
        opt.n_sinks = cache->kind == TRADEOFF_WINDOW ? 0 : N_SINKS;
        opt.positions =
            cache->kind == TRADEOFF_STREAM ? KVASS_POSITIONS_CACHE : KVASS_POSITIONS_ORIGINAL;
        break;
    case TRADEOFF_TOPK:
        opt.select = KVASS_SELECT_TOPK;
        opt.n_topk = cache->n;
        break;
    case TRADEOFF_PAIRS:
        opt.share = KVASS_SHARE_PAIRS;
        break;
    case TRADEOFF_NONE:
        opt.retain = KVASS_RETAIN_NONE;
        break;
    }
    return opt;
}

void tradeoff_cache_flags(const kvass_context_options *opt, char *flags, size_t n)
{
    int at = snprintf(flags, n, "--kv-type %s", kvass_store_name(opt->store));
    if (opt->retain == KVASS_RETAIN_WINDOW) {
        at += snprintf(flags + at, n - (size_t)at, " --window %d", (int)opt->window);
        if (opt->n_sinks > 0) {
            at += snprintf(flags + at, n - (size_t)at, " --sinks %d", (int)opt->n_sinks);
        }
    }
    const char *more = "";
    char topk[32];
    if (opt->positions == KVASS_POSITIONS_CACHE) {
        more = " --positions cache";
    } else if (opt->select == KVASS_SELECT_TOPK) {
        (void)snprintf(topk, sizeof topk, " --topk-pages %d", (int)opt->n_topk);
        more = topk;
    } else if (opt->share == KVASS_SHARE_PAIRS) {
        more = " --kv-share pairs";
    } else if (opt->retain == KVASS_RETAIN_NONE) {
        more = " --cache none";
    }
    (void)snprintf(flags + at, n - (size_t)at, "%s", more);
}

/* whether the network was trained with the sharing asked for */
static bool shares_as_trained(const kvass_model *model, const kvass_context_options *opt)
{
    kvass_model_info info;
    kvass_layer_info even, odd;
    kvass_model_get_info(model, &info);
    for (int32_t l = 1; opt->share == KVASS_SHARE_PAIRS && l < info.n_layers; l += 2) {
        if (kvass_model_get_layer(model, l - 1, &even, NULL) != KVASS_OK ||
            kvass_model_get_layer(model, l, &odd, NULL) != KVASS_OK || odd.owner != even.owner) {
            return false;
        }
    }
    return true;
}

const char *tradeoff_exactness(const kvass_model *model, const kvass_context_options *opt)
{
    enum { PAGE_ROWS = 32 };
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    bool all_kept = opt->retain != KVASS_RETAIN_WINDOW || opt->window >= opt->n_ctx;
    bool all_read = opt->select == KVASS_SELECT_ALL ||
                    (int64_t)opt->n_topk * PAGE_ROWS >= (int64_t)opt->n_ctx + info.n_meta;
    if (!all_kept || !all_read || !shares_as_trained(model, opt) ||
        (opt->store != KVASS_STORE_F32 && opt->store != KVASS_STORE_F16)) {
        return "approximate";
    }
    return opt->store == KVASS_STORE_F32 ? "exact" : "rounding";
}
