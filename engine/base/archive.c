/* archive.c - archive.h on libzip, the only place that includes it. */
#include "engine/base/archive.h"

#include <inttypes.h>
#include <stdlib.h>

#include <zip.h>

#include "engine/base/checked.h"

#define MAX_ENTRIES 1000000

struct kvass_zip {
    const kvass_file *file;
    zip_t *archive;
    uint64_t at;        /* where libzip reads next */
    uint64_t last_read; /* where it read last */
    zip_error_t error;
};

/* ---- the file as libzip sees it -------------------------------------------------------------- */

static zip_int64_t read_at(kvass_zip *zip, void *data, uint64_t n)
{
    uint64_t left = zip->file->size - zip->at;
    n = n < left ? n : left;
    zip->last_read = zip->at;
    if (n > 0 && kvass_file_read(zip->file, zip->at, data, (size_t)n, NULL) != KVASS_OK) {
        zip_error_set(&zip->error, ZIP_ER_READ, 0);
        return -1;
    }
    zip->at += n;
    return (zip_int64_t)n;
}

static zip_int64_t seek(kvass_zip *zip, void *data, uint64_t n)
{
    zip_int64_t at = zip_source_seek_compute_offset(zip->at, zip->file->size, data, n, &zip->error);
    if (at < 0) {
        return -1;
    }
    zip->at = (uint64_t)at;
    return 0;
}

static zip_int64_t stat_size(const kvass_zip *zip, void *data)
{
    zip_stat_t *st = data;
    zip_stat_init(st);
    st->size = zip->file->size;
    st->valid |= ZIP_STAT_SIZE;
    return sizeof *st;
}

