/* tokenize.c - `kvass tokenize` and `kvass detokenize`: text to ids and back, no network.
 */
#include "tools/cli.h"
#include "tools/help.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_IDS = CLI_KEY_OWN, KEY_JSON, KEY_SPECIAL, KEY_BOS, KEY_COUNT, KEY_STRICT };

typedef struct tokenize_args {
    cli_options opts; /* first: see cli_share_state */
    cli_bytes words;  /* detokenize: all arguments, joined by spaces */
    bool ids, json, special, bos, count, strict;
} tokenize_args;

static const struct argp_child children[] = {
    {&cli_prompt_argp, 0, NULL, 0}, {&cli_model_argp, 0, NULL, 0}, {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    tokenize_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case ARGP_KEY_ARG:
        if (args->opts.command != &cli_detokenize) {
            return ARGP_ERR_UNKNOWN; /* the text: cli_prompt_argp's */
        }
        (void)cli_bytes_add(&args->words, arg, strlen(arg));
        (void)cli_bytes_add(&args->words, " ", 1);
        args->opts.prompt.text = args->words.data;
        return 0;
    case KEY_IDS:
        args->ids = true;
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    case KEY_SPECIAL:
        args->special = true;
        return 0;
    case KEY_BOS:
        args->bos = true;
        return 0;
    case KEY_COUNT:
        args->count = true;
        return 0;
    case KEY_STRICT:
        args->strict = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option tokenize_options[] = {
    {"ids", KEY_IDS, NULL, 0, "only the ids, on one line", 0},
    {"count", KEY_COUNT, NULL, 0, "only how many there are", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document", 0},
    {"special", KEY_SPECIAL, NULL, 0, "names of special tokens mean the tokens", 0},
    {"bos", KEY_BOS, NULL, 0, "add what generate adds around a prompt", 0},
    {"strict-utf8", KEY_STRICT, NULL, 0, "refuse text that is not UTF-8", 0},
    {0},
};

static const struct argp_option detokenize_options[] = {
    {"json", KEY_JSON, NULL, 0, "one JSON document", 0},
    {"special", KEY_SPECIAL, NULL, 0, "write special tokens, too", 0},
    {0},
};

/* The input, then the tokenizer (and the model's header unless --tokenizer makes it needless). */
static int open_both(tokenize_args *args, cli_bytes *input, kvass_tokenizer **tok, const char *what)
{
    bool given;
    int code = cli_read_prompt(&args->opts.prompt, input, &given);
    if (code == CLI_OK && !given && isatty(STDIN_FILENO)) {
        code = cli_read_file(input, "-");
    } else if (code == CLI_OK && !given) {
        cli_say("no %s: give it as an argument, with -f or on standard input", what);
        code = CLI_USAGE;
    }
    kvass_model *model = NULL;
    if (code == CLI_OK && !args->opts.tokenizer) {
        code = cli_open_model(&args->opts, true, &model);
    }
    if (code == CLI_OK) {
        code = cli_open_tokenizer(&args->opts, model, tok);
    }
    kvass_model_close(&model);
    return code;
}

/* A piece as text on one line: quotes, backslashes, control characters and bytes that are not UTF-8
 * are escaped. */
static void print_piece(const char *piece, size_t n)
{
    (void)fputc('"', stdout);
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t len = cli_utf8(piece + i, n - i, &code);
        unsigned char byte = (unsigned char)piece[i];
        if (len == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0)) {
            len = len > 0 ? len : 1;
            for (size_t k = 0; k < len; k++) {
                byte = (unsigned char)piece[i + k];
                (void)(byte == '\n' ? printf("\\n") : printf("\\x%02x", byte));
            }
        } else {
            (void)(byte == '"' || byte == '\\' ? fputc('\\', stdout) : 0);
            (void)fwrite(piece + i, 1, len, stdout);
        }
        i += len;
    }
    (void)fputc('"', stdout);
}

static json_t *pieces_document(const kvass_tokenizer *tok, const cli_ids *ids)
{
    json_t *pieces = json_array();
    for (size_t i = 0; pieces && i < ids->n; i++) {
        size_t n = 0;
        const char *piece = kvass_tokenizer_piece(tok, ids->data[i], &n);
        (void)json_array_append_new(pieces, cli_json_text(piece ? piece : "", n));
    }
    return json_pack("{s:o, s:o, s:I}", "tokens", cli_json_ids(ids->data, ids->n), "pieces", pieces,
                     "count", (json_int_t)ids->n);
}

static int print_tokens(const tokenize_args *args, const kvass_tokenizer *tok, const cli_ids *ids)
{
    if (args->json) {
        return cli_print_json(pieces_document(tok, ids));
    }
    if (args->count) {
        (void)printf("%zu\n", ids->n);
        return cli_finish_output();
    }
    for (size_t i = 0; i < ids->n; i++) {
        if (args->ids) {
            (void)printf(i > 0 ? " %d" : "%d", (int)ids->data[i]);
            continue;
        }
        size_t n = 0;
        const char *piece = kvass_tokenizer_piece(tok, ids->data[i], &n);
        (void)printf("%d\t", (int)ids->data[i]);
        for (size_t k = 0; k < n; k++) {
            (void)printf(k > 0 ? " %02x" : "%02x", (unsigned)(unsigned char)piece[k]);
        }
        (void)fputc('\t', stdout);
        print_piece(piece ? piece : "", n);
        (void)fputc('\n', stdout);
    }
    if (args->ids) {
        (void)fputc('\n', stdout);
    }
    return cli_finish_output();
}

static int run_tokenize(int argc, char **argv)
{
    static const struct argp argp = {tokenize_options, parse_option, NULL, NULL,
                                     children,         NULL,         NULL};
    tokenize_args args = {0};
    if (!cli_options_init(&args.opts, &cli_tokenize)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    cli_bytes text = {0};
    cli_ids ids = {0};
    kvass_tokenizer *tok = NULL;
    int code = open_both(&args, &text, &tok, "text");
    if (code == CLI_OK) {
        kvass_encode_options opt = kvass_encode_options_default();
        opt.add_special = args.bos;
        opt.parse_special = args.special;
        opt.strict_utf8 = args.strict;
        code = cli_encode(tok, text.data ? text.data : "", text.n, &opt, &ids);
    }
    if (code == CLI_OK) {
        code = print_tokens(&args, tok, &ids);
    }
    free(ids.data);
    kvass_tokenizer_close(&tok);
    cli_bytes_free(&text);
    return code;
}

static int decode_ids(const tokenize_args *args, const kvass_tokenizer *tok, const cli_ids *ids)
{
    kvass_error err;
    kvass_stream *stream;
    cli_bytes text = {0};
    if (kvass_stream_open(&stream, tok, args->special, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    const char *bytes;
    size_t n;
    kvass_status status = KVASS_OK;
    for (size_t i = 0; i < ids->n && status == KVASS_OK; i++) {
        status = kvass_stream_put(stream, ids->data[i], &bytes, &n, &err);
        if (status == KVASS_OK && !cli_bytes_add(&text, bytes, n)) {
            status = err.code = KVASS_NOMEM;
            err.rule = "NOMEM";
            (void)snprintf(err.message, sizeof err.message, "out of memory for text");
        }
    }
    if (status == KVASS_OK) {
        kvass_stream_end(stream, &bytes, &n);
        (void)cli_bytes_add(&text, bytes, n);
    }
    kvass_stream_close(&stream);
    int code = status != KVASS_OK ? cli_fail(&err) : CLI_OK;
    if (code == CLI_OK && args->json) {
        code = cli_print_json(json_pack("{s:o}", "text", cli_json_text(text.data, text.n)));
    } else if (code == CLI_OK) {
        cli_put_text(text.data, text.n, false);
        code = cli_finish_output();
    }
    cli_bytes_free(&text);
    return code;
}

static int run_detokenize(int argc, char **argv)
{
    static const struct argp argp = {detokenize_options, parse_option, NULL, NULL,
                                     children,           NULL,         NULL};
    tokenize_args args = {0};
    if (!cli_options_init(&args.opts, &cli_detokenize)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    cli_bytes text = {0};
    cli_ids ids = {0};
    kvass_tokenizer *tok = NULL;
    int code = open_both(&args, &text, &tok, "ids");
    if (code == CLI_OK) {
        code = cli_parse_ids(text.data ? text.data : "", text.n, &ids);
    }
    if (code == CLI_OK) {
        kvass_tokenizer_info info;
        kvass_tokenizer_get_info(tok, &info);
        code = cli_check_ids(&ids, info.n_vocab);
    }
    if (code == CLI_OK) {
        code = decode_ids(&args, tok, &ids);
    }
    free(ids.data);
    kvass_tokenizer_close(&tok);
    cli_bytes_free(&text);
    cli_bytes_free(&args.words);
    return code;
}

const cli_command cli_tokenize = {.name = "tokenize",
                                  .summary = "show the tokens of a text",
                                  .help = help_tokenize,
                                  .run = run_tokenize};
const cli_command cli_detokenize = {.name = "detokenize",
                                    .summary = "turn token ids back into text",
                                    .help = help_detokenize,
                                    .run = run_detokenize};
