/* attention.c - `kvass attention`: the weights of attention for a prompt, as the engine computes
 * them, for chosen layers and heads. The maps are bounded: what would not fit is refused with a
 * word on what to leave out. Rows are written as they are, for a tree of every number would be
 * many times as large.
 */
#include "tools/cli.h"
#include "tools/help.h"
#include "tools/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commit.h"

enum { KEY_TOKENS = CLI_KEY_OWN, KEY_LAYERS, KEY_HEADS, KEY_PATH };

#define MOST_WEIGHTS (2 << 20) /* of all maps: their lower triangles */
#define MOST_CHOSEN  1024      /* layers, or heads, that can be named */

static const char key_letters[KVASS_N_KEYS + 1] = ".mswp-x";

typedef struct chosen {
    bool all;
    bool at[MOST_CHOSEN];
    int32_t highest;
} chosen;

typedef struct attention_args {
    cli_options opts; /* first: see cli_share_state */
    const char *tokens, *out_path;
    chosen layers, heads;
    bool path_given, decode;
} attention_args;

/* What is printed: keys[i] of maps[i] is the first map that shows the same. */
typedef struct attention_result {
    const attention_args *args;
    kvass_model_info info;
    const kvass_model *model;
    const kvass_tokenizer *tok; /* NULL: none */
    const cli_ids *ids;
    kvass_context_info context;
    kvass_attention_map *maps; /* maps[n_maps] */
    int32_t *keys;
    int32_t n_maps, n, first_query;
} attention_result;

static const struct argp_child children[] = {{&cli_prompt_argp, 0, NULL, 0},
                                             {&cli_model_argp, 0, NULL, 0},
                                             {&cli_context_argp, 0, NULL, 0},
                                             {0}};

