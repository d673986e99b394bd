/* report.h - the parts of `kvass report`: results read and checked, brought into one form, and
 * written as a page or as plain data. What is drawn is computed here once, so that the page, its
 * tables and the plain forms cannot differ.
 */
#ifndef KVASS_TOOLS_REPORT_H
#define KVASS_TOOLS_REPORT_H

#include "tools/cli.h"

/* JSON arrays of objects; what adds to them says which members they have. */
typedef struct report_data {
    json_t *sources;   /* file, kind, documents */
    json_t *speed;     /* a mode of bench at one depth */
    json_t *models;    /* what a cache of a model that bench ran takes */
    json_t *runs;      /* a cache at one length: of tradeoff, its trials as one; or of eval */
    json_t *attention; /* maps, their weights packed */
    json_t *texts;     /* generated, with time and likelihood of each token */
    int64_t n_weights; /* in all of those */
} report_data;

/* Where something was read. */
typedef struct report_place {
    const char *file;
    int64_t line;
    const char *part; /* "rows[3]", or "" */
} report_place;

bool report_data_open(report_data *data);
void report_data_close(report_data *data);

/* Read a file ("-": standard input) of JSON documents, one after the other. Returns an exit code
 * after naming file, line and what was expected. */
int report_read_file(report_data *data, const char *path);
/* The same of text[n] that is called `name`. */
int report_read_text(report_data *data, const char *name, const char *text, size_t n);

/* Members of an object; *ok becomes false, after a word, when one is missing or of another kind.
 * Numbers are finite and not below `least`. */
double report_number(const report_place *place, const json_t *object, const char *name,
                     double least, bool *ok);
/* the same, a whole number below a thousand million */
int64_t report_whole(const report_place *place, const json_t *object, const char *name,
                     int64_t least, bool *ok);
const char *report_string(const report_place *place, const json_t *object, const char *name,
                          bool *ok);
const json_t *report_array(const report_place *place, const json_t *object, const char *name,
                           bool *ok);
void report_bad(const report_place *place, const char *fmt, ...) KVASS_PRINTF(2, 3);

json_t *report_file_name(const report_place *place);
/* What token i is called: its piece of text, or its number where there is none. */
json_t *report_label(const json_t *ids, const json_t *pieces, size_t i);

/* One document of each kind into the data; exit codes. */
int report_add_bench(report_data *data, const report_place *place, const json_t *document);
int report_add_run(report_data *data, const report_place *place, const json_t *document);
int report_add_attention(report_data *data, const report_place *place, const json_t *document);
int report_add_text(report_data *data, const report_place *place, const json_t *document);
/* Trials of the same run become one. */
int report_merge_runs(report_data *data);

/* Write it; exit codes. */
int report_write_page(const report_data *data, FILE *file);
void report_write_csv(const report_data *data, FILE *file);
void report_write_gnuplot(const report_data *data, FILE *file);

/* The page of one result, text[n], that has no file of its own. Returns an exit code. */
int report_one_page(const char *name, const char *text, size_t n, FILE *file);

#endif