static zip_int64_t source(void *user, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    kvass_zip *zip = user;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        zip->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return read_at(zip, data, n);
    case ZIP_SOURCE_SEEK:
        return seek(zip, data, n);
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)zip->at;
    case ZIP_SOURCE_STAT:
        return stat_size(zip, data);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&zip->error, data, n);
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(
            ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
            ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, ZIP_SOURCE_FREE, -1);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    default:
        zip_error_set(&zip->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* ---- the archive ----------------------------------------------------------------------------- */

static kvass_status fail_zip(const kvass_zip *zip, zip_error_t *error, const char *what,
                             kvass_error *err)
{
    int code = zip_error_code_zip(error);
    kvass_status status = code == ZIP_ER_MEMORY ? KVASS_NOMEM
                          : code == ZIP_ER_READ ? KVASS_IO
                                                : KVASS_FORMAT;
    return kvass_fail(err, status, "ZIP", "%s: %s: expected a zip archive in order, found: %s",
                      zip->file->path, what, zip_error_strerror(error));
}

kvass_status kvass_zip_open(kvass_zip **out, const kvass_file *file, kvass_error *err)
{
    *out = NULL;
    kvass_zip *zip = calloc(1, sizeof *zip);
    if (!zip) {
        return kvass_fail_nomem(err, sizeof *zip, "an archive");
    }
    zip->file = file;
    zip_error_t error;
    zip_error_init(&error);
    zip_error_init(&zip->error);
    zip_source_t *from = zip_source_function_create(source, zip, &error);
    zip->archive = from ? zip_open_from_source(from, ZIP_RDONLY, &error) : NULL;
    kvass_status status = KVASS_OK;
    if (!zip->archive) {
        zip_source_free(from);
        status = fail_zip(zip, &error, "its directory", err);
    } else if (zip_get_num_entries(zip->archive, 0) > MAX_ENTRIES) {
        status = kvass_fail(err, KVASS_FORMAT, "ZIP", "%s: more than %d entries", file->path,
                            MAX_ENTRIES);
    }
    zip_error_fini(&error);
    if (status != KVASS_OK) {
        kvass_zip_close(&zip);
    }
    *out = zip;
    return status;
}

void kvass_zip_close(kvass_zip **zip)
{
    if (zip && *zip) {
        if ((*zip)->archive) {
            zip_discard((*zip)->archive);
        }
        zip_error_fini(&(*zip)->error);
        free(*zip);
        *zip = NULL;
    }
}

int32_t kvass_zip_size(const kvass_zip *zip)
{
    return (int32_t)zip_get_num_entries(zip->archive, 0);
}

const char *kvass_zip_name(const kvass_zip *zip, int32_t i)
{
    return zip_get_name(zip->archive, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
}

int32_t kvass_zip_find(const kvass_zip *zip, const char *name)
{
    return (int32_t)zip_name_locate(zip->archive, name, ZIP_FL_ENC_RAW);
}

/* What the directory says of an entry. */
static kvass_status stat_entry(kvass_zip *zip, int32_t i, zip_stat_t *st, kvass_error *err)
{
    zip_stat_init(st);
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(zip->archive, (zip_uint64_t)i, ZIP_FL_ENC_RAW, st) != 0) {
        return fail_zip(zip, zip_get_error(zip->archive), "an entry", err);
    }
    if ((st->valid & needed) != needed) {
        return kvass_fail(err, KVASS_FORMAT, "ZIP", "%s: entry %d has no size or name",
                          zip->file->path, i);
    }
    return KVASS_OK;
}

kvass_status kvass_zip_slurp(kvass_zip *zip, int32_t i, size_t max_bytes, char **out,
                             size_t *n_bytes, kvass_error *err)
{
    *out = NULL;
    zip_stat_t st;
    kvass_status status = stat_entry(zip, i, &st, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (st.size > max_bytes || st.comp_size > zip->file->size) {
        return kvass_fail(err, KVASS_FORMAT, "ZIP_ENTRY",
                          "%s: %.128s: expected at most %zu bytes, found %" PRIu64, zip->file->path,
                          st.name, max_bytes, (uint64_t)st.size);
    }
    char *bytes = malloc((size_t)st.size + 1);
    zip_file_t *entry = bytes ? zip_fopen_index(zip->archive, (zip_uint64_t)i, 0) : NULL;
    if (!bytes) {
        return kvass_fail_nomem(err, (size_t)st.size, "an entry of an archive");
    }
    if (!entry) {
        free(bytes);
        return fail_zip(zip, zip_get_error(zip->archive), st.name, err);
    }
    zip_int64_t n = zip_fread(entry, bytes, st.size);
    if (n < 0) {
        status = fail_zip(zip, zip_file_get_error(entry), st.name, err);
    } else if ((zip_uint64_t)n != st.size) {
        status = kvass_fail(err, KVASS_FORMAT, "ZIP_ENTRY",
                            "%s: %.128s: expected %" PRIu64 " bytes, found %" PRId64,
                            zip->file->path, st.name, (uint64_t)st.size, (int64_t)n);
    }
    (void)zip_fclose(entry);
    if (status != KVASS_OK) {
        free(bytes);
        return status;
    }
    bytes[st.size] = '\0';
    *out = bytes;
    *n_bytes = (size_t)st.size;
    return KVASS_OK;
}

kvass_status kvass_zip_place(kvass_zip *zip, int32_t i, uint64_t *offset, uint64_t *size,
                             kvass_error *err)
{
    zip_stat_t st;
    kvass_status status = stat_entry(zip, i, &st, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (st.comp_method != ZIP_CM_STORE || st.encryption_method != ZIP_EM_NONE ||
        st.size != st.comp_size) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "ZIP_ENTRY",
                          "%s: %.128s: expected an entry stored as it is, found it %s",
                          zip->file->path, st.name,
                          st.encryption_method != ZIP_EM_NONE ? "encrypted" : "compressed");
    }
    *offset = 0;
    *size = st.size;
    if (st.size == 0) {
        return KVASS_OK;
    }
    char byte;
    zip_file_t *entry = zip_fopen_index(zip->archive, (zip_uint64_t)i, 0);
    if (!entry) {
        return fail_zip(zip, zip_get_error(zip->archive), st.name, err);
    }
    bool ok = zip_fread(entry, &byte, 1) == 1;
    uint64_t at = zip->last_read;
    (void)zip_fclose(entry);
    if (!ok || !kvass_range_inside(at, st.size, zip->file->size)) {
        return kvass_fail(err, KVASS_FORMAT, "ZIP_ENTRY",
                          "%s: %.128s: expected %" PRIu64 " bytes inside the file's %" PRIu64,
                          zip->file->path, st.name, (uint64_t)st.size, zip->file->size);
    }
    *offset = at;
    return KVASS_OK;
}
