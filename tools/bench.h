/* bench.h - the parts of `kvass bench`: what to measure, measuring, printing.
 */
#ifndef KVASS_TOOLS_BENCH_H
#define KVASS_TOOLS_BENCH_H

#include "tools/cli.h"

#define BENCH_MAX_DEPTHS 64
#define BENCH_MAX_REPS   1000
#define BENCH_MAX_SEQS   256 /* decoded together */
#define BENCH_MAX_COUNTS 16  /* different numbers of them */

typedef enum bench_mode { BENCH_PREFILL, BENCH_CACHED, BENCH_UNCACHED, BENCH_N_MODES } bench_mode;

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON, BENCH_JSONL } bench_format;

typedef struct bench_args {
    cli_options opts; /* first: see cli_share_state */
    int32_t depths[BENCH_MAX_DEPTHS];
    int n_depths; /* 0: chosen to fit the model */
    bool modes[BENCH_N_MODES];
    int32_t n_gen; /* tokens decoded with the cache in each repetition, by each sequence */
    int32_t counts[BENCH_MAX_COUNTS]; /* numbers of sequences that cached decoding is tried with */
    int n_counts;
    int reps, warmup;
    bench_format format;
} bench_args;

/* One mode at one depth. Prefill: n_gen is 0 and a token is one of the n_ctx_before tokens it
 * takes. */
typedef struct bench_row {
    bench_mode mode;
    int32_t n_ctx_before, n_gen;
    int32_t n_seqs;               /* decoded together; tok_s counts the tokens of all */
    double tok_s[BENCH_MAX_REPS]; /* tok_s[n_reps] */
    int n_reps;
    double mean, sd, median, p5, p95, ms_per_token; /* ms_per_token: at the median */
    size_t kv_bytes;                                /* in use at the end of a repetition */
} bench_row;

typedef struct bench_result {
    const bench_args *args;
    const kvass_model *model;
    kvass_model_info info;
    const char *dtype; /* of most of the weights */
    char cpu[128];
    const char *isa;
    int32_t n_threads;
    double load_average; /* at the start; negative: unknown */
    bench_row *rows;     /* rows[n_rows]: by depth, then by mode */
    int n_rows;
} bench_result;

const char *bench_mode_name(bench_mode mode);

/* Measure all rows: modes take turns within each repetition. Returns an exit code. */
int bench_measure(const bench_args *args, const kvass_model *model, bench_result *result);

/* Print in the format asked for. Returns an exit code. */
int bench_print(const bench_result *result);

/* The same context with nothing kept. */
void bench_uncached_options(kvass_context_options *opt);

#endif
