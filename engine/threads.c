/* threads.c - how many threads this process may sensibly use.
 * The number of CPUs in its affinity mask, cut by the whole CPUs that its cgroup's quota grants: a
 * container with two CPUs' worth of time on a large host must not start a thread per host CPU.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "engine/kvass.h"

/* CPUs granted by "QUOTA PERIOD" in a cgroup v2 cpu.max file; 0 when unlimited or unreadable */
static int32_t quota_cpus(const char *path)
{
    FILE *file = fopen(path, "re");
    long long quota = 0, period = 0;
    if (!file) {
        return 0;
    }
    int n = fscanf(file, "%lld %lld", &quota, &period); /* "max 100000" yields 0 */
    (void)fclose(file);
    if (n != 2 || quota <= 0 || period <= 0) {
        return 0;
    }
    long long cpus = quota / period;
    return cpus < 1 ? 1 : cpus > INT32_MAX ? INT32_MAX : (int32_t)cpus;
}

/* the same for cgroup v1's two files in one folder */
static int32_t quota_cpus_v1(const char *quota_path, const char *period_path)
{
    long long values[2] = {0, 0};
    const char *paths[2] = {quota_path, period_path};
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(paths[i], "re");
        int n = file ? fscanf(file, "%lld", &values[i]) : 0;
        if (file) {
            (void)fclose(file);
        }
        if (n != 1 || values[i] <= 0) {
            return 0;
        }
    }
    long long cpus = values[0] / values[1];
    return cpus < 1 ? 1 : cpus > INT32_MAX ? INT32_MAX : (int32_t)cpus;
}

static int32_t smaller_quota(int32_t a, int32_t b)
{
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

/* the tightest cpu.max from this process's cgroup (v2) up to the root */
static int32_t cgroup_cpus(void)
{
    char line[512], path[640];
    int32_t cpus = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::/", 4) != 0) {
            continue;
        }
        char *group = line + 3;
        group[strcspn(group, "\n")] = '\0';
        char *slash = NULL;
        do {
            (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
            cpus = smaller_quota(cpus, quota_cpus(path));
            slash = strrchr(group, '/');
            if (slash) {
                *slash = '\0'; /* on to the parent; "" is the root */
            }
        } while (slash);
    }
    if (file) {
        (void)fclose(file);
    }
    return smaller_quota(cpus, quota_cpus_v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                                             "/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
}

int32_t kvass_default_threads(void)
{
    cpu_set_t set;
    int32_t cpus = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        cpus = (int32_t)CPU_COUNT(&set);
    }
    int32_t quota = cgroup_cpus();
    if (quota > 0 && quota < cpus) {
        cpus = quota;
    }
    return cpus < 1 ? 1 : cpus;
}
