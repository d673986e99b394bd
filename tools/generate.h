/* generate.h - one run of `kvass generate`: what was asked for, and what it needs.
 * generate.c fills it, generate_run.c runs it.
 */
#ifndef KVASS_TOOLS_GENERATE_H
#define KVASS_TOOLS_GENERATE_H

#include "tools/cli.h"
#include "tools/stop.h"

typedef struct generate_args {
    cli_options opts; /* first: see cli_share_state */
    int64_t n_max;    /* new tokens; -1: until the text or the context ends */
    cli_stop stop;
    bool echo, json, stats, raw, special, strict;
} generate_args;

typedef struct generate_times { /* seconds */
    double load, prompt, first_token, decode;
} generate_times;

typedef struct generate_run {
    generate_args *args;
    cli_bytes prompt;
    cli_ids ids; /* the prompt's */
    kvass_model_info info;
    kvass_model *model;
    kvass_tokenizer *tok;
    kvass_context *ctx;
    kvass_seq *seq;
    kvass_sampler *sampler;
    kvass_stream *stream;
    cli_ids out;    /* what was generated, without the token that ended it; room for n_ctx + 1 */
    cli_bytes text; /* the same as text, for --json */
    const char *finish_reason;
    generate_times times;
} generate_run;

/* Prefill, decode, print, report. Returns an exit code. */
int generate_all(generate_run *run);

#endif
