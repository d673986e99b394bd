/* convert.c - `kvass convert`: any checkpoint that can be read, into a GGUF file or a folder with
 * safetensors. The library writes; here is what the command line says, the tokenizer that goes into
 * a GGUF file, and the comparison of it with the one it was made from.
 */
#include "tools/cli.h"
#include "tools/help.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_TYPE = CLI_KEY_OWN, KEY_TO, KEY_FORCE, KEY_NO_TOKENIZER };

#define MIB (1024.0 * 1024.0)

typedef struct convert_args {
    cli_options opts; /* first: see cli_share_state */
    const char *out;
    kvass_convert_options convert;
    bool to_given, no_tokenizer;
} convert_args;

static const char *const type_names[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"};
static const kvass_dtype types[] = {KVASS_DTYPE_F32,  KVASS_DTYPE_F16,  KVASS_DTYPE_BF16,
                                    KVASS_DTYPE_Q8_0, KVASS_DTYPE_Q4_0, KVASS_DTYPE_Q4_1};
enum { N_TYPES = sizeof types / sizeof types[0] };

static const char *const containers[] = {"gguf", "safetensors"};

static const struct argp_child children[] = {{&cli_model_argp, 0, NULL, 0}, {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    convert_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case ARGP_KEY_ARG:
        if (args->out) {
            argp_error(state, "more than one input and one output: '%s'", arg);
        }
        if (!args->opts.model) {
            args->opts.model = arg;
        } else {
            args->out = arg;
        }
        return 0;
    case ARGP_KEY_END:
        if (!args->out) {
            argp_error(state, "expected a model and where to write it");
        }
        return 0;
    case KEY_TYPE:
        args->convert.type = types[cli_choice(state, "--type", arg, type_names, N_TYPES)];
        return 0;
    case KEY_TO:
        args->convert.container = cli_choice(state, "--to", arg, containers, 2) == 0
                                      ? KVASS_CONTAINER_GGUF
                                      : KVASS_CONTAINER_SAFETENSORS;
        args->to_given = true;
        return 0;
    case KEY_FORCE:
        args->convert.replace = true;
        return 0;
    case KEY_NO_TOKENIZER:
        args->no_tokenizer = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"type", KEY_TYPE, "TYPE", 0, "f32, f16, bf16, q8_0, q4_0 or q4_1", 0},
    {"to", KEY_TO, "KIND", 0, "gguf or safetensors", 0},
    {"force", KEY_FORCE, NULL, 0, "replace what is there", 0},
    {"no-tokenizer", KEY_NO_TOKENIZER, NULL, 0, "none into a GGUF file, none out of one", 0},
    {0},
};

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), n_tail = strlen(tail);
    return n >= n_tail && strcmp(text + n - n_tail, tail) == 0;
}

/* ---- progress ------------------------------------------------------------------------------- */

static double shown_at;
static bool shown;

/* At most ten times a second, and nothing for what takes no time. */
static bool show_progress(void *user, uint64_t done, uint64_t total)
{
    double now = cli_now();
    (void)user;
    if (now - shown_at > (shown ? 0.1 : 0.3)) {
        shown_at = now;
        shown = true;
        (void)fprintf(stderr, "\rconverting %3.0f %%",
                      total > 0 ? 100.0 * (double)done / (double)total : 100.0);
    }
    return !cli_interrupted();
}

static bool check_interrupt(void *user, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return !cli_interrupted();
}

