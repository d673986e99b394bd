/* generate.h - one run of `kvass generate`: what was asked for, and what it needs.
 * generate.c fills it, generate_prompt.c encodes what is to be continued, generate_saved.c restores
 * and saves the prompt, generate_run.c runs the network, generate_tokens.c keeps what each token
 * took, generate_print.c reports.
 */
#ifndef KVASS_TOOLS_GENERATE_H
#define KVASS_TOOLS_GENERATE_H

#include "tools/cli.h"
#include "tools/stop.h"

#define GENERATE_MAX_SAMPLES 256

typedef struct generate_args {
    cli_options opts;         /* first: see cli_share_state */
    int64_t n_max;            /* new tokens; -1: until the text or the context ends */
    cli_stop stop;            /* the texts to stop at; each sample has its own state */
    int n_samples;            /* continuations of one prompt */
    const char *system;       /* text before the prompt, pinned; NULL: none */
    const char *prompts;      /* file with a prompt on each line; NULL: none */
    const char *prompt_cache; /* file that holds the prompt's rows; NULL: none */
    bool prompt_cache_all;    /* and those of what was generated */
    bool echo, json, stats, raw, special, strict;
    bool token_stats; /* json, with what each token took */
} generate_args;

typedef struct generate_times { /* seconds */
    double load, prompt, first_token, decode;
} generate_times;

/* One continuation. */
typedef struct generate_sample {
    kvass_seq *seq;
    kvass_sampler *sampler;
    kvass_stream *stream;
    cli_stop stop;
    cli_ids out;    /* what was generated, without the token that ended it; room for n_ctx + 1 */
    cli_bytes text; /* the same as text: for --json, or until its turn to be printed comes */
    /* of each of out, with --token-stats: milliseconds, natural logarithm of its probability */
    double *token_ms, *token_logprob;
    uint64_t seed;
    const char *finish_reason; /* NULL while it runs */
} generate_sample;

typedef struct generate_prompt {
    cli_bytes text;
    cli_ids ids; /* without the pinned ones */
} generate_prompt;

typedef struct generate_run {
    generate_args *args;
    cli_ids pinned;           /* of --system */
    generate_prompt *prompts; /* prompts[n_prompts] */
    size_t n_prompts;
    kvass_model_info info;
    kvass_model *model;
    kvass_tokenizer *tok;
    kvass_context *ctx;
    generate_sample *samples; /* samples[args->n_samples] */

    /* the prompt being continued */
    const generate_prompt *prompt;
    int32_t n_restored;   /* tokens out of --prompt-cache; -1: no such file yet */
    bool is_saved;        /* the file holds this very prompt and nothing more */
    int32_t n_reused;     /* tokens of earlier prompts */
    int current;          /* sample that is printed as it comes */
    bool terminal;        /* stdout is one */
    bool mid_line;        /* the last byte written was no newline */
    double flushed;       /* when */
    double step_seconds;  /* of the batch that the next tokens come out of; first the prompt's */
    double aside_seconds; /* spent on --token-stats, in no other time */
    generate_times times;
} generate_run;

/* Read the prompt, or all of --prompts. Returns an exit code, as all of these do. */
int generate_read(generate_run *run);
/* Encode and measure them; sets the context's options. */
int generate_prepare(generate_run *run);

/* What --prompt-cache holds of the prompt becomes the sequence's; *n_have is how many of its
 * tokens, pinned ones included. */
int generate_restore(generate_run *run, int32_t *n_have);
int generate_save(const generate_run *run);

/* Prefill, decode, print, report, for every prompt. */
int generate_all(generate_run *run);

/* --token-stats: room; one more token, about to be the last of s->out; members of the sample's
 * document, NULL when memory is out. Without the option the first two do nothing. */
int generate_tokens_open(generate_run *run, generate_sample *s);
void generate_tokens_close(generate_sample *s);
void generate_tokens_add(generate_run *run, generate_sample *s, int32_t id, double seconds);
json_t *generate_tokens_document(const generate_run *run, const generate_sample *s);

void generate_print_summary(const generate_run *run);
int generate_print_document(const generate_run *run);

#endif
