/* cli_values.c - numbers: the values of flags, choices, lists of ids, quantiles.
 * Numbers are read the same in every locale: the program never calls setlocale.
 */
#include "tools/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool cli_parse_int(const char *text, int64_t lo, int64_t hi, int64_t *out)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (!isdigit((unsigned char)digits[0])) {
        return false;
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    static const char suffixes[] = "KMG";
    const char *suffix = *end != '\0' ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix) {
        for (const char *s = suffixes; s <= suffix; s++) {
            if (__builtin_mul_overflow(value, 1024, &value)) {
                return false;
            }
        }
        end++;
    }
    if (*end != '\0' || value < lo || value > hi) {
        return false;
    }
    *out = value;
    return true;
}

int64_t cli_int(const struct argp_state *state, const char *name, const char *arg, int64_t lo,
                int64_t hi)
{
    int64_t value = lo;
    if (!cli_parse_int(arg, lo, hi, &value)) {
        if (hi == INT64_MAX || hi == INT32_MAX) {
            argp_error(state, "%s: expected a whole number, %lld or more, found '%s'", name,
                       (long long)lo, arg);
        } else {
            argp_error(state, "%s: expected a whole number from %lld to %lld, found '%s'", name,
                       (long long)lo, (long long)hi, arg);
        }
    }
    return value;
}

double cli_real(const struct argp_state *state, const char *name, const char *arg)
{
    char *end;
    double value = strtod(arg, &end);
    if (arg[0] == '\0' || isspace((unsigned char)arg[0]) || *end != '\0' || !isfinite(value)) {
        argp_error(state, "%s: expected a number such as 0.8, found '%s'", name, arg);
    }
    return value;
}

/* Edit distance of two short words, capped: words longer than the table are simply far. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 31 };
    size_t na = strlen(a), nb = strlen(b);
    if (na > MAX || nb > MAX) {
        return MAX;
    }
    int row[MAX + 1];
    for (size_t j = 0; j <= nb; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[nb];
}

int cli_nearest(const char *text, const char *const *choices, int n)
{
    int nearest = -1, least = 3;
    for (int i = 0; i < n; i++) {
        int d = distance(text, choices[i]);
        if (d < least && d < (int)strlen(choices[i])) {
            least = d;
            nearest = i;
        }
    }
    return nearest;
}

int cli_choice(const struct argp_state *state, const char *name, const char *arg,
               const char *const *choices, int n)
{
    char known[256] = "";
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(arg, choices[i]) == 0) {
            return i;
        }
        int wrote =
            snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", choices[i]);
        used += wrote > 0 && (size_t)wrote < sizeof known - used ? (size_t)wrote : 0;
    }
    int nearest = cli_nearest(arg, choices, n);
    if (nearest >= 0) {
        argp_error(state, "%s: unknown value '%s'; did you mean '%s'? Known: %s", name, arg,
                   choices[nearest], known);
    } else {
        argp_error(state, "%s: unknown value '%s'; known: %s", name, arg, known);
    }
    return 0;
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void cli_sort(double *x, int64_t n)
{
    if (n > 0) {
        qsort(x, (size_t)n, sizeof *x, compare_double);
    }
}

double cli_quantile(const double *sorted, int64_t n, double p)
{
    int64_t rank = (int64_t)ceil(p * (double)n);
    return n == 0 ? NAN : sorted[rank < 1 ? 0 : rank - 1];
}

double cli_median(const double *sorted, int64_t n)
{
    return n == 0 ? NAN : (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

void cli_cell(char text[CLI_CELL], double x, int digits)
{
    enum { MOST_DECIMALS = 9 };
    if (!isfinite(x) || x < 0 || x >= 1e15) {
        (void)snprintf(text, CLI_CELL, "-");
        return;
    }
    int decimals = x > 0 ? digits - 1 - (int)floor(log10(x)) : 0;
    decimals = decimals < 0 ? 0 : decimals > MOST_DECIMALS ? MOST_DECIMALS : decimals;
    (void)snprintf(text, CLI_CELL, "%.*f", decimals, x);
}

int cli_parse_ids(const char *text, size_t n_bytes, cli_ids *ids)
{
    *ids = (cli_ids){0};
    ids->data =
        malloc((n_bytes / 2 + 1) * sizeof *ids->data); /* an id and what parts it: 2 bytes */
    if (!ids->data) {
        cli_say("out of memory for %zu bytes of ids", n_bytes);
        return CLI_NO_ROOM;
    }
    for (size_t i = 0; i < n_bytes;) {
        if (text[i] == ',' || isspace((unsigned char)text[i])) {
            i++;
            continue;
        }
        size_t start = i;
        int64_t id = 0;
        while (i < n_bytes && isdigit((unsigned char)text[i]) && id <= INT32_MAX) {
            id = id * 10 + (text[i++] - '0');
        }
        bool ends = i == n_bytes || text[i] == ',' || isspace((unsigned char)text[i]);
        if (i == start || !ends || id > INT32_MAX) {
            int shown = n_bytes - start < 20 ? (int)(n_bytes - start) : 20;
            cli_say("token ids: expected numbers parted by commas or white space, found '%.*s'",
                    shown, text + start);
            free(ids->data);
            *ids = (cli_ids){0};
            return CLI_USAGE;
        }
        ids->data[ids->n++] = (int32_t)id;
    }
    return CLI_OK;
}

int cli_check_ids(const cli_ids *ids, int32_t n_vocab)
{
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->data[i] < 0 || ids->data[i] >= n_vocab) {
            cli_say("token id %d at place %zu: expected an id from 0 to %d", (int)ids->data[i],
                    i + 1, (int)n_vocab - 1);
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}

int cli_encode(const kvass_tokenizer *tok, const char *text, size_t n,
               const kvass_encode_options *opt, cli_ids *ids)
{
    kvass_error err;
    kvass_status status = KVASS_OK;
    *ids = (cli_ids){0};
    /* hardly any text has more tokens than bytes: the second round is for those */
    for (size_t cap = n + 8; status == KVASS_OK; cap = ids->n) {
        free(ids->data);
        ids->data = calloc(cap + 1, sizeof *ids->data); /* begin-of-text may come in front */
        if (!ids->data) {
            cli_say("out of memory for %zu token ids", cap);
            return CLI_NO_ROOM;
        }
        status = kvass_tokenizer_encode(tok, text, n, opt, ids->data, cap, &ids->n, &err);
        if (ids->n <= cap) {
            break;
        }
    }
    if (status != KVASS_OK) {
        free(ids->data);
        *ids = (cli_ids){0};
        int code = cli_fail(&err);
        return status == KVASS_FORMAT ? CLI_RUNTIME : code; /* the text is at fault, not a file */
    }
    return CLI_OK;
}
