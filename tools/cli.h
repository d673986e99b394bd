/* cli.h - what the subcommands of `kvass` share.
 * Each subcommand is one file and one cli_command. Options that several take are argp children
 * here, so that a flag means the same everywhere; their values land in cli_options, which every
 * subcommand's own state begins with. stdout carries results only, stderr everything else.
 * The command sees the library through its public header alone.
 */
#ifndef KVASS_TOOLS_CLI_H
#define KVASS_TOOLS_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdio.h>

#include "engine/kvass.h"

/* Exit codes; 130 (SIGINT) and 141 (SIGPIPE) come from the signals themselves. */
enum {
    CLI_OK = 0,
    CLI_RUNTIME = 1,   /* a fault while running, I/O */
    CLI_USAGE = 2,     /* the command line */
    CLI_BAD_MODEL = 3, /* a file that is malformed or not supported */
    CLI_NO_ROOM = 4    /* does not fit context or memory */
};

typedef struct cli_command {
    const char *name;
    const char *summary; /* one line */
    const char *help;    /* --help: at most 40 lines */
    const char *details; /* what `kvass help NAME` prints after it; may be NULL */
    int (*run)(int argc, char **argv);
} cli_command;

extern const cli_command cli_generate, cli_inspect, cli_tokenize, cli_detokenize, cli_logits,
    cli_eval, cli_bench, cli_attention, cli_tradeoff, cli_report, cli_convert;

/* ---- options -------------------------------------------------------------------------------- */

/* Where text comes from, besides standard input. */
typedef struct cli_prompt {
    const char *text; /* argument or -p; NULL: none */
    const char *file; /* -f; NULL: none */
} cli_prompt;

typedef struct cli_options {
    const cli_command *command;
    const char *model;     /* NULL: KVASS_MODEL, then the bundled weights */
    const char *tokenizer; /* NULL: beside the model */
    const char *pattern;   /* of a tokenizer that does not say how it cuts text; or NULL */
    bool use_mmap;
    kvass_context_options context;
    bool cache_given;    /* --cache was */
    bool window_is_sqrt; /* --window sqrt: cli_open_model fills it in */
    kvass_sampler_options sampler;
    unsigned sampling_given; /* which of its fields a flag gave; see cli_take_sampling */
    bool seed_given;
    bool quiet, verbose;
    cli_prompt prompt;
} cli_options;

/* Keys of long options without a letter; each file's own start at CLI_KEY_OWN. */
enum { CLI_KEY_SHARED = 0x100, CLI_KEY_OWN = 0x200 };

extern const struct argp cli_model_argp;    /* -m --tokenizer --mmap -q -v --help */
extern const struct argp cli_context_argp;  /* -c -t --batch --isa and the cache's flags */
extern const struct argp cli_speed_argp;    /* -t --batch --isa --deterministic --kv-type */
extern const struct argp cli_sampling_argp; /* --temp --top-k ... --seed */
extern const struct argp cli_prompt_argp;   /* -p -f and one argument */

/* The sampling that the authors of the model advise, where no flag says otherwise. Greedy stays
 * plain. */
void cli_take_sampling(cli_options *opts, const kvass_model *model);

/* Fill *opts with defaults and the environment's KVASS_THREADS; false after saying what is wrong
 * with it. */
bool cli_options_init(cli_options *opts, const cli_command *command);

/* In ARGP_KEY_INIT: hand this parser's state, which begins with cli_options, to its children[], of
 * which the last has argp NULL. */
void cli_share_state(struct argp_state *state, const struct argp_child *children);

/* The value of an option; what is wrong with it ends the program with CLI_USAGE. Integers may end
 * in K, M or G (1024s). `name` is the option as written. */
int64_t cli_int(const struct argp_state *state, const char *name, const char *arg, int64_t lo,
                int64_t hi);
double cli_real(const struct argp_state *state, const char *name, const char *arg);
/* index into choices[n]; the nearest is suggested for an unknown value */
int cli_choice(const struct argp_state *state, const char *name, const char *arg,
               const char *const *choices, int n);

/* Parse digits with an optional suffix; false when text is anything else or out of range. */
bool cli_parse_int(const char *text, int64_t lo, int64_t hi, int64_t *out);
/* The one of choices[n] that text is most like, or -1 when none is near. */
int cli_nearest(const char *text, const char *const *choices, int n);

/* Sort x[n], rising. */
void cli_sort(double *x, int64_t n);
/* The p-quantile, p in (0, 1], of sorted[n] by nearest rank; NaN when n is 0. */
double cli_quantile(const double *sorted, int64_t n, double p);
/* The middle of sorted[n], or the mean of the two that are; NaN when n is 0. */
double cli_median(const double *sorted, int64_t n);

/* x >= 0 with so many significant digits, or a dash when it is no such number, for a table. */
enum { CLI_CELL = 32 };
void cli_cell(char text[CLI_CELL], double x, int digits);

/* ---- messages ------------------------------------------------------------------------------- */

/* "kvass: ..." on stderr. */
void cli_say(const char *fmt, ...) KVASS_PRINTF(1, 2);
/* Say what *err says; returns the exit code for it. */
int cli_fail(const kvass_error *err);

/* ---- model, tokenizer, memory --------------------------------------------------------------- */

/* The model to use: opts->model, KVASS_MODEL, or the bundled weights; NULL after saying why not.
 * The string lives as long as the program. */
const char *cli_find_model(const cli_options *opts);

