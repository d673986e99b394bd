/* report.c - `kvass report`: results of bench, tradeoff, eval and attention as one page that needs
 * nothing else, or as plain data.
 */
#include "tools/report.h"
#include "tools/help.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_FORMAT = CLI_KEY_OWN };
enum { MOST_FILES = 256 };

typedef struct report_args {
    cli_options opts; /* first: see cli_share_state */
    const char *files[MOST_FILES];
    int n_files;
    const char *out_path;
    int format; /* html, csv, gnuplot */
} report_args;

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    static const char *const formats[] = {"html", "csv", "gnuplot"};
    report_args *args = state->input;
    switch (key) {
    case 'o':
        args->out_path = arg;
        return 0;
    case 'h':
        (void)fputs(help_report, stdout);
        exit(cli_finish_output());
    case KEY_FORMAT:
        args->format = cli_choice(state, "--format", arg, formats, 3);
        return 0;
    case ARGP_KEY_ARG:
        if (args->n_files == MOST_FILES) {
            argp_error(state, "more than %d files", MOST_FILES);
        }
        args->files[args->n_files++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (args->n_files == 0) {
            argp_error(state, "nothing to report: give files that kvass bench -o json, tradeoff, "
                              "eval --json or attention wrote");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "write there instead of to standard output", 0},
    {"format", KEY_FORMAT, "FORMAT", 0, "html, csv or gnuplot", 0},
    {"help", 'h', NULL, 0, "this help", 0},
    {0},
};

static int write_report(const report_args *args, const report_data *data, FILE *file)
{
    if (args->format == 1) {
        report_write_csv(data, file);
    } else if (args->format == 2) {
        report_write_gnuplot(data, file);
    } else {
        return report_write_page(data, file);
    }
    return CLI_OK;
}

static int write_file(const report_args *args, const report_data *data)
{
    FILE *file = fopen(args->out_path, "we");
    int code = file ? write_report(args, data, file) : CLI_RUNTIME;
    bool failed = !file || ferror(file) != 0;
    if (file) {
        failed = fclose(file) != 0 || failed;
    }
    if (failed) {
        cli_say("%s: %s", args->out_path, strerror(errno));
        code = CLI_RUNTIME;
    }
    return code;
}

int report_one_page(const char *name, const char *text, size_t n, FILE *file)
{
    report_data data;
    int code = report_data_open(&data) ? report_read_text(&data, name, text, n) : CLI_NO_ROOM;
    if (code == CLI_OK) {
        code = report_write_page(&data, file);
    }
    report_data_close(&data);
    return code;
}

static int run_report(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, NULL, NULL, NULL};
    report_args args = {0};
    report_data data;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    int code = CLI_OK;
    if (!report_data_open(&data)) {
        cli_say("out of memory for the report");
        code = CLI_NO_ROOM;
    }
    for (int i = 0; i < args.n_files && code == CLI_OK; i++) {
        code = report_read_file(&data, args.files[i]);
    }
    if (code == CLI_OK) {
        code = report_merge_runs(&data);
    }
    if (code == CLI_OK && args.out_path) {
        code = write_file(&args, &data);
    } else if (code == CLI_OK) {
        code = write_report(&args, &data, stdout);
        code = code != CLI_OK ? code : cli_finish_output();
    }
    report_data_close(&data);
    return code;
}

const cli_command cli_report = {.name = "report",
                                .summary = "results as one page to look at",
                                .help = help_report,
                                .details = details_report,
                                .run = run_report};