/* "0,2-4" or "all" */
static void parse_list(const struct argp_state *state, const char *name, char *list, chosen *out)
{
    char *rest = NULL;
    *out = (chosen){.all = strcmp(list, "all") == 0};
    for (char *item = strtok_r(list, ",", &rest); item && !out->all;
         item = strtok_r(NULL, ",", &rest)) {
        char *dash = strchr(item, '-');
        if (dash) {
            *dash = '\0';
        }
        int64_t from = cli_int(state, name, item, 0, MOST_CHOSEN - 1);
        int64_t to = dash ? cli_int(state, name, dash + 1, from, MOST_CHOSEN - 1) : from;
        for (int64_t i = from; i <= to; i++) {
            out->at[i] = true;
        }
        out->highest = to > out->highest ? (int32_t)to : out->highest;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    static const char *const paths[] = {"prefill", "decode"};
    attention_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'o':
        args->out_path = arg;
        return 0;
    case KEY_TOKENS:
        args->tokens = arg;
        return 0;
    case KEY_LAYERS:
        parse_list(state, "--layers", arg, &args->layers);
        return 0;
    case KEY_HEADS:
        parse_list(state, "--heads", arg, &args->heads);
        return 0;
    case KEY_PATH:
        args->decode = cli_choice(state, "--path", arg, paths, 2) == 1;
        args->path_given = true;
        return 0;
    case ARGP_KEY_END:
        if (args->tokens && (args->opts.prompt.text || args->opts.prompt.file)) {
            argp_error(state, "--tokens and a prompt: give one of them");
        }
        if (!args->path_given) {
            args->decode = args->opts.context.select == KVASS_SELECT_TOPK;
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"tokens", KEY_TOKENS, "IDS", 0, "token ids, parted by commas or white space", 0},
    {"layers", KEY_LAYERS, "LIST", 0, "layers: 0,2-4 or all", 0},
    {"heads", KEY_HEADS, "LIST", 0, "query heads: 0,2-4 or all", 0},
    {"path", KEY_PATH, "PATH", 0, "prefill or decode", 0},
    {"output", 'o', "FILE", 0, "write the document to this file", 0},
    {0},
};

/* ---- which maps, and room for them ---------------------------------------------------------- */

static int check_chosen(const chosen *list, const char *what, int32_t n)
{
    if (!list->all && list->highest >= n) {
        cli_say("there is no %s %d: the model has %d, counted from 0", what, (int)list->highest,
                (int)n);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int32_t count(const chosen *list, int32_t n)
{
    int32_t n_chosen = 0;
    for (int32_t i = 0; i < n; i++) {
        n_chosen += list->all || (i < MOST_CHOSEN && list->at[i]);
    }
    return n_chosen;
}

/* Refuse what cannot be run or shown; set the size of the context and the number of maps. */
static int fit(attention_args *args, attention_result *r)
{
    kvass_context_options *opt = &args->opts.context;
    int32_t limit = opt->n_ctx > 0 ? opt->n_ctx : r->info.n_ctx;
    int code = cli_check_ids(r->ids, r->info.n_vocab);
    if (code == CLI_OK && r->ids->n == 0) {
        cli_say("no token ids");
        code = CLI_USAGE;
    }
    if (code == CLI_OK && r->ids->n > (size_t)limit) {
        cli_say("%zu tokens exceed the available context size of %d tokens (PROMPT_TOO_LONG)",
                r->ids->n, (int)limit);
        code = CLI_NO_ROOM;
    }
    if (code != CLI_OK || (code = check_chosen(&args->layers, "layer", r->info.n_layers)) ||
        (code = check_chosen(&args->heads, "head", r->info.n_heads))) {
        return code;
    }
    opt->n_ctx = opt->n_ctx > 0 ? opt->n_ctx : (int32_t)r->ids->n;
    r->n = (int32_t)r->ids->n + r->info.n_meta;
    r->first_query = opt->retain == KVASS_RETAIN_NONE ? 0 : r->info.n_meta;
    int64_t n_maps =
        (int64_t)count(&args->layers, r->info.n_layers) * count(&args->heads, r->info.n_heads);
    int64_t n_weights = n_maps * ((int64_t)r->n * (r->n + 1) / 2);
    if (n_weights > MOST_WEIGHTS) {
        cli_say("%lld heads of %d positions have %lld weights, more than %d: choose with --layers "
                "and --heads, or give a shorter prompt (MAPS_TOO_LARGE)",
                (long long)n_maps, (int)r->n, (long long)n_weights, MOST_WEIGHTS);
        return CLI_NO_ROOM;
    }
    r->n_maps = (int32_t)n_maps;
    return CLI_OK;
}

static bool take_maps(const attention_args *args, attention_result *r)
{
    size_t n_cells = (size_t)r->n * (size_t)r->n;
    r->maps = calloc((size_t)r->n_maps, sizeof *r->maps);
    r->keys = calloc((size_t)r->n_maps, sizeof *r->keys);
    bool ok = r->maps && r->keys;
    int32_t i = 0;
    for (int32_t l = 0; l < r->info.n_layers; l++) {
        for (int32_t h = 0; ok && h < r->info.n_heads; h++) {
            if ((args->layers.all || args->layers.at[l]) &&
                (args->heads.all || args->heads.at[h])) {
                kvass_attention_map map = {.layer = l, .head = h, .n = r->n};
                map.weights = malloc(n_cells * sizeof *map.weights);
                map.keys = malloc(n_cells);
                ok = map.weights && map.keys;
                r->maps[i++] = map;
            }
        }
    }
    if (!ok) {
        cli_say("out of memory for %d maps", (int)r->n_maps);
    }
    return ok;
}

static void free_maps(attention_result *r)
{
    for (int32_t i = 0; r->maps && i < r->n_maps; i++) {
        free(r->maps[i].weights);
        free(r->maps[i].keys);
    }
    free(r->maps);
    free(r->keys);
}

/* most heads of a model see the same keys: those are printed once */
static void find_same_keys(attention_result *r)
{
    size_t n_cells = (size_t)r->n * (size_t)r->n;
    for (int32_t i = 0; i < r->n_maps; i++) {
        r->keys[i] = i;
        for (int32_t j = 0; j < i && r->keys[i] == i; j++) {
            if (r->keys[j] == j && memcmp(r->maps[i].keys, r->maps[j].keys, n_cells) == 0) {
                r->keys[i] = j;
            }
        }
    }
}

/* ---- the document --------------------------------------------------------------------------- */

static json_t *key_names_json(void)
{
    json_t *names = json_object();
    for (int i = KVASS_KEY_META; names && i < KVASS_N_KEYS; i++) {
        char letter[2] = {key_letters[i], '\0'};
        (void)json_object_set_new(names, letter, json_string(kvass_key_name((kvass_key)i)));
    }
    return names;
}

/* all but keys and maps */
static json_t *head_json(const attention_result *r)
{
    const kvass_context_options *opt = &r->args->opts.context;
    bool window = opt->retain == KVASS_RETAIN_WINDOW, topk = opt->select == KVASS_SELECT_TOPK;
    json_t *cache =
        json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:i, s:i}", "retain", r->context.retain,
                  "store", r->context.store, "select", r->context.select, "window",
                  window ? (int)opt->window : 0, "sinks", window ? (int)opt->n_sinks : 0,
                  "positions", opt->positions == KVASS_POSITIONS_CACHE ? "cache" : "original",
                  "share", opt->share == KVASS_SHARE_PAIRS ? "pairs" : "model", "topk_pages",
                  !topk             ? 0
                  : opt->n_topk > 0 ? (int)opt->n_topk
                                    : 16,
                  "recent", topk ? (int)opt->n_recent : 0, "dense_layers",
                  topk ? (int)opt->n_dense_layers : 0);
    return json_pack("{s:i, s:s, s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:o, s:o, s:o, s:o, "
                     "s:s}",
                     "schema_version", 1, "kind", "attention", "model",
                     cli_json_text(r->info.path, strlen(r->info.path)), "family", r->info.family,
                     "n_layers", (int)r->info.n_layers, "n_heads", (int)r->info.n_heads,
                     "n_kv_heads", (int)r->info.n_kv_heads, "n_meta", (int)r->info.n_meta,
                     "n_positions", (int)r->n, "first_query", (int)r->first_query, "path",
                     r->args->decode ? "decode" : "prefill", "cache", cache, "tokens",
                     cli_json_ids(r->ids->data, r->ids->n), "pieces",
                     cli_json_pieces(r->tok, r->ids->data, r->ids->n), "key_names",
                     key_names_json(), "commit", KVASS_COMMIT);
}

static void print_keys(FILE *file, const attention_result *r, const kvass_attention_map *map)
{
    for (int32_t q = r->first_query; q < r->n; q++) {
        const unsigned char *keys = map->keys + (size_t)q * (size_t)r->n;
        (void)fputs(q > r->first_query ? ",\"" : "\"", file);
        for (int32_t j = 0; j <= q; j++) {
            (void)fputc(key_letters[keys[j]], file);
        }
        (void)fputc('"', file);
    }
}

static void print_weights(FILE *file, const attention_result *r, const kvass_attention_map *map)
{
    for (int32_t q = r->first_query; q < r->n; q++) {
        const float *weights = map->weights + (size_t)q * (size_t)r->n;
        (void)fputs(q > r->first_query ? ",[" : "[", file);
        for (int32_t j = 0; j <= q; j++) {
            (void)fprintf(file, j > 0 ? ",%.5g" : "%.5g", (double)weights[j]);
        }
        (void)fputc(']', file);
    }
}

static void print_maps(FILE *file, const attention_result *r)
{
    int n_lists = 0;
    (void)fputs(",\"keys\":[", file);
    for (int32_t i = 0; i < r->n_maps; i++) {
        int32_t first = r->keys[i];
        if (first == i) {
            (void)fputs(n_lists > 0 ? ",[" : "[", file);
            print_keys(file, r, &r->maps[i]);
            (void)fputc(']', file);
            r->keys[i] = n_lists++;
        } else {
            r->keys[i] = r->keys[first];
        }
    }
    (void)fputs("],\"maps\":[", file);
    for (int32_t i = 0; i < r->n_maps; i++) {
        kvass_layer_info layer = {0};
        (void)kvass_model_get_layer(r->model, r->maps[i].layer, &layer, NULL);
        (void)fprintf(file, "%s{\"layer\":%d,\"head\":%d,\"window\":%d,\"keys\":%d,\"weights\":[",
                      i > 0 ? "," : "", (int)r->maps[i].layer, (int)r->maps[i].head,
                      (int)layer.window, (int)r->keys[i]);
        print_weights(file, r, &r->maps[i]);
        (void)fputs("]}", file);
    }
    (void)fputs("]}\n", file);
}

static int print_document(FILE *file, attention_result *r)
{
    json_t *head = head_json(r);
    char *text = head ? json_dumps(head, JSON_COMPACT) : NULL;
    json_decref(head);
    if (!text) {
        cli_say("out of memory for the JSON document");
        return CLI_NO_ROOM;
    }
    find_same_keys(r);
    (void)fwrite(text, 1, strlen(text) - 1, file); /* but for its last brace */
    free(text);
    print_maps(file, r);
    return CLI_OK;
}

static int print_page(FILE *file, attention_result *r)
{
    char *text = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&text, &n);
    int code = memory ? print_document(memory, r) : CLI_NO_ROOM;
    if (!memory || fclose(memory) != 0) {
        cli_say("out of memory for the page");
        code = CLI_NO_ROOM;
    }
    if (code == CLI_OK) {
        code = report_one_page("kvass attention", text, n, file);
    }
    free(text);
    return code;
}

