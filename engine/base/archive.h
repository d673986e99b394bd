/* archive.h - a zip archive inside a file, through libzip; PyTorch's files are such archives.
 * libzip reads through the file's own checked reads, so it also tells where the bytes of an entry
 * lie: those that are stored as they are can be read, or mapped, without it.
 */
#ifndef KVASS_BASE_ARCHIVE_H
#define KVASS_BASE_ARCHIVE_H

#include "engine/base/file.h"

typedef struct kvass_zip kvass_zip;

/* The file is borrowed and stays open. FORMAT (ZIP), NOMEM, IO. */
kvass_status kvass_zip_open(kvass_zip **out, const kvass_file *file, kvass_error *err);
void kvass_zip_close(kvass_zip **zip);

int32_t kvass_zip_size(const kvass_zip *zip);
const char *kvass_zip_name(const kvass_zip *zip, int32_t i);    /* NULL when it is not readable */
int32_t kvass_zip_find(const kvass_zip *zip, const char *name); /* -1: there is none */

/* A whole entry into fresh memory (free() it), with one NUL after it; refused above max_bytes.
 * FORMAT (ZIP, ZIP_ENTRY), NOMEM. */
kvass_status kvass_zip_slurp(kvass_zip *zip, int32_t i, size_t max_bytes, char **out,
                             size_t *n_bytes, kvass_error *err);

/* Where the bytes of an entry lie in the file. FORMAT (ZIP), UNSUPPORTED (ZIP_ENTRY) when they are
 * compressed or encrypted. */
kvass_status kvass_zip_place(kvass_zip *zip, int32_t i, uint64_t *offset, uint64_t *size,
                             kvass_error *err);

#endif
