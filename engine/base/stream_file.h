/* stream_file.h - a file written in one go, and read back in the same order.
 * Both sides buffer, and hash what passes by. A written file appears under its name only when all
 * of it is on the disk: it is made beside it under another name, synced, and renamed; until then,
 * and after any failure, what had the name before is untouched and nothing else is left behind.
 */
#ifndef KVASS_BASE_STREAM_FILE_H
#define KVASS_BASE_STREAM_FILE_H

#include "engine/base/file.h"
#include "engine/base/hash.h"

enum { KVASS_STREAM_BYTES = 1 << 15 };

typedef struct kvass_out_file {
    const char *path;    /* borrowed */
    char temp[4096];     /* the name it has until it is whole */
    int fd;              /* -1 when closed */
    size_t used;         /* bytes in the buffer */
    kvass_hash hash;     /* of everything since kvass_out_file_begin_hash */
    kvass_status status; /* the first failure: later calls do nothing */
    unsigned char buffer[KVASS_STREAM_BYTES];
} kvass_out_file;

/* IO (rules SAVE_OPEN, SAVE_KIND, SAVE_WRITE, SAVE_SYNC, SAVE_RENAME). What stands at `path` must
 * be a regular file, or nothing. */
kvass_status kvass_out_file_open(kvass_out_file *out, const char *path, kvass_error *err);
kvass_status kvass_out_file_put(kvass_out_file *out, const void *bytes, size_t n_bytes,
                                kvass_error *err);
void kvass_out_file_begin_hash(kvass_out_file *out);
/* Write the hash of what came since kvass_out_file_begin_hash. */
kvass_status kvass_out_file_put_hash(kvass_out_file *out, kvass_error *err);
/* Put what was written so far on the disk: under out->temp it can be read. */
kvass_status kvass_out_file_sync(kvass_out_file *out, kvass_error *err);
/* Give it its name, if all went well until now; the file is closed in any case. */
kvass_status kvass_out_file_finish(kvass_out_file *out, kvass_error *err);

typedef struct kvass_in_file {
    kvass_file file;
    uint64_t at;       /* offset of the next byte to be taken */
    size_t used, held; /* of the buffer: taken, and read */
    kvass_hash hash;
    unsigned char buffer[KVASS_STREAM_BYTES];
} kvass_in_file;

/* IO and FORMAT as kvass_file_open and kvass_file_read. */
kvass_status kvass_in_file_open(kvass_in_file *in, const char *path, kvass_error *err);
void kvass_in_file_close(kvass_in_file *in);
/* Exactly n_bytes into buf; buf may be NULL: then they are hashed only. */
kvass_status kvass_in_file_take(kvass_in_file *in, void *buf, size_t n_bytes, kvass_error *err);
/* Go on at `offset`. */
void kvass_in_file_seek(kvass_in_file *in, uint64_t offset);
void kvass_in_file_begin_hash(kvass_in_file *in);
/* Take 8 bytes and compare them with the hash since begin_hash. FORMAT (SAVED_CHECKSUM). */
kvass_status kvass_in_file_check_hash(kvass_in_file *in, const char *what, kvass_error *err);

#endif
