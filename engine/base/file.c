/* file.c - opening, reading and mapping regular files; see file.h.
 * Every range is checked against the size seen at open before a byte is asked for, and a file that
 * became shorter meanwhile is a status, never a short read that goes unnoticed.
 */
#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/checked.h"

/* one pread never asks for more: Linux caps a single read a little below 2 GiB */
enum { READ_CHUNK = 1 << 30 };

/* strerror without its shared buffer */
static const char *reason_of(int code, char *buf, size_t n_bytes)
{
    return strerror_r(code, buf, n_bytes);
}

kvass_status kvass_file_open(kvass_file *file, const char *path, kvass_error *err)
{
    char reason[128];
    *file = (kvass_file){.fd = -1, .path = path};
    /* O_NONBLOCK: opening a FIFO would otherwise wait for a writer before it can be refused */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return kvass_fail(err, KVASS_IO, "FILE_OPEN", "%s: cannot be opened: %s", path,
                          reason_of(errno, reason, sizeof reason));
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int code = errno;
        (void)close(fd);
        return kvass_fail(err, KVASS_IO, "FILE_OPEN", "%s: cannot be examined: %s", path,
                          reason_of(code, reason, sizeof reason));
    }
    if (!S_ISREG(st.st_mode) || st.st_size < 0) {
        (void)close(fd);
        return kvass_fail(err, KVASS_IO, "FILE_KIND", "%s: expected a regular file, found %s", path,
                          S_ISDIR(st.st_mode)    ? "a folder"
                          : S_ISFIFO(st.st_mode) ? "a FIFO"
                                                 : "a device or socket");
    }
    file->fd = fd;
    file->size = (uint64_t)st.st_size;
    return KVASS_OK;
}

void kvass_file_close(kvass_file *file)
{
    if (file->map) {
        (void)munmap(file->map, (size_t)file->size);
        file->map = NULL;
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
}

kvass_status kvass_file_read(const kvass_file *file, uint64_t offset, void *buf, size_t n_bytes,
                             kvass_error *err)
{
    if (!kvass_range_inside(offset, n_bytes, file->size)) {
        return kvass_fail(err, KVASS_FORMAT, "FILE_TRUNCATED",
                          "%s: expected %zu bytes at offset %llu, found a file of %llu bytes",
                          file->path, n_bytes, (unsigned long long)offset,
                          (unsigned long long)file->size);
    }
    unsigned char *to = buf;
    size_t done = 0;
    while (done < n_bytes) {
        size_t want = n_bytes - done < READ_CHUNK ? n_bytes - done : READ_CHUNK;
        ssize_t got = pread(file->fd, to + done, want, (off_t)(offset + done));
        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            return kvass_fail(err, KVASS_FORMAT, "FILE_TRUNCATED",
                              "%s: the file became shorter while it was read, at offset %llu",
                              file->path, (unsigned long long)(offset + done));
        } else if (errno != EINTR) {
            char reason[128];
            return kvass_fail(err, KVASS_IO, "FILE_READ", "%s: offset %llu: cannot be read: %s",
                              file->path, (unsigned long long)(offset + done),
                              reason_of(errno, reason, sizeof reason));
        }
    }
    return KVASS_OK;
}

kvass_status kvass_file_map(kvass_file *file, kvass_error *err)
{
    if (file->map || file->size == 0) {
        return KVASS_OK;
    }
    if (file->size > SIZE_MAX) {
        return kvass_fail(err, KVASS_IO, "FILE_MAP", "%s: too large for this machine's addresses",
                          file->path);
    }
    void *map = mmap(NULL, (size_t)file->size, PROT_READ, MAP_PRIVATE, file->fd, 0);
    if (map == MAP_FAILED) {
        char reason[128];
        return kvass_fail(err, KVASS_IO, "FILE_MAP", "%s: cannot be mapped: %s", file->path,
                          reason_of(errno, reason, sizeof reason));
    }
    file->map = map;
    return KVASS_OK;
}

