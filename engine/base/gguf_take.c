/* gguf_take.c - see gguf_take.h. */
#include "engine/base/gguf_take.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_READ = 64 << 10, MAX_HEADER = 256 << 20 };

kvass_status kvass_gguf_fail(const gguf_parse *p, kvass_status code, const char *rule, size_t at,
                             const char *fmt, ...)
{
    char text[320];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return kvass_fail(p->err, code, rule, "%s: byte %zu: %s", p->file->path, at, text);
}

uint64_t kvass_gguf_left(const gguf_parse *p)
{
    return p->file->size - p->at;
}

/* What is read grows by doubling. */
kvass_status kvass_gguf_need(gguf_parse *p, uint64_t n)
{
    if (n > kvass_gguf_left(p)) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_TRUNCATED", p->at,
                               "expected %" PRIu64
                               " bytes of the header, found the file's end after %" PRIu64,
                               n, kvass_gguf_left(p));
    }
    size_t have = p->g->n_bytes;
    uint64_t end = p->at + n;
    if (end <= have) {
        return KVASS_OK;
    }
    if (end > MAX_HEADER) {
        return kvass_gguf_fail(p, KVASS_UNSUPPORTED, "GGUF_HEADER", p->at,
                               "expected a header of at most %d bytes, found more", MAX_HEADER);
    }
    uint64_t want = have * 2 > FIRST_READ ? have * 2 : FIRST_READ;
    want = want > end ? want : end;
    want = want < p->file->size ? want : p->file->size;
    want = want < MAX_HEADER ? want : MAX_HEADER;
    unsigned char *more = realloc(p->g->bytes, (size_t)want);
    if (!more) {
        return kvass_fail_nomem(p->err, (size_t)want, "the header");
    }
    p->g->bytes = more;
    kvass_status status = kvass_file_read(p->file, have, more + have, (size_t)want - have, p->err);
    if (status == KVASS_OK) {
        p->g->n_bytes = (size_t)want;
    }
    return status;
}

kvass_status kvass_gguf_take_u32(gguf_parse *p, uint32_t *out)
{
    kvass_status status = kvass_gguf_need(p, 4);
    if (status == KVASS_OK) {
        kvass_reader r = {p->g->bytes, p->g->n_bytes, p->at};
        (void)kvass_reader_u32(&r, out);
        p->at = r.at;
    }
    return status;
}

kvass_status kvass_gguf_take_u64(gguf_parse *p, uint64_t *out)
{
    kvass_status status = kvass_gguf_need(p, 8);
    if (status == KVASS_OK) {
        kvass_reader r = {p->g->bytes, p->g->n_bytes, p->at};
        (void)kvass_reader_u64(&r, out);
        p->at = r.at;
    }
    return status;
}

kvass_status kvass_gguf_take_string(gguf_parse *p, const char *what, const char *rule, uint64_t min,
                                    uint64_t max, size_t *at, uint32_t *n)
{
    uint64_t length = 0;
    size_t start = p->at;
    kvass_status status = kvass_gguf_take_u64(p, &length);
    if (status != KVASS_OK) {
        return status;
    }
    if (length < min || length > max || length > kvass_gguf_left(p)) {
        return kvass_gguf_fail(p, KVASS_FORMAT, rule, start,
                               "%s: expected a length of %" PRIu64 " .. %" PRIu64
                               " inside the file, found %" PRIu64 " with %" PRIu64 " bytes left",
                               what, min, max, length, kvass_gguf_left(p));
    }
    status = kvass_gguf_need(p, length);
    *at = p->at;
    *n = (uint32_t)length;
    p->at += status == KVASS_OK ? (size_t)length : 0;
    return status;
}
