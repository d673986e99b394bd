/* gguf_folder.c - the GGUF file that a folder stands for; see gguf.h. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/gguf.h"

/* "x.gguf", and not one of "x-00002-of-00003.gguf" but the first */
static bool is_whole(const char *name)
{
    static const char tail[] = ".gguf", first[] = "-00001-of-";
    enum { TAIL = sizeof tail - 1, PART = 15 /* "-00001-of-00002" */ };
    size_t n = strlen(name);
    if (n <= TAIL || strcmp(name + n - TAIL, tail) != 0) {
        return false;
    }
    const char *part = n > TAIL + PART ? name + n - TAIL - PART : NULL;
    bool is_part = part && part[0] == '-' && strspn(part + 1, "0123456789") == 5 &&
                   strncmp(part + 6, "-of-", 4) == 0 && strspn(part + 10, "0123456789") == 5;
    return !is_part || strncmp(part, first, sizeof first - 1) == 0;
}

static char *join(const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);
    if (path) {
        (void)snprintf(path, n, "%s/%s", folder, name);
    }
    return path;
}

kvass_status kvass_gguf_in_folder(const char *folder, char **path, int *n_files, kvass_error *err)
{
    char reason[128];
    kvass_status status = KVASS_OK;
    *path = NULL;
    *n_files = 0;
    DIR *dir = opendir(folder);
    if (!dir) {
        return errno == ENOMEM ? kvass_fail_nomem(err, 0, folder)
                               : kvass_fail(err, KVASS_IO, "FILE_OPEN", "%s: cannot be opened: %s",
                                            folder, strerror_r(errno, reason, sizeof reason));
    }
    for (struct dirent *e = readdir(dir); e && status == KVASS_OK; e = readdir(dir)) {
        if (is_whole(e->d_name) && (*n_files)++ == 0) {
            *path = join(folder, e->d_name);
            status = *path ? KVASS_OK : kvass_fail_nomem(err, strlen(folder), "a path");
        }
    }
    (void)closedir(dir);
    if (*n_files > 1) {
        free(*path);
        *path = NULL;
    }
    return status;
}