kvass_status kvass_file_slurp(const char *path, size_t max_bytes, char **out, size_t *n_bytes,
                              kvass_error *err)
{
    kvass_file file;
    kvass_status status = kvass_file_open(&file, path, err);
    if (status != KVASS_OK) {
        return status;
    }
    char *text = NULL;
    if (file.size > max_bytes || file.size >= SIZE_MAX) {
        status =
            kvass_fail(err, KVASS_FORMAT, "FILE_SIZE", "%s: expected at most %zu bytes, found %llu",
                       path, max_bytes, (unsigned long long)file.size);
        goto done;
    }
    size_t size = (size_t)file.size;
    text = malloc(size + 1);
    if (!text) {
        status = kvass_fail_nomem(err, size + 1, path);
        goto done;
    }
    status = kvass_file_read(&file, 0, text, size, err);
    if (status != KVASS_OK) {
        free(text);
        goto done;
    }
    text[size] = '\0';
    *out = text;
    *n_bytes = size;
done:
    kvass_file_close(&file);
    return status;
}

/* What a file may begin with, most telling first. */
static const struct {
    const char *magic;
    size_t n_bytes;
    const char *what;
} magics[] = {
    {"version https://git-lfs", 23, "a Git LFS pointer (the file itself was not fetched)"},
    {"GGUF", 4, "a GGUF file"},
    {"lmgg", 4, "an old GGML file"},
    {"fmgg", 4, "an old GGML file"},
    {"tjgg", 4, "an old GGML file"},
    {"24ka", 4, "a llama2.c checkpoint"},
    {"PK\3\4", 4, "a zip archive (PyTorch?)"},
    {"PK\5\6", 4, "an empty zip archive"},
    {"\x1f\x8b", 2, "a gzip file"},
    {"\x28\xb5\x2f\xfd", 4, "a zstd file"},
    {"\xfd"
     "7zXZ",
     5, "an xz file"},
    {"BZh", 3, "a bzip2 file"},
    {"7z\xbc\xaf\x27\x1c", 6, "a 7-zip archive"},
    {"\x89HDF", 4, "an HDF5 file (Keras?)"},
    {"\x93NUMPY", 6, "a NumPy array"},
    {"%PDF", 4, "a PDF document"},
    {"\x89PNG", 4, "a PNG image"},
    {"\x7f"
     "ELF",
     4, "a program"},
    {"#!", 2, "a script"},
};

/* 0x80, the protocol's number, then an operation, which is never 0 */
static bool is_pickle(const unsigned char *head, size_t n_bytes)
{
    return n_bytes >= 3 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5 && head[2] != 0;
}

/* a little-endian size below 16 MiB, then the start of an object */
static bool is_safetensors(const unsigned char *head, size_t n_bytes)
{
    return n_bytes >= 9 && memcmp(head + 3, "\0\0\0\0\0{", 6) == 0;
}

/* The first visible character of what may be text, or 0. Binary files give themselves away by a NUL
 * among the first four bytes: llama2.c's v0 header starts with any small number. */
static unsigned char first_visible(const unsigned char *head, size_t n_bytes)
{
    if (memchr(head, '\0', n_bytes < 4 ? n_bytes : 4)) {
        return 0;
    }
    size_t i = n_bytes >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < n_bytes && memchr(" \t\r\n", head[i], 4)) {
        i++;
    }
    return i < n_bytes ? head[i] : 0;
}

const char *kvass_file_looks_like(const unsigned char *head, size_t n_bytes)
{
    if (n_bytes == 0) {
        return "an empty file";
    }
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (n_bytes >= magics[i].n_bytes && memcmp(head, magics[i].magic, magics[i].n_bytes) == 0) {
            return magics[i].what;
        }
    }
    if (is_pickle(head, n_bytes)) {
        return "a Python pickle (PyTorch?)";
    }
    if (is_safetensors(head, n_bytes)) {
        return "a safetensors file";
    }
    switch (first_visible(head, n_bytes)) {
    case '<':
        return "a saved web page";
    case '{':
    case '[':
        return "JSON text";
    default:
        return KVASS_LOOKS_UNKNOWN;
    }
}
