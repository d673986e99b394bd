/* report_page.c - the page: hand-written parts out of tools/report/, which the build has turned
 * into arrays, with the data between them. The data stand in a block that no browser runs, with
 * every character that could end it escaped; the policy allows that one script and that one style
 * by their hashes, and no request at all.
 */
#include "tools/report.h"

#include <stdlib.h>
#include <string.h>

#include "commit.h"
#include "report_parts.h"

/* JSON that can stand inside <script>: no '<', no '&', nothing but ASCII */
static void write_data(FILE *file, const char *json)
{
    for (const char *c = json; *c != '\0'; c++) {
        if (*c == '<' || *c == '>' || *c == '&') {
            (void)fprintf(file, "\\u%04x", (unsigned)(unsigned char)*c);
        } else {
            (void)fputc(*c, file);
        }
    }
}

static void write_policy(FILE *file)
{
    (void)fprintf(file,
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "script-src 'sha256-%s'; style-src 'sha256-%s'; base-uri 'none'; "
                  "form-action 'none'\">\n",
                  report_script_hash, report_style_hash);
}

int report_write_page(const report_data *data, FILE *file)
{
    json_t *root = json_pack("{s:i, s:s, s:s, s:O, s:O, s:O, s:O, s:O, s:O}", "schema_version", 1,
                             "version", kvass_version(), "commit", KVASS_COMMIT, "sources",
                             data->sources, "speed", data->speed, "models", data->models, "runs",
                             data->runs, "attention", data->attention, "texts", data->texts);
    char *json =
        root ? json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!json) {
        cli_say("out of memory for the report");
        return CLI_NO_ROOM;
    }
    (void)fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n", file);
    write_policy(file);
    (void)fputs("<style>", file);
    (void)fwrite(report_style, 1, sizeof report_style, file);
    (void)fputs("</style>\n", file);
    (void)fwrite(report_page, 1, sizeof report_page, file);
    (void)fputs("<script type=\"application/json\" id=\"data\">", file);
    write_data(file, json);
    (void)fputs("</script>\n<script>", file);
    (void)fwrite(report_script, 1, sizeof report_script, file);
    (void)fputs("</script>\n</body>\n</html>\n", file);
    free(json);
    return CLI_OK;
}
