/* cli_json.c - results as one JSON document on one line.
 * jansson refuses what is not UTF-8, so text is mended first; numbers that are not finite become
 * null.
 */
#include "tools/cli.h"

#include <math.h>
#include <string.h>

json_t *cli_json_text(const char *text, size_t n)
{
    cli_bytes clean = {0};
    bool ok = cli_bytes_add(&clean, "", 0);
    for (size_t i = 0; ok && i < n;) {
        uint32_t code;
        size_t len = cli_utf8(text + i, n - i, &code);
        ok = len > 0 ? cli_bytes_add(&clean, text + i, len)
                     : cli_bytes_add(&clean, "\xef\xbf\xbd", 3);
        i += len > 0 ? len : 1;
    }
    json_t *string = ok ? json_stringn(clean.data, clean.n) : NULL;
    cli_bytes_free(&clean);
    return string;
}

json_t *cli_json_real(double x, int digits)
{
    double unit = pow(10, digits);
    double rounded = round(x * unit) / unit;
    return isfinite(rounded) ? json_real(rounded) : isfinite(x) ? json_real(x) : json_null();
}

json_t *cli_json_ids(const int32_t *ids, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++) {
        if (json_array_append_new(array, json_integer(ids[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *cli_json_pieces(const kvass_tokenizer *tok, const int32_t *ids, size_t n)
{
    json_t *pieces = json_array();
    for (size_t i = 0; pieces && i < n; i++) {
        size_t n_bytes = 0;
        const char *piece = tok ? kvass_tokenizer_piece(tok, ids[i], &n_bytes) : NULL;
        (void)json_array_append_new(pieces, piece ? cli_json_text(piece, n_bytes) : json_null());
    }
    return pieces;
}

json_t *cli_json_fingerprint(uint64_t fingerprint)
{
    return json_sprintf("%016llx", (unsigned long long)fingerprint);
}

json_t *cli_json_cache(const kvass_context *ctx)
{
    kvass_context_info info;
    kvass_cache_usage usage;
    kvass_context_get_info(ctx, &info);
    kvass_context_get_usage(ctx, &usage);
    json_t *cache = json_pack(
        "{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "retain", info.retain, "store",
        info.store, "select", info.select, "n_ctx", (int)info.n_ctx, "bytes_per_token",
        (json_int_t)usage.bytes_per_token, "bytes_reserved", (json_int_t)usage.bytes_reserved,
        "bytes_used", (json_int_t)usage.bytes_used, "bytes_shared", (json_int_t)usage.bytes_shared,
        "bytes_touched", (json_int_t)usage.bytes_touched, "bytes_transient",
        (json_int_t)usage.bytes_transient);
    const struct {
        const char *name;
        int64_t value;
    } more[] = {
        {"bytes_resident", (int64_t)usage.bytes_resident},
        {"index_bytes", (int64_t)usage.index_bytes},
        {"tail_bytes", (int64_t)usage.tail_bytes},
        {"pages_touched", usage.n_pages_touched},
        {"pages_read", usage.pages_read},
        {"cold_bytes", (int64_t)usage.cold_bytes},
        {"cold_pages_read", usage.cold_pages_read},
        {"recomputed_tokens", usage.recomputed_tokens},
        {"evicted_tokens", usage.evicted_tokens},
        {"reused_tokens", usage.reused_tokens},
    };
    for (size_t i = 0; cache && i < sizeof more / sizeof *more; i++) {
        (void)json_object_set_new(cache, more[i].name, json_integer(more[i].value));
    }
    return cache;
}

int cli_print_json(json_t *document)
{
    if (!document) {
        cli_say("out of memory for the JSON document");
        return CLI_NO_ROOM;
    }
    /* 9 digits give back any f32 exactly */
    (void)json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    (void)fputc('\n', stdout);
    json_decref(document);
    return cli_finish_output();
}
