/* inspect_check.c - `kvass inspect --check`: every stored number, looked at once.
 */
#include "tools/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16 };

int64_t inspect_n_elements(const kvass_tensor_info *tensor)
{
    int64_t n = 1; /* the reader has checked that the product fits */
    for (int32_t d = 0; d < tensor->n_dims; d++) {
        n *= tensor->shape[d];
    }
    return n;
}

/* The sums of one tensor so far, over its finite numbers. */
typedef struct sums {
    int64_t n;
    double sum, squares;
} sums;

static void look(const float *x, int64_t n, inspect_stats *stats, sums *s)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            stats->n_bad++;
            continue;
        }
        stats->min = s->n == 0 || x[i] < stats->min ? x[i] : stats->min;
        stats->max = s->n == 0 || x[i] > stats->max ? x[i] : stats->max;
        s->sum += x[i];
        s->squares += (double)x[i] * x[i];
        s->n++;
    }
}

static kvass_status check_tensor(const kvass_model *model, int32_t i, float *block,
                                 inspect_stats *stats, kvass_error *err)
{
    kvass_tensor_info tensor;
    kvass_status status = kvass_model_get_tensor(model, i, &tensor, err);
    if (status != KVASS_OK || tensor.dtype == KVASS_N_DTYPES) {
        return status;
    }
    sums s = {0};
    int64_t n = inspect_n_elements(&tensor);
    for (int64_t at = 0; at < n && status == KVASS_OK; at += BLOCK) {
        int64_t n_block = n - at < BLOCK ? n - at : BLOCK;
        status = kvass_model_read_values(model, i, at, block, n_block, err);
        if (status == KVASS_OK) {
            look(block, n_block, stats, &s);
        }
    }
    stats->known = s.n > 0;
    if (s.n > 0) {
        stats->mean = s.sum / (double)s.n;
        double variance = s.squares / (double)s.n - stats->mean * stats->mean;
        stats->sd = variance > 0 ? sqrt(variance) : 0;
    }
    if (status == KVASS_OK && stats->n_bad > 0) {
        cli_say("tensor %s: %lld values are NaN or infinite", tensor.name, (long long)stats->n_bad);
    }
    return status;
}

int inspect_check(const kvass_model *model, inspect_stats **stats)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    float *block = malloc(BLOCK * sizeof *block);
    *stats = calloc((size_t)info.n_tensors + 1, sizeof **stats);
    if (!block || !*stats) {
        free(block);
        cli_say("out of memory for %zu bytes", BLOCK * sizeof *block);
        return CLI_NO_ROOM;
    }
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < info.n_tensors && status == KVASS_OK; i++) {
        status = check_tensor(model, i, block, &(*stats)[i], &err);
    }
    free(block);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}

void inspect_print_stats(const kvass_model *model, const inspect_stats *stats)
{
    kvass_tensor_info tensor;
    (void)printf("  %12s %12s %12s %12s\n", "least", "greatest", "mean", "deviation");
    for (int32_t i = 0; kvass_model_get_tensor(model, i, &tensor, NULL) == KVASS_OK; i++) {
        const inspect_stats *s = &stats[i];
        if (s->known) {
            (void)printf("  %12.5g %12.5g %12.5g %12.5g  ", (double)s->min, (double)s->max, s->mean,
                         s->sd);
        } else {
            (void)printf("  %12s %12s %12s %12s  ", "-", "-", "-", "-");
        }
        cli_put_text(tensor.name, strlen(tensor.name), false);
        (void)printf("\n");
    }
}

json_t *inspect_json_stats(const kvass_model *model, const inspect_stats *stats)
{
    json_t *list = json_array();
    kvass_tensor_info tensor;
    for (int32_t i = 0; list && kvass_model_get_tensor(model, i, &tensor, NULL) == KVASS_OK; i++) {
        const inspect_stats *s = &stats[i];
        json_t *one =
            json_pack("{s:o, s:I}", "name", cli_json_text(tensor.name, strlen(tensor.name)),
                      "bad_values", (json_int_t)s->n_bad);
        const double values[] = {(double)s->min, (double)s->max, s->mean, s->sd};
        static const char *const keys[] = {"min", "max", "mean", "sd"};
        for (int k = 0; one && k < 4; k++) {
            (void)json_object_set_new(one, keys[k], s->known ? json_real(values[k]) : json_null());
        }
        (void)json_array_append_new(list, one);
    }
    return list;
}
