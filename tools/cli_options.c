/* cli_options.c - the flags that several subcommands share, as argp children.
 * A flag's meaning and its checks are written once, here. Range checks of what the library also
 * checks are left to the library: its message names the parameter.
 */
#include "tools/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_TOKENIZER = CLI_KEY_SHARED,
    KEY_PATTERN,
    KEY_MMAP,
    KEY_CACHE,
    KEY_KV_TYPE,
    KEY_KV_BUDGET,
    KEY_KV_SHARE,
    KEY_WINDOW,
    KEY_SINKS,
    KEY_TOPK_PAGES,
    KEY_DENSE_LAYERS,
    KEY_RECENT,
    KEY_KV_OFFLOAD,
    KEY_POSITIONS,
    KEY_BATCH,
    KEY_DETERMINISTIC,
    KEY_ISA,
    KEY_TEMP,
    KEY_TOP_K,
    KEY_TOP_P,
    KEY_MIN_P,
    KEY_REPEAT_PENALTY,
    KEY_REPEAT_LAST,
    KEY_SEED
};

#define MAX_THREADS 1024

bool cli_options_init(cli_options *opts, const cli_command *command)
{
    *opts = (cli_options){.command = command,
                          .context = kvass_context_options_default(),
                          .sampler = kvass_sampler_options_default()};
    const char *threads = getenv("KVASS_THREADS");
    if (threads && threads[0] != '\0') {
        int64_t n;
        if (!cli_parse_int(threads, 1, MAX_THREADS, &n)) {
            cli_say("KVASS_THREADS: expected a number from 1 to %d, found '%s'", MAX_THREADS,
                    threads);
            return false;
        }
        opts->context.n_threads = (int32_t)n;
    }
    return true;
}

void cli_share_state(struct argp_state *state, const struct argp_child *children)
{
    for (int i = 0; children[i].argp; i++) {
        state->child_inputs[i] = state->input;
    }
}

/* ---- model ---------------------------------------------------------------------------------- */