static bool is_page(const char *path)
{
    size_t n = path ? strlen(path) : 0;
    return n > 5 && strcmp(path + n - 5, ".html") == 0;
}

static int write_document(attention_result *r)
{
    const char *path = r->args->out_path;
    FILE *file = path ? fopen(path, "we") : stdout;
    if (!file) {
        cli_say("%s: %s", path, strerror(errno));
        return CLI_RUNTIME;
    }
    int code = is_page(path) ? print_page(file, r) : print_document(file, r);
    if (!path) {
        return code != CLI_OK ? code : cli_finish_output();
    }
    bool failed = ferror(file) != 0;
    failed = fclose(file) != 0 || failed;
    if (failed && code == CLI_OK) {
        cli_say("%s: %s", path, strerror(errno));
        code = CLI_RUNTIME;
    }
    return code;
}

/* ---- running -------------------------------------------------------------------------------- */

static kvass_status feed(const attention_args *args, kvass_seq *seq, const cli_ids *ids,
                         kvass_error *err)
{
    if (!args->decode) {
        return kvass_prefill(seq, ids->data, (int32_t)ids->n, err);
    }
    kvass_status status = KVASS_OK;
    for (size_t i = 0; i < ids->n && status == KVASS_OK; i++) {
        status = kvass_decode(seq, ids->data[i], err);
    }
    return status;
}

