/* eval.c - `kvass eval`: the quality of a checkpoint on a text, and what the chosen cache costs of
 * it.
 */
#include "tools/eval.h"
#include "tools/help.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SPLIT = CLI_KEY_OWN, KEY_TAIL, KEY_PATH, KEY_JSON };

#define STORIES_TAIL 94000 /* the held-out end of a file of stories */

typedef struct eval_args {
    cli_options opts; /* first: see cli_share_state */
    cli_prompt source;
    eval_split split;
    bool tail_given, decode, json;
} eval_args;

static const struct argp_child children[] = {
    {&cli_model_argp, 0, NULL, 0}, {&cli_context_argp, 0, NULL, 0}, {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    static const char *const splits[] = {"none", "stories"};
    static const char *const paths[] = {"prefill", "decode"};
    eval_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'f':
        args->source.file = arg;
        return 0;
    case KEY_SPLIT:
        args->split.stories = cli_choice(state, "--split", arg, splits, 2) == 1;
        return 0;
    case KEY_TAIL:
        args->split.tail_bytes = (size_t)cli_int(state, "--tail-bytes", arg, 0, INT64_MAX);
        args->tail_given = true;
        return 0;
    case KEY_PATH:
        args->decode = cli_choice(state, "--path", arg, paths, 2) == 1;
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    case ARGP_KEY_END:
        if (args->split.stories && !args->tail_given) {
            args->split.tail_bytes = STORIES_TAIL;
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "the text; - is standard input", 0},
    {"split", KEY_SPLIT, "HOW", 0, "none, or stories", 0},
    {"tail-bytes", KEY_TAIL, "N", 0, "only the last N bytes; 0 is all", 0},
    {"path", KEY_PATH, "PATH", 0, "prefill or decode", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document", 0},
    {0},
};
typedef struct figures {
    double bits_per_byte, ppl, ppl_ratio, same_top, tok_s;
} figures;

static figures figures_of(const eval_scores *scores)
{
    double n = (double)scores->n_scored;
    return (figures){.bits_per_byte = scores->nats / log(2) / (double)scores->n_bytes,
                     .ppl = exp(scores->nats / n),
                     .ppl_ratio = exp((scores->nats - scores->reference_nats) / n),
                     .same_top = (double)scores->n_same_top / n,
                     .tok_s = (double)scores->n_fed / scores->seconds};
}

static void print_text(const eval_args *args, const eval_scores *scores)
{
    figures f = figures_of(scores);
    (void)printf("text        %lld tokens scored, %lld bytes\n", (long long)scores->n_scored,
                 (long long)scores->n_bytes);
    (void)printf("cache       %s, %s, %zu bytes per token, at most %zu bytes used\n",
                 scores->context.retain, scores->context.store, scores->usage.bytes_per_token,
                 scores->usage.bytes_used);
    (void)printf("perplexity  %.4f per token, %.6f times that of the full f32 cache\n", f.ppl,
                 f.ppl_ratio);
    (void)printf("bits        %.4f per byte\n", f.bits_per_byte);
    (void)printf("kl          mean %.3g, p99 %.3g, max %.3g from the full f32 cache\n",
                 scores->kld_mean, scores->kld_p99, scores->kld_max);
    (void)printf("same top    %.4f %%\n", f.same_top * 100);
    (void)printf("speed       %.0f tokens/s by %s, %d threads\n", f.tok_s,
                 args->decode ? "decode" : "prefill", (int)scores->context.n_threads);
}

/* x, or null where this run measured none */
static json_t *measured(bool is, double x, int digits)
{
    return is ? cli_json_real(x, digits) : json_null();
}

static int print_document(const eval_args *args, const eval_scores *scores,
                          const kvass_model_info *info)
{
    figures f = figures_of(scores);
    const kvass_cache_usage *usage = &scores->usage;
    size_t budget = args->opts.context.kv_budget;
    char fingerprint[17];
    (void)snprintf(fingerprint, sizeof fingerprint, "%016llx",
                   (unsigned long long)info->fingerprint);
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i}", "policy",
        scores->context.retain, "k_type", scores->context.store, "v_type", scores->context.store,
        "path", args->decode ? "decode" : "prefill", "n_ctx", (int)scores->context.n_ctx, "budget",
        budget > 0 ? json_integer((json_int_t)budget) : json_null(), "tokens_seen",
        (json_int_t)scores->n_fed, "tokens_scored", (json_int_t)scores->n_scored, "bytes_reserved",
        (json_int_t)usage->bytes_reserved, "bytes_used", (json_int_t)usage->bytes_used,
        "bytes_touched", (json_int_t)usage->bytes_touched, "bytes_per_token",
        (json_int_t)usage->bytes_per_token, "index_bytes", 0, "cold_bytes", 0);
    json_t *quality =
        json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:n}", "bits_per_byte",
                  cli_json_real(f.bits_per_byte, 6), "bytes_scored", (json_int_t)scores->n_bytes,
                  "ppl", cli_json_real(f.ppl, 6), "ppl_ratio", cli_json_real(f.ppl_ratio, 9),
                  "kld_mean", cli_json_real(scores->kld_mean, 15), "kld_p99",
                  cli_json_real(scores->kld_p99, 15), "kld_max", cli_json_real(scores->kld_max, 15),
                  "same_top", cli_json_real(f.same_top, 6), "needle_kept");
    json_t *run = json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:I, s:n, s:i, s:n, s:s}", "prefill_tok_s",
        measured(!args->decode, f.tok_s, 1), "decode_tok_s", measured(args->decode, f.tok_s, 1),
        "decode_p50_ms", measured(args->decode, scores->p50_ms, 4), "decode_p99_ms",
        measured(args->decode, scores->p99_ms, 4), "recomputed_tokens",
        (json_int_t)usage->recomputed_tokens, "evicted_tokens", (json_int_t)usage->evicted_tokens,
        "pages_touched", "threads", (int)scores->context.n_threads, "seed", "model_fingerprint",
        fingerprint);
    if (root && quality && run) {
        (void)json_object_update(root, quality);
        (void)json_object_update(root, run);
    }
    json_decref(quality);
    json_decref(run);
    return cli_print_json(root);
}