static error_t parse_model(int key, char *arg, struct argp_state *state)
{
    cli_options *opts = state->input;
    switch (key) {
    case 'm':
        opts->model = arg;
        return 0;
    case KEY_TOKENIZER:
        opts->tokenizer = arg;
        return 0;
    case KEY_PATTERN:
        opts->pattern = arg;
        return 0;
    case KEY_MMAP:
        opts->use_mmap = true;
        return 0;
    case 'q':
        opts->quiet = true;
        return 0;
    case 'v':
        opts->verbose = true;
        return 0;
    case 'h':
        (void)fputs(opts->command->help, stdout);
        exit(cli_finish_output());
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option model_options[] = {
    {"model", 'm', "MODEL", 0, "checkpoint: a folder, .safetensors, .index.json, .gguf or .bin", 0},
    {"tokenizer", KEY_TOKENIZER, "PATH", 0, "tokenizer, when it is not beside the model", 0},
    {"pattern", KEY_PATTERN, "NAME", 0, "how tiktoken's ranks cut text: gpt2, cl100k, ...", 0},
    {"mmap", KEY_MMAP, NULL, 0, "map the weights instead of reading them", 0},
    {"quiet", 'q', NULL, 0, "say nothing but errors", 0},
    {"verbose", 'v', NULL, 0, "say what is being done", 0},
    {"help", 'h', NULL, 0, "this help", 0},
    {0},
};
const struct argp cli_model_argp = {.options = model_options, .parser = parse_model};

/* ---- context and cache ---------------------------------------------------------------------- */

/* flags that stand and fall together; "--window N" alone means "--cache window" */
static void check_cache(const cli_options *opts, struct argp_state *state)
{
    const kvass_context_options *ctx = &opts->context;
    bool sized = ctx->window > 0 || opts->window_is_sqrt;
    if (ctx->retain == KVASS_RETAIN_WINDOW && !sized) {
        argp_error(state, "--cache window needs --window N, or --window sqrt");
    }
    if (ctx->retain != KVASS_RETAIN_WINDOW &&
        (sized || ctx->n_sinks > 0 || ctx->positions != KVASS_POSITIONS_ORIGINAL)) {
        argp_error(state, "--window, --sinks and --positions cache need --cache window");
    }
    bool topk = ctx->select == KVASS_SELECT_TOPK;
    if (!topk && (ctx->n_dense_layers > 0 || (ctx->n_recent > 0 && !ctx->offload_path))) {
        argp_error(state, "--dense-layers and --recent need --topk-pages N, or --cache topk");
    }
}

/* index into full, none, window, topk; the last is full, of which a token reads some pages */
static void choose_cache(cli_options *opts, int choice)
{
    kvass_context_options *ctx = &opts->context;
    ctx->retain = choice < 3 ? (kvass_retain)choice : KVASS_RETAIN_FULL;
    ctx->select = choice < 3 ? ctx->select : KVASS_SELECT_TOPK;
    opts->cache_given = true;
}

static error_t parse_context(int key, char *arg, struct argp_state *state)
{
    static const char *const retains[] = {"full", "none", "window", "topk"};
    static const char *const positions[] = {"original", "cache"};
    static const char *const shares[] = {"model", "pairs"};
    static const char *const stores[] = {"f32", "f16", "q8", "q4"};
    static const char *const isas[] = {"scalar", "avx2", "avx512", "auto"};
    static const uint32_t isa_masks[] = {KVASS_ISA_SCALAR, KVASS_ISA_AVX2,
                                         KVASS_ISA_AVX2 | KVASS_ISA_AVX512, ~(uint32_t)0};
    cli_options *opts = state->input;
    kvass_context_options *ctx = &opts->context;
    switch (key) {
    case 'c':
        ctx->n_ctx = (int32_t)cli_int(state, "-c", arg, 1, INT32_MAX);
        return 0;
    case 't':
        ctx->n_threads = (int32_t)cli_int(state, "-t", arg, 1, MAX_THREADS);
        return 0;
    case KEY_CACHE:
        choose_cache(opts, cli_choice(state, "--cache", arg, retains, 4));
        return 0;
    case KEY_KV_TYPE:
        ctx->store = (kvass_store)cli_choice(state, "--kv-type", arg, stores, 4);
        return 0;
    case KEY_KV_BUDGET:
        ctx->kv_budget = (size_t)cli_int(state, "--kv-budget", arg, 1, INT64_MAX);
        return 0;
    case KEY_KV_SHARE:
        ctx->share = (kvass_share)cli_choice(state, "--kv-share", arg, shares, 2);
        return 0;
    case KEY_WINDOW:
        opts->window_is_sqrt = strcmp(arg, "sqrt") == 0;
        if (!opts->window_is_sqrt) {
            ctx->window = (int32_t)cli_int(state, "--window", arg, 1, INT32_MAX);
        }
        if (!opts->cache_given) {
            ctx->retain = KVASS_RETAIN_WINDOW;
        }
        return 0;
    case KEY_SINKS:
        ctx->n_sinks = (int32_t)cli_int(state, "--sinks", arg, 0, INT32_MAX);
        return 0;
    case KEY_TOPK_PAGES:
        ctx->n_topk = (int32_t)cli_int(state, "--topk-pages", arg, 1, INT32_MAX);
        ctx->select = KVASS_SELECT_TOPK;
        return 0;
    case KEY_DENSE_LAYERS:
        ctx->n_dense_layers = (int32_t)cli_int(state, "--dense-layers", arg, 0, INT32_MAX);
        return 0;
    case KEY_RECENT:
        ctx->n_recent = (int32_t)cli_int(state, "--recent", arg, 0, INT32_MAX);
        return 0;
    case KEY_KV_OFFLOAD:
        ctx->offload_path = arg;
        (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write() then */
        return 0;
    case KEY_POSITIONS:
        ctx->positions = (kvass_positions)cli_choice(state, "--positions", arg, positions, 2);
        return 0;
    case ARGP_KEY_END:
        check_cache(opts, state);
        return 0;
    case KEY_BATCH:
        ctx->n_batch = (int32_t)cli_int(state, "--batch", arg, 1, 1 << 20);
        return 0;
    case KEY_DETERMINISTIC:
        ctx->deterministic = true;
        return 0;
    case KEY_ISA:
        ctx->isa = isa_masks[cli_choice(state, "--isa", arg, isas, 4)];
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define SPEED_OPTIONS                                                                              \
    {"threads", 't', "N", 0, "threads (default: the CPUs there are)", 1},                          \
        {"batch", KEY_BATCH, "N", 0, "tokens per prefill chunk", 1},                               \
        {"isa", KEY_ISA, "NAME", 0, "kernels: auto, avx512, avx2 or scalar", 1},                   \
        {"deterministic", KEY_DETERMINISTIC, NULL, 0, "the same bits on every path", 2},           \
    {                                                                                              \
        "kv-type", KEY_KV_TYPE, "TYPE", 0, "how keys and values are stored: f16, f32, q8 or q4", 2 \
    }

static const struct argp_option context_options[] = {
    {"ctx", 'c', "N", 0, "context length (default: as trained)", 1},
    SPEED_OPTIONS,
    {"cache", KEY_CACHE, "POLICY", 0,
     "what is retained: full, window or none; topk: full, read by page", 2},
    {"kv-budget", KEY_KV_BUDGET, "BYTES", 0, "most bytes the cache may reserve", 2},
    {"window", KEY_WINDOW, "N", 0, "the newest N tokens; sqrt: 4 times the root of the context", 2},
    {"sinks", KEY_SINKS, "N", 0, "the first N tokens stay, too", 2},
    {"topk-pages", KEY_TOPK_PAGES, "N", 0, "a token reads the N likeliest pages of 32", 2},
    {"dense-layers", KEY_DENSE_LAYERS, "N", 0, "but everything in the first N layers", 2},
    {"recent", KEY_RECENT, "N", 0, "and always the newest N tokens", 2},
    {"kv-offload", KEY_KV_OFFLOAD, "FILE", 0, "where pages go that the budget has no room for", 2},
    {"positions", KEY_POSITIONS, "HOW", 0, "of sinks behind a window: original or cache", 2},
    {"kv-share", KEY_KV_SHARE, "HOW", 0, "layers that share keys and values: model or pairs", 2},
    {0},
};
const struct argp cli_context_argp = {.options = context_options, .parser = parse_context};

static const struct argp_option speed_options[] = {SPEED_OPTIONS, {0}};
const struct argp cli_speed_argp = {.options = speed_options, .parser = parse_context};

/* ---- sampling ------------------------------------------------------------------------------- */

enum { GIVEN_TEMP = 1, GIVEN_TOP_K = 2, GIVEN_TOP_P = 4, GIVEN_MIN_P = 8, GIVEN_PENALTY = 16 };

void cli_take_sampling(cli_options *opts, const kvass_model *model)
{
    kvass_sampler_options given = opts->sampler;
    if (opts->sampling_given & GIVEN_TEMP && given.temperature == 0.0f) {
        return; /* asked for the likeliest tokens, which no penalty should change unasked */
    }
    kvass_model_get_sampling(model, &opts->sampler);
    if (opts->sampling_given & GIVEN_TEMP) {
        opts->sampler.temperature = given.temperature;
    }
    if (opts->sampling_given & GIVEN_TOP_K) {
        opts->sampler.top_k = given.top_k;
    }
    if (opts->sampling_given & GIVEN_TOP_P) {
        opts->sampler.top_p = given.top_p;
    }
    if (opts->sampling_given & GIVEN_MIN_P) {
        opts->sampler.min_p = given.min_p;
    }
    if (opts->sampling_given & GIVEN_PENALTY) {
        opts->sampler.repeat_penalty = given.repeat_penalty;
    }
}

static error_t parse_sampling(int key, char *arg, struct argp_state *state)
{
    cli_options *opts = state->input;
    kvass_sampler_options *sampler = &opts->sampler;
    switch (key) {
    case KEY_TEMP:
        sampler->temperature = (float)cli_real(state, "--temp", arg);
        opts->sampling_given |= GIVEN_TEMP;
        return 0;
    case KEY_TOP_K:
        sampler->top_k = (int32_t)cli_int(state, "--top-k", arg, 0, INT32_MAX);
        opts->sampling_given |= GIVEN_TOP_K;
        return 0;
    case KEY_TOP_P:
        sampler->top_p = (float)cli_real(state, "--top-p", arg);
        opts->sampling_given |= GIVEN_TOP_P;
        return 0;
    case KEY_MIN_P:
        sampler->min_p = (float)cli_real(state, "--min-p", arg);
        opts->sampling_given |= GIVEN_MIN_P;
        return 0;
    case KEY_REPEAT_PENALTY:
        sampler->repeat_penalty = (float)cli_real(state, "--repeat-penalty", arg);
        opts->sampling_given |= GIVEN_PENALTY;
        return 0;
    case KEY_REPEAT_LAST:
        sampler->repeat_last = (int32_t)cli_int(state, "--repeat-last", arg, 0, INT32_MAX);
        return 0;
    case KEY_SEED:
        sampler->seed = (uint64_t)cli_int(state, "--seed", arg, 0, INT64_MAX);
        opts->seed_given = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option sampling_options[] = {
    {"temp", KEY_TEMP, "X", 0, "temperature; 0 takes the likeliest token", 3},
    {"top-k", KEY_TOP_K, "N", 0, "only the N likeliest; 0 is off", 3},
    {"top-p", KEY_TOP_P, "X", 0, "only the likeliest that together have probability X", 3},
    {"min-p", KEY_MIN_P, "X", 0, "only those at least X times as likely as the likeliest", 3},
    {"repeat-penalty", KEY_REPEAT_PENALTY, "X", 0, "make recent tokens less likely; 1 is off", 3},
    {"repeat-last", KEY_REPEAT_LAST, "N", 0, "how many recent tokens that looks at", 3},
    {"seed", KEY_SEED, "N", 0, "seed of the generator (default: a new one)", 3},
    {0},
};
const struct argp cli_sampling_argp = {.options = sampling_options, .parser = parse_sampling};