/* Whether it is a GGUF file, which has its tokenizer inside. */
bool cli_is_gguf(const kvass_model_info *info);

/* Open it (weights and all, unless header_only). Says what went wrong; returns an exit code. */
int cli_open_model(cli_options *opts, bool header_only, kvass_model **model);

/* Open the tokenizer that --tokenizer names or that lies beside the model. model may be NULL when
 * opts->tokenizer is set. Returns an exit code. */
int cli_open_tokenizer(const cli_options *opts, const kvass_model *model, kvass_tokenizer **tok);
/* The same, but without a word when there is none: *tok is NULL then. */
void cli_try_tokenizer(const cli_options *opts, const kvass_model *model, kvass_tokenizer **tok);

/* Size in bytes of the tokenizer.json or vocab.json beside a model, 0 if there is none; its path is
 * written to path[n]. */
size_t cli_tokenizer_bytes(const kvass_model *model, char *path, size_t n);

/* Whether weights, buffers and cache of n contexts fit the memory there is; says what does not, in
 * a table. Returns an exit code. */
int cli_check_memory(const cli_options *opts, const kvass_model *model,
                     const kvass_context_options *const *contexts, int n);
/* Most memory this process has had resident, in bytes. */
size_t cli_peak_bytes(void);

/* ---- what measurements are made on ---------------------------------------------------------- */

/* The processor's name into name[n]; "unknown" where the system does not say. */
void cli_cpu_name(char *name, size_t n);
/* Over the last minute; negative: unknown. */
double cli_load_average(void);
/* The type of most of the weights. */
const char *cli_main_dtype(const kvass_model *model);

/* ---- text in and out ------------------------------------------------------------------------ */

typedef struct cli_bytes {
    char *data; /* data[n]; NUL-terminated as well; free() it */
    size_t n, cap;
} cli_bytes;

bool cli_bytes_add(cli_bytes *bytes, const char *data, size_t n); /* false: out of memory */
void cli_bytes_free(cli_bytes *bytes);

/* Append a file ("-": standard input), as it is. Returns an exit code after saying what is
 * wrong. */
int cli_read_file(cli_bytes *bytes, const char *path);
/* Whether standard input is a pipe, a socket or a regular file: something to read to its end. */
bool cli_stdin_is_piped(void);

/* What there is to read: standard input when piped or -f -, then the file, then the text.
 * *given tells whether there was any source at all. Returns an exit code. */
int cli_read_prompt(const cli_prompt *prompt, cli_bytes *bytes, bool *given);

/* The length of the UTF-8 character at p[n], n >= 1, or 0 when it is not one; *code is set. */
size_t cli_utf8(const char *p, size_t n, uint32_t *code);
/* How many places of text[n] are not UTF-8. */
size_t cli_utf8_errors(const char *text, size_t n);

/* Write text[n] to stdout. On a terminal control characters other than newline and tab, and what is
 * not UTF-8, are shown as U+FFFD, unless raw. */
void cli_put_text(const char *text, size_t n, bool raw);
/* Flush stdout and check every write so far; CLI_OK, or CLI_RUNTIME after saying why. */
int cli_finish_output(void);

/* A JSON string of text[n], U+FFFD where it is not UTF-8. */
json_t *cli_json_text(const char *text, size_t n);
/* x rounded to `digits` decimals, for times and rates; null when it is not finite. */
json_t *cli_json_real(double x, int digits);
/* What the context's cache is and holds. */
json_t *cli_json_cache(const kvass_context *ctx);
/* ids[n] */
json_t *cli_json_ids(const int32_t *ids, size_t n);
/* The text of each of ids[n], null for those that have none or when tok is NULL. */
json_t *cli_json_pieces(const kvass_tokenizer *tok, const int32_t *ids, size_t n);
/* 16 hexadecimal digits */
json_t *cli_json_fingerprint(uint64_t fingerprint);
/* Print the document on one line and drop it. Returns an exit code. */
int cli_print_json(json_t *document);

/* ---- ids ------------------------------------------------------------------------------------ */

typedef struct cli_ids {
    int32_t *data; /* data[n]; free() it */
    size_t n;
} cli_ids;

/* "1,2,3" or the same with white space. Returns an exit code after saying what is wrong. */
int cli_parse_ids(const char *text, size_t n_bytes, cli_ids *ids);
/* Encode text[n]; ids->data has room for one id more. Returns an exit code after saying what is
 * wrong. */
int cli_encode(const kvass_tokenizer *tok, const char *text, size_t n,
               const kvass_encode_options *opt, cli_ids *ids);
/* The ids of --tokens (NULL: not given), else those of the prompt as generate takes it. Returns an
 * exit code after saying what is wrong. */
int cli_prompt_ids(const cli_options *opts, const char *tokens, const kvass_model *model,
                   cli_ids *ids);
/* Whether every id is below n_vocab; says which is not. Returns an exit code. */
int cli_check_ids(const cli_ids *ids, int32_t n_vocab);

/* ---- time and signals ----------------------------------------------------------------------- */

double cli_now(void); /* seconds, monotonic */

/* From here on Ctrl-C only sets a flag (twice: the usual end); contexts poll it. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);
bool cli_cancel(void *unused); /* for kvass_context_set_cancel */
/* After output is finished: end as an interrupted program ends, if it was; else returns code. */
int cli_leave(int code);

/* Say "model file changed" and leave with CLI_BAD_MODEL instead of dying of SIGBUS. */
void cli_catch_bus_error(void);

#endif
