/* cli_memory.c - whether a run fits the machine, asked before anything large is taken.
 * Linux grants more memory than there is and kills later, so the sum of weights, buffers and cache
 * is held against what is available now: MemAvailable, and what the cgroup's limits leave.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MIB (1024.0 * 1024.0)

/* The number in a one-line file; SIZE_MAX for "max", a missing file or nonsense. */
static size_t read_number(const char *path)
{
    char line[64] = "";
    FILE *file = fopen(path, "re");
    if (!file) {
        return SIZE_MAX;
    }
    int64_t value = 0;
    bool ok = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return ok && cli_parse_int(line, 0, INT64_MAX, &value) ? (size_t)value : SIZE_MAX;
}

static size_t left_of(size_t limit, size_t used)
{
    return limit == SIZE_MAX || used == SIZE_MAX ? SIZE_MAX : limit > used ? limit - used : 0;
}

/* What the limits of this process's cgroup (v2) and of those above it leave. */
static size_t cgroup_left(void)
{
    char line[4096], path[4400];
    size_t least = SIZE_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::", 3) != 0) {
            continue;
        }
        char *group = line + 3;
        group[strcspn(group, "\n")] = '\0';
        for (;;) {
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
            size_t limit = read_number(path);
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", group);
            size_t left = left_of(limit, read_number(path));
            least = left < least ? left : least;
            char *slash = strrchr(group, '/');
            if (!slash) {
                break;
            }
            *slash = '\0';
        }
    }
    if (file) {
        (void)fclose(file);
    }
    size_t v1 = left_of(read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
                        read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes"));
    return v1 < least ? v1 : least;
}

static size_t available_bytes(void)
{
    char line[256];
    size_t available = SIZE_MAX;
    unsigned long long kib;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) {
            available = (size_t)kib * 1024;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    size_t cgroup = cgroup_left();
    return cgroup < available ? cgroup : available;
}

int cli_check_memory(const cli_options *opts, const kvass_model *model,
                     const kvass_context_options *const *contexts, int n)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    size_t scratch = 0, cache = 0;
    for (int i = 0; i < n; i++) {
        size_t one_scratch, one_cache;
        if (kvass_context_bytes(model, contexts[i], &one_scratch, &one_cache, &err) != KVASS_OK) {
            return cli_fail(&err);
        }
        scratch += one_scratch;
        cache += one_cache;
    }
    size_t weights = opts->use_mmap ? 0 : info.weight_bytes; /* mapped pages can be dropped again */
    size_t available = available_bytes();
    double total = (double)weights + (double)scratch + (double)cache;
    if (total <= (double)available) {
        return CLI_OK;
    }
    cli_say("does not fit the memory available\n"
            "  weights   %12.1f MiB\n"
            "  buffers   %12.1f MiB\n"
            "  cache     %12.1f MiB\n"
            "  together  %12.1f MiB\n"
            "  available %12.1f MiB\n"
            "a shorter context (-c) makes the cache smaller; --mmap leaves the weights in the file",
            (double)weights / MIB, (double)scratch / MIB, (double)cache / MIB, total / MIB,
            (double)available / MIB);
    return CLI_NO_ROOM;
}

size_t cli_peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}