static void clear_progress(void)
{
    if (shown) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* ---- tokenizer ------------------------------------------------------------------------------ */

/* Whether the tokenizer lies in a GGUF file, and so has no files of its own to be copied. */
static bool is_in_gguf(const convert_args *args, const kvass_model *model)
{
    kvass_model_info info;
    char magic[4] = "";
    if (!args->opts.tokenizer) {
        kvass_model_get_info(model, &info);
        return cli_is_gguf(&info);
    }
    FILE *file = fopen(args->opts.tokenizer, "rb");
    bool is = file && fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (file) {
        (void)fclose(file);
    }
    return is;
}

/* The tokenizer as metadata; none is a message away from an error only when it was asked for. */
static int describe_tokenizer(convert_args *args, const kvass_model *model, kvass_tokenizer **tok,
                              kvass_metadata **metadata)
{
    kvass_error err;
    kvass_model_info info;
    const char *lost = NULL;
    kvass_model_get_info(model, &info);
    if (args->opts.tokenizer) {
        int code = cli_open_tokenizer(&args->opts, model, tok);
        if (code != CLI_OK) {
            return code;
        }
    } else {
        cli_try_tokenizer(&args->opts, model, tok);
    }
    if (!*tok) {
        cli_say("no tokenizer found: the result will have none (--tokenizer PATH names one)");
        return CLI_OK;
    }
    kvass_status status = args->convert.container == KVASS_CONTAINER_GGUF
                              ? kvass_tokenizer_describe(*tok, info.n_vocab, metadata, &lost, &err)
                              : kvass_tokenizer_describe_json(*tok, metadata, &err);
    if (status != KVASS_OK) {
        int code = cli_fail(&err);
        cli_say("--no-tokenizer leaves it out");
        return code;
    }
    if (lost && !args->opts.quiet) {
        cli_say("warning: %s", lost);
    }
    args->convert.tokenizer = *metadata;
    return CLI_OK;
}

/* Text in which tokenizers differ. */
static const char sample[] =
    "Once upon a time, there was a fox named Lily.  She's 12345 days old; isn't she?\n\n"
    "\tdef f(x): return x**2  # 3.14 \r\n HELLO World HelloWorld iPhone15 don't I'LL\n"
    "na\xc3\xafve caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c "
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7 "
    "\xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd 1,000,000 ... !!! ((a+b)*c) <b>x</b> _ ~ \\";

/* The ids of the sample, with what stands around a text; NULL when it has none. */
static int32_t *encode_sample(const kvass_tokenizer *tok, size_t *n)
{
    kvass_encode_options opt = kvass_encode_options_default();
    size_t cap = 4 * sizeof sample;
    int32_t *ids = malloc(cap * sizeof *ids);
    opt.add_special = true;
    if (ids && (kvass_tokenizer_encode(tok, sample, sizeof sample - 1, &opt, ids, cap, n, NULL) !=
                    KVASS_OK ||
                *n > cap)) {
        free(ids);
        ids = NULL;
    }
    return ids;
}

static bool same_ids(const kvass_tokenizer *tok, const kvass_tokenizer *back)
{
    size_t n = 0, n_back = 0;
    int32_t *ids = encode_sample(tok, &n), *ids_back = encode_sample(back, &n_back);
    bool same = ids && ids_back && n == n_back && memcmp(ids, ids_back, n * sizeof *ids) == 0;
    bool tried = ids != NULL;
    free(ids);
    free(ids_back);
    return same || !tried;
}

/* Read the tokenizer in `path` and compare. */
static int compare_tokenizer(const convert_args *args, const kvass_tokenizer *tok, const char *path)
{
    kvass_error err;
    kvass_tokenizer *back = NULL;
    if (kvass_tokenizer_open(&back, path, 0, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    bool same = same_ids(tok, back);
    kvass_tokenizer_close(&back);
    if (!same) {
        cli_say("%s: not written: the tokenizer in it would cut text in another way "
                "(--no-tokenizer leaves it out)",
                args->out);
    }
    return same ? CLI_OK : CLI_BAD_MODEL;
}

/* The same for what will be tokenizer.json, before anything is written. */
static int check_json(const convert_args *args, const kvass_tokenizer *tok,
                      const kvass_metadata *metadata)
{
    size_t n;
    char path[64];
    const char *text = kvass_metadata_json(metadata, &n);
    FILE *file = text ? tmpfile() : NULL;
    if (!file || fwrite(text, 1, n, file) != n || fflush(file) != 0) {
        cli_say("a temporary file cannot be written");
        return CLI_RUNTIME;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fileno(file));
    int code = compare_tokenizer(args, tok, path);
    (void)fclose(file);
    return code;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* How many tensors of which type there are now. */
static void print_summary(const convert_args *args)
{
    kvass_model *model = NULL;
    kvass_model_options opt = kvass_model_options_default();
    kvass_model_info info;
    int32_t counts[KVASS_N_DTYPES] = {0};
    size_t n_bytes = 0;
    opt.header_only = true;
    if (kvass_model_open(&model, args->out, &opt, NULL) != KVASS_OK) {
        return;
    }
    kvass_model_get_info(model, &info);
    for (int32_t i = 0; i < info.n_tensors; i++) {
        kvass_tensor_info t;
        if (kvass_model_get_tensor(model, i, &t, NULL) == KVASS_OK && t.dtype < KVASS_N_DTYPES) {
            counts[t.dtype]++;
            n_bytes += t.n_bytes;
        }
    }
    (void)fprintf(stderr, "%s: %s, %s, %.2f MiB:", args->out, info.format, info.family,
                  (double)n_bytes / MIB);
    for (int d = 0; d < KVASS_N_DTYPES; d++) {
        if (counts[d] > 0) {
            (void)fprintf(stderr, " %d x %s", (int)counts[d], kvass_dtype_name((kvass_dtype)d));
        }
    }
    (void)fputs("\n", stderr);
    kvass_model_close(&model);
}

/* The file says what windows there are, but llama.cpp runs these architectures without. */
static void warn_of_windows(const kvass_model *model)
{
    static const char *const families[] = {"mistral", "phi3", "starcoder2"};
    kvass_model_info info;
    kvass_layer_info layer = {0};
    kvass_model_get_info(model, &info);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(info.family, families[i]) == 0 &&
            kvass_model_get_layer(model, 0, &layer, NULL) == KVASS_OK && layer.window > 0 &&
            layer.window < info.n_ctx) {
            cli_say("warning: llama.cpp sees no window of %d here; it agrees up to there",
                    (int)layer.window);
        }
    }
}

static int convert(convert_args *args, const kvass_model *model)
{
    kvass_error err;
    kvass_tokenizer *tok = NULL;
    kvass_metadata *metadata = NULL;
    bool gguf = args->convert.container == KVASS_CONTAINER_GGUF;
    int code = CLI_OK;
    if (!args->no_tokenizer && (gguf || is_in_gguf(args, model))) {
        code = describe_tokenizer(args, model, &tok, &metadata);
    }
    if (code == CLI_OK && metadata && !gguf) {
        code = check_json(args, tok, metadata);
    }
    args->convert.tokenizer_path = args->opts.tokenizer;
    if (gguf && !args->opts.quiet) {
        warn_of_windows(model);
    }
    bool watched = !args->opts.quiet && isatty(STDERR_FILENO);
    args->convert.progress = watched ? show_progress : check_interrupt;
    shown_at = cli_now();
    if (code == CLI_OK) {
        cli_catch_interrupt();
        kvass_status status = kvass_model_convert(model, args->out, &args->convert, &err);
        clear_progress();
        code = status == KVASS_OK ? CLI_OK : cli_fail(&err);
        if (status != KVASS_OK && strcmp(err.rule, "CONVERT_EXISTS") == 0) {
            cli_say("--force replaces it");
        }
    }
    if (code == CLI_OK && metadata && gguf) {
        code = compare_tokenizer(args, tok, args->out);
        if (code != CLI_OK) { /* a file with another one goes away again */
            (void)unlink(args->out);
        }
    }
    if (code == CLI_OK && (watched || args->opts.verbose)) {
        print_summary(args);
    }
    kvass_metadata_close(&metadata);
    kvass_tokenizer_close(&tok);
    return code;
}

static int run_convert(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    convert_args args = {.convert = kvass_convert_options_default()};
    if (!cli_options_init(&args.opts, &cli_convert)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (!args.to_given && !ends_with(args.out, ".gguf")) {
        if (ends_with(args.out, ".safetensors")) {
            cli_say("%s: name a folder: config.json and the tokenizer belong to the weights",
                    args.out);
            return CLI_USAGE;
        }
        args.convert.container = KVASS_CONTAINER_SAFETENSORS;
    }
    args.opts.use_mmap = true; /* each weight is looked at once */
    kvass_model *model = NULL;
    int code = cli_open_model(&args.opts, false, &model);
    if (code == CLI_OK) {
        code = convert(&args, model);
    }
    kvass_model_close(&model);
    return code;
}

const cli_command cli_convert = {.name = "convert",
                                 .summary = "write a checkpoint as GGUF or safetensors",
                                 .help = help_convert,
                                 .details = details_convert,
                                 .run = run_convert};