/* The windows' size and how many logits are held at once, from the model's header. */
static void choose_sizes(eval_args *args, const kvass_model_info *info)
{
    kvass_context_options *opt = &args->opts.context;
    if (opt->n_ctx == 0) {
        opt->n_ctx = info->n_ctx;
    }
    opt->n_batch = opt->n_batch < opt->n_ctx ? opt->n_batch : opt->n_ctx;
    opt->n_logits = eval_chunk(info->n_vocab, opt->n_batch);
}

static int prepare(eval_args *args, eval_text *text, kvass_model **model)
{
    kvass_tokenizer *tok = NULL;
    kvass_model_info info;
    int code = cli_open_model(&args->opts, true, model);
    if (code != CLI_OK) {
        return code;
    }
    kvass_model_get_info(*model, &info);
    choose_sizes(args, &info);
    code = cli_open_tokenizer(&args->opts, *model, &tok);
    if (code == CLI_OK) {
        kvass_tokenizer_info tok_info;
        kvass_tokenizer_get_info(tok, &tok_info);
        code = eval_text_open(text, &args->source, &args->split, tok,
                              info.bos >= 0 ? info.bos : tok_info.bos, args->opts.context.n_ctx);
    }
    if (code == CLI_OK) {
        cli_ids ids = {text->ids, text->n_ids};
        code = cli_check_ids(&ids, info.n_vocab) == CLI_OK ? CLI_OK : CLI_BAD_MODEL;
    }
    kvass_tokenizer_close(&tok);
    kvass_context_options reference = eval_reference_options(&args->opts.context);
    const kvass_context_options *contexts[] = {&args->opts.context, &reference};
    if (code == CLI_OK) {
        code = cli_check_memory(&args->opts, *model, contexts, 2);
    }
    if (code == CLI_OK) {
        kvass_model_close(model);
        code = cli_open_model(&args->opts, false, model);
    }
    return code;
}

static int run_eval(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    eval_args args = {0};
    if (!cli_options_init(&args.opts, &cli_eval)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    eval_text text = {0};
    eval_scores scores;
    kvass_model *model = NULL;
    int code = prepare(&args, &text, &model);
    if (code == CLI_OK) {
        cli_catch_interrupt();
        code = eval_score(model, &args.opts.context, &text, args.decode, &scores);
    }
    if (code == CLI_OK && !isfinite(scores.nats)) {
        cli_say("the network produced NaN or infinite logits (NAN_LOGITS)");
        code = CLI_RUNTIME;
    }
    if (code == CLI_OK && args.json) {
        kvass_model_info info;
        kvass_model_get_info(model, &info);
        code = print_document(&args, &scores, &info);
    } else if (code == CLI_OK) {
        print_text(&args, &scores);
        code = cli_finish_output();
    }
    eval_text_close(&text);
    kvass_model_close(&model);
    return code;
}

const cli_command cli_eval = {.name = "eval",
                              .summary =
                                  "measure quality on a text, and what the cache costs of it",
                              .help = help_eval,
                              .details = details_eval,
                              .run = run_eval};
