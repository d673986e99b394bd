/* file.h - a regular file of known size, read with pread or mapped.
 * Refused: what is not a regular file (a FIFO would hang, a device never ends).
 */
#ifndef KVASS_BASE_FILE_H
#define KVASS_BASE_FILE_H

#include "engine/base/error.h"

typedef struct kvass_file {
    int fd;           /* -1 when closed */
    uint64_t size;
    const char *path; /* borrowed from the caller of kvass_file_open, for messages */
    void *map;        /* whole file, or NULL */
} kvass_file;

/* IO (rule FILE_OPEN, FILE_KIND). Opened read-only and close-on-exec. */
kvass_status kvass_file_open(kvass_file *file, const char *path, kvass_error *err);
void kvass_file_close(kvass_file *file);

/* Exactly n_bytes at offset into buf. IO (FILE_READ), FORMAT (FILE_TRUNCATED) when beyond the
 * end. */
kvass_status kvass_file_read(const kvass_file *file, uint64_t offset, void *buf, size_t n_bytes,
                             kvass_error *err);

/* Map the whole file read-only (private); file->map is set. Unmapped by kvass_file_close. */
kvass_status kvass_file_map(kvass_file *file, kvass_error *err);

/* The whole file into a fresh buffer with one NUL after it (free() it). Refused above max_bytes
 * (rule FILE_SIZE) before anything is allocated. */
kvass_status kvass_file_slurp(const char *path, size_t max_bytes, char **out, size_t *n_bytes,
                              kvass_error *err);

#define KVASS_LOOKS_UNKNOWN "an unknown kind of file"

/* What the first bytes look like when they are not what was hoped for: "a saved web page", "a Git
 * LFS pointer", "a GGUF file", "a zip archive (PyTorch?)", ... or KVASS_LOOKS_UNKNOWN. */
const char *kvass_file_looks_like(const unsigned char *head, size_t n_bytes);

#endif
