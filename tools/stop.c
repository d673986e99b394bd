/* stop.c - see stop.h. */
#include "tools/stop.h"

#include <string.h>

/* how many bytes at the end of data[n] are a proper beginning of `string` */
static size_t overlap(const char *data, size_t n, const char *string)
{
    size_t longest = strlen(string) - 1;
    for (size_t k = longest < n ? longest : n; k > 0; k--) {
        if (memcmp(data + n - k, string, k) == 0) {
            return k;
        }
    }
    return 0;
}

int cli_stop_put(cli_stop *stop, const char *data, size_t n, const char **out, size_t *n_out)
{
    if (stop->n == 0) {
        *out = data;
        *n_out = n;
        return 0;
    }
    cli_bytes *held = &stop->held;
    held->n -= stop->passed;
    if (held->n > 0) {
        memmove(held->data, held->data + stop->passed, held->n);
    }
    stop->passed = 0;
    if (!cli_bytes_add(held, data, n)) {
        return -1;
    }
    const char *first = NULL;
    size_t keep = 0;
    for (int i = 0; i < stop->n; i++) {
        const char *found = memmem(held->data, held->n, stop->strings[i], strlen(stop->strings[i]));
        if (found && (!first || found < first)) {
            first = found;
        }
        size_t tail = overlap(held->data, held->n, stop->strings[i]);
        keep = tail > keep ? tail : keep;
    }
    *out = held->data;
    *n_out = first ? (size_t)(first - held->data) : held->n - keep;
    stop->passed = *n_out;
    return first ? 1 : 0;
}

void cli_stop_end(cli_stop *stop, const char **out, size_t *n_out)
{
    *out = stop->held.data ? stop->held.data + stop->passed : "";
    *n_out = stop->held.n - stop->passed;
    stop->passed = stop->held.n;
}