static int run_network(const attention_args *args, attention_result *r)
{
    kvass_error err;
    kvass_context *ctx = NULL;
    kvass_seq *seq = NULL;
    if (!take_maps(args, r)) {
        return CLI_NO_ROOM;
    }
    kvass_status status = kvass_context_open(&ctx, r->model, &args->opts.context, &err);
    if (status == KVASS_OK) {
        status = kvass_seq_open(&seq, ctx, &err);
    }
    if (status == KVASS_OK) {
        cli_catch_interrupt();
        kvass_context_set_cancel(ctx, cli_cancel, NULL);
        kvass_context_get_info(ctx, &r->context);
        status = kvass_seq_watch(seq, r->maps, r->n_maps, &err);
    }
    if (status == KVASS_OK) {
        status = feed(args, seq, r->ids, &err);
    }
    int code = status == KVASS_OK ? write_document(r) : cli_fail(&err);
    kvass_context_close(&ctx);
    return code;
}

static int run_attention(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    attention_args args = {.layers.all = true, .heads.all = true};
    if (!cli_options_init(&args.opts, &cli_attention)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    kvass_model *model = NULL;
    kvass_tokenizer *tok = NULL;
    cli_ids ids = {0};
    attention_result result = {.args = &args, .ids = &ids};
    int code = cli_open_model(&args.opts, true, &model);
    if (code == CLI_OK) {
        kvass_model_get_info(model, &result.info);
        code = cli_prompt_ids(&args.opts, args.tokens, model, &ids);
    }
    if (code == CLI_OK) {
        code = fit(&args, &result);
    }
    const kvass_context_options *contexts[] = {&args.opts.context};
    if (code == CLI_OK) {
        code = cli_check_memory(&args.opts, model, contexts, 1);
    }
    if (code == CLI_OK) {
        kvass_model_close(&model);
        code = cli_open_model(&args.opts, false, &model);
    }
    if (code == CLI_OK) {
        kvass_model_get_info(model, &result.info);
        result.model = model;
        cli_try_tokenizer(&args.opts, model, &tok);
        result.tok = tok;
        code = run_network(&args, &result);
    }
    free_maps(&result);
    free(ids.data);
    kvass_tokenizer_close(&tok);
    kvass_model_close(&model);
    return code;
}

const cli_command cli_attention = {.name = "attention",
                                   .summary = "what each token gives to each earlier one",
                                   .help = help_attention,
                                   .details = details_attention,
                                   .run = run_attention};
