/* stream_file.c - see stream_file.h. Every write, sync and close is checked: a disk may say that it
 * is full at any of them.
 */
#include "engine/base/stream_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/checked.h"

enum { MOST_NAMES = 100 }; /* names tried for the unfinished file */

/* ---- writing --------------------------------------------------------------------------------- */

static kvass_status fail_out(kvass_out_file *out, const char *rule, const char *what, int code,
                             kvass_error *err)
{
    char reason[128];
    out->status = kvass_fail(err, KVASS_IO, rule, "%s: cannot be %s: %s", out->path, what,
                             strerror_r(code, reason, sizeof reason));
    return out->status;
}

/* a name in the same folder that nobody has; permissions are the caller's umask's business */
static int open_temp(kvass_out_file *out)
{
    for (int i = 0; i < MOST_NAMES; i++) {
        int n =
            snprintf(out->temp, sizeof out->temp, "%s.part-%ld-%d", out->path, (long)getpid(), i);
        if (n < 0 || (size_t)n >= sizeof out->temp) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open(out->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

kvass_status kvass_out_file_open(kvass_out_file *out, const char *path, kvass_error *err)
{
    struct stat st;
    out->path = path;
    out->fd = -1;
    out->used = 0;
    out->status = KVASS_OK;
    kvass_hash_begin(&out->hash);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        out->status =
            kvass_fail(err, KVASS_IO, "SAVE_KIND", "%s: expected a regular file or none, found %s",
                       path, S_ISDIR(st.st_mode) ? "a folder" : "a device, FIFO or socket");
        return out->status;
    }
    out->fd = open_temp(out);
    return out->fd < 0 ? fail_out(out, "SAVE_OPEN", "created", errno, err) : KVASS_OK;
}

static kvass_status flush(kvass_out_file *out, kvass_error *err)
{
    for (size_t done = 0; done < out->used;) {
        ssize_t n = write(out->fd, out->buffer + done, out->used - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return fail_out(out, "SAVE_WRITE", "written", n == 0 ? ENOSPC : errno, err);
        }
    }
    out->used = 0;
    return KVASS_OK;
}

kvass_status kvass_out_file_put(kvass_out_file *out, const void *bytes, size_t n_bytes,
                                kvass_error *err)
{
    const unsigned char *from = bytes;
    if (out->status == KVASS_OK) {
        kvass_hash_add(&out->hash, bytes, n_bytes);
    }
    while (n_bytes > 0 && out->status == KVASS_OK) {
        size_t room = sizeof out->buffer - out->used;
        size_t n = n_bytes < room ? n_bytes : room;
        memcpy(out->buffer + out->used, from, n);
        out->used += n;
        from += n;
        n_bytes -= n;
        if (out->used == sizeof out->buffer) {
            (void)flush(out, err);
        }
    }
    return out->status;
}

void kvass_out_file_begin_hash(kvass_out_file *out)
{
    kvass_hash_begin(&out->hash);
}

kvass_status kvass_out_file_put_hash(kvass_out_file *out, kvass_error *err)
{
    uint64_t hash = kvass_hash_end(&out->hash);
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(hash >> 8 * i);
    }
    return kvass_out_file_put(out, bytes, sizeof bytes, err);
}

/* a renamed file is safe only when its folder is */
static kvass_status sync_folder(kvass_out_file *out, kvass_error *err)
{
    char *slash = strrchr(out->temp, '/');
    const char *folder = ".";
    if (slash) {
        slash[slash == out->temp] = '\0'; /* "/name" lies in "/" */
        folder = out->temp;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_out(out, "SAVE_SYNC", "synced with its folder", errno, err);
    }
    int code = fsync(fd) == 0 || errno == EINVAL ? 0 : errno; /* EINVAL: not on this file system */
    (void)close(fd);
    return code ? fail_out(out, "SAVE_SYNC", "synced with its folder", code, err) : KVASS_OK;
}

kvass_status kvass_out_file_sync(kvass_out_file *out, kvass_error *err)
{
    if (out->status == KVASS_OK && flush(out, err) == KVASS_OK && fsync(out->fd) != 0) {
        (void)fail_out(out, "SAVE_SYNC", "synced", errno, err);
    }
    return out->status;
}

kvass_status kvass_out_file_finish(kvass_out_file *out, kvass_error *err)
{
    if (out->fd < 0) {
        return out->status;
    }
    (void)kvass_out_file_sync(out, err);
    if (close(out->fd) != 0 && out->status == KVASS_OK) {
        (void)fail_out(out, "SAVE_WRITE", "closed", errno, err);
    }
    out->fd = -1;
    if (out->status == KVASS_OK && rename(out->temp, out->path) != 0) {
        (void)fail_out(out, "SAVE_RENAME", "given its name", errno, err);
    }
    if (out->status != KVASS_OK) {
        (void)unlink(out->temp);
        return out->status;
    }
    return sync_folder(out, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

kvass_status kvass_in_file_open(kvass_in_file *in, const char *path, kvass_error *err)
{
    in->at = 0;
    in->used = in->held = 0;
    kvass_hash_begin(&in->hash);
    return kvass_file_open(&in->file, path, err);
}

void kvass_in_file_close(kvass_in_file *in)
{
    kvass_file_close(&in->file);
}

static kvass_status fill(kvass_in_file *in, kvass_error *err)
{
    uint64_t left = in->file.size - in->at;
    size_t n = left < sizeof in->buffer ? (size_t)left : sizeof in->buffer;
    in->used = in->held = 0;
    kvass_status status = kvass_file_read(&in->file, in->at, in->buffer, n, err);
    in->held = status == KVASS_OK ? n : 0;
    return status;
}

kvass_status kvass_in_file_take(kvass_in_file *in, void *buf, size_t n_bytes, kvass_error *err)
{
    unsigned char *to = buf;
    if (!kvass_range_inside(in->at, n_bytes, in->file.size)) {
        return kvass_fail(err, KVASS_FORMAT, "FILE_TRUNCATED",
                          "%s: expected %zu bytes at offset %llu, found a file of %llu bytes",
                          in->file.path, n_bytes, (unsigned long long)in->at,
                          (unsigned long long)in->file.size);
    }
    while (n_bytes > 0) {
        kvass_status status = in->used == in->held ? fill(in, err) : KVASS_OK;
        if (status) {
            return status;
        }
        size_t n = in->held - in->used < n_bytes ? in->held - in->used : n_bytes;
        kvass_hash_add(&in->hash, in->buffer + in->used, n);
        if (to) {
            memcpy(to, in->buffer + in->used, n);
            to += n;
        }
        in->used += n;
        in->at += n;
        n_bytes -= n;
    }
    return KVASS_OK;
}

void kvass_in_file_seek(kvass_in_file *in, uint64_t offset)
{
    in->at = offset;
    in->used = in->held = 0;
}

void kvass_in_file_begin_hash(kvass_in_file *in)
{
    kvass_hash_begin(&in->hash);
}

kvass_status kvass_in_file_check_hash(kvass_in_file *in, const char *what, kvass_error *err)
{
    uint64_t hash = kvass_hash_end(&in->hash), found = 0;
    unsigned char bytes[8];
    kvass_status status = kvass_in_file_take(in, bytes, sizeof bytes, err);
    if (status) {
        return status;
    }
    for (int i = 0; i < 8; i++) {
        found |= (uint64_t)bytes[i] << 8 * i;
    }
    if (found != hash) {
        return kvass_fail(err, KVASS_FORMAT, "SAVED_CHECKSUM",
                          "%s: the checksum of its %s is %016llx, expected %016llx: the file is "
                          "damaged",
                          in->file.path, what, (unsigned long long)hash, (unsigned long long)found);
    }
    return KVASS_OK;
}
