/* help.c - see help.h. Defaults written here are those of the library's *_default() functions.
 */
#include "tools/help.h"

#define MODEL_HELP                                                                                 \
    "  -m MODEL             a folder, .safetensors, .index.json or llama2.c .bin\n"                \
    "      --tokenizer PATH tokenizer, when it is not beside the model\n"                          \
    "      --mmap           map the weights instead of reading them\n"                             \
    "  -q, -v               say less, say more\n"

#define CONTEXT_HELP                                                                               \
    "  -c N                 context length (default: as trained)\n"                                \
    "  -t N                 threads (default: the CPUs there are)\n"                               \
    "      --cache POLICY   full, window, or none: recompute everything at each step\n"            \
    "      --window N|sqrt  the newest N tokens; with --sinks N the first N, too\n"                \
    "      --positions HOW  of sinks: original, cache; --kv-share HOW: model, pairs\n"             \
    "      --kv-type TYPE   how keys and values are stored: f16 (default) or f32\n"                \
    "      --kv-budget N    most bytes the cache may reserve\n"                                    \
    "      --batch N        tokens per prefill chunk (default 512)\n"                              \
    "      --deterministic  the same bits on every path\n"                                         \
    "      --isa NAME       kernels: auto, avx2 or scalar\n"

const char help_kvass[] =
    "usage: kvass [OPTION...] PROMPT\n"
    "       kvass COMMAND [OPTION...]\n"
    "\n"
    "Generates text from a small GPT-style checkpoint, out of a KV cache whose cost\n"
    "you choose and can measure. Without -m it uses the bundled weights.\n"
    "\n"
    "commands:\n"
    "  generate    complete a prompt (what a bare PROMPT does)\n"
    "  eval        measure quality on a text, and what the cache costs of it\n"
    "  bench       measure cached and uncached decoding side by side\n"
    "  logits      print the raw logits for given token ids\n"
    "  inspect     show what a checkpoint is and what it costs\n"
    "  tokenize    show the tokens of a text\n"
    "  detokenize  turn token ids back into text\n"
    "  help        kvass help COMMAND: all about one of them\n"
    "\n"
    "      --version    library, build, CPU path, formats\n"
    "      --help       this; COMMAND --help: its options\n"
    "\n"
    "environment: KVASS_MODEL is the model when -m is not given,\n"
    "             KVASS_THREADS the threads when -t is not.\n"
    "\n"
    "examples:\n"
    "  kvass \"Once upon a time\"\n"
    "  kvass -m stories15M.bin --temp 0 -n 100 \"Lily and Tom\"\n"
    "  kvass bench --depth 64-512*2\n";

const char help_generate[] =
    "usage: kvass generate [OPTION...] [PROMPT]\n"
    "\n"
    "prompt and text:\n"
    "  -p TEXT, -f FILE     the prompt; -f - is standard input\n"
    "  -n N                 at most N new tokens (default: until the text ends)\n"
    "      --stop TEXT      end before this text; may be repeated\n"
    "      --special        names of special tokens in the prompt mean the tokens\n"
    "      --strict-utf8    refuse a prompt that is not UTF-8\n"
    "sampling:\n"
    "      --temp X         temperature, 0 is greedy (default 0.8)\n"
    "      --top-k N, --top-p X, --min-p X   (defaults 40, 0.95, 0.05)\n"
    "      --repeat-penalty X, --repeat-last N   (defaults 1: off, 64)\n"
    "      --seed N         the generator's seed (default: a new one)\n"
    "model:\n" MODEL_HELP "cache and speed:\n" CONTEXT_HELP "output:\n"
    "      --echo           print the prompt first\n"
    "      --json           one JSON document instead of text\n"
    "      --stats          the summary line even when stderr is not a terminal\n"
    "      --raw            pass control characters to a terminal\n"
    "\n"
    "examples:\n"
    "  kvass generate \"Once upon a time\"\n"
    "  echo \"The cat\" | kvass generate --temp 0 -n 50\n"
    "  kvass generate --json --seed 7 -p \"One day\"\n";

const char details_generate[] =
    "The prompt is standard input when that is a pipe or a file, then -f FILE, then\n"
    "the argument, one after the other as they are. Without any of them, and with\n"
    "no terminal to start from, it is an error; -p '' is the empty prompt, which is\n"
    "allowed when the model has a begin-of-text token. Text goes to stdout, all\n"
    "else to stderr. No chat template is applied.\n"
    "\n"
    "Generation ends at an end-of-text token (eos), after N tokens (length), before\n"
    "a stop text (stop), when the context is full (context) or on Ctrl-C\n"
    "(cancelled). The same seed, build and CPU path give the same text for any\n"
    "number of threads. Numbers may end in K, M or G: -c 4K.\n"
    "\n"
    "--json prints text, tokens (ids generated), prompt_tokens (ids read),\n"
    "finish_reason, seed, timing (load_ms, prompt_ms, prompt_tok_s,\n"
    "first_token_ms, decode_ms, decode_tok_s) and cache (retain, store, select,\n"
    "n_ctx, bytes_per_token, bytes_reserved, bytes_used, bytes_shared,\n"
    "bytes_touched, bytes_transient, recomputed_tokens).\n"
    "\n"
    "Exit: 0 done, 1 fault while running or I/O, 2 command line, 3 bad or\n"
    "unsupported model file, 4 does not fit context or memory, 130 Ctrl-C,\n"
    "141 reader gone.\n";

const char help_inspect[] =
    "usage: kvass inspect [OPTION...] [MODEL]\n"
    "\n"
    "Shows family, dimensions, parameters, element types, cache bytes per token, the\n"
    "memory a context takes and the tokenizer. Reads headers only.\n"
    "\n"
    "      --tensors        list every tensor\n"
    "      --check          read all weights and look for NaN and infinity\n"
    "                       (exit 3 if there are any)\n"
    "      --json           one JSON document\n"
    "model:\n" MODEL_HELP "memory is given for this context:\n" CONTEXT_HELP "\n"
    "examples:\n"
    "  kvass inspect\n"
    "  kvass inspect -c 4K stories15M.bin\n"
    "  kvass inspect --check --json my-model/\n";

const char help_tokenize[] =
    "usage: kvass tokenize [OPTION...] [TEXT]\n"
    "\n"
    "Prints a line per token: id, bytes, text. The text is standard input when that\n"
    "is a pipe or a file, then -f FILE, then the argument.\n"
    "\n"
    "  -p TEXT, -f FILE     the text; -f - is standard input\n"
    "      --ids            only the ids, on one line\n"
    "      --count          only how many there are\n"
    "      --json           one JSON document: tokens, pieces, count\n"
    "      --special        names of special tokens mean the tokens\n"
    "      --bos            add what generate adds around a prompt\n"
    "      --strict-utf8    refuse text that is not UTF-8\n"
    "model:\n" MODEL_HELP "\n"
    "examples:\n"
    "  kvass tokenize \"Once upon a time\"\n"
    "  kvass tokenize --ids -f story.txt | kvass detokenize\n"
    "  kvass tokenize --tokenizer tokenizer.json --count -f story.txt\n";

const char help_detokenize[] =
    "usage: kvass detokenize [OPTION...] [ID...]\n"
    "\n"
    "Prints the text of token ids, which are parted by commas or white space.\n"
    "\n"
    "  -f FILE              ids from a file; - is standard input\n"
    "      --json           one JSON document: text\n"
    "      --special        write special tokens, too\n"
    "model:\n" MODEL_HELP "\n"
    "examples:\n"
    "  kvass detokenize 403 407 261\n"
    "  kvass tokenize --ids \"One day\" | kvass detokenize\n"
    "  kvass detokenize --tokenizer tokenizer.json -f ids.txt\n";

const char help_logits[] =
    "usage: kvass logits [OPTION...] --tokens IDS\n"
    "       kvass logits [OPTION...] PROMPT\n"
    "\n"
    "Prints what the network says after the last token, one number a line.\n"
    "\n"
    "      --tokens IDS     ids, parted by commas (needs no tokenizer)\n"
    "  -p TEXT, -f FILE     a prompt instead\n"
    "      --path PATH      prefill (default): all tokens at once; decode: one after\n"
    "                       the other by the cache; none: without a cache\n"
    "      --all            the logits of every position, not only the last\n"
    "      --json           one JSON document: tokens, logits (rows with --all)\n"
    "  -o FILE              write 32-bit floats to this file: a row per position\n"
    "model:\n" MODEL_HELP "cache and speed:\n" CONTEXT_HELP "\n"
    "examples:\n"
    "  kvass logits --tokens 1,403,407 --json\n"
    "  kvass logits --tokens 1,403,407 --path decode --all -o logits.f32\n"
    "  kvass logits --kv-type f32 \"Once upon a\"\n";

const char help_eval[] =
    "usage: kvass eval [OPTION...] -f TEXT\n"
    "\n"
    "Prints perplexity and bits per byte on a text, and how far the chosen cache's\n"
    "predictions are from those of the full f32 cache (KL divergence, same top).\n"
    "\n"
    "  -f FILE              the text; - is standard input\n"
    "      --split HOW      none (default), or stories: see kvass help eval\n"
    "      --tail-bytes N   only the last N bytes (stories: 94000); 0 is all\n"
    "      --path PATH      prefill (default), or decode: token by token\n"
    "      --json           one JSON document\n"
    "model:\n" MODEL_HELP "cache and speed:\n" CONTEXT_HELP "\n"
    "examples:\n"
    "  kvass eval -f stories.txt --split stories\n"
    "  kvass eval -f book.txt --tail-bytes 100K -c 256\n"
    "  kvass eval -f stories.txt --kv-type f16 --path decode --json\n";

const char details_eval[] =
    "The text is scored in windows that do not overlap: each begins with the\n"
    "begin-of-text token and an empty cache, and takes as many tokens as the context\n"
    "holds. Every token but that first one is scored; without a begin-of-text token\n"
    "the first token of a window is not, and its bytes are not counted. Bits per\n"
    "byte are the nats of all scored tokens, over ln 2 and the bytes of text.\n"
    "\n"
    "--split stories is for a file of stories that were not trained on: of the last\n"
    "94,000 bytes (--tail-bytes), cut at every newline that has no newline beside\n"
    "it, the first piece is dropped, pieces under 400 bytes are left out, and the\n"
    "first 800 bytes of each other piece are scored by themselves.\n"
    "\n"
    "--json prints policy, k_type, v_type, path, n_ctx, budget, tokens_seen,\n"
    "tokens_scored, bytes_scored, bytes_reserved, bytes_used, bytes_touched,\n"
    "bytes_per_token, index_bytes, cold_bytes, bits_per_byte, ppl, ppl_ratio,\n"
    "kld_mean, kld_p99, kld_max, same_top, needle_kept, prefill_tok_s,\n"
    "decode_tok_s, decode_p50_ms, decode_p99_ms, recomputed_tokens,\n"
    "evicted_tokens, pages_touched, threads, seed, model_fingerprint; null where a\n"
    "run measures none.\n";

const char help_bench[] =
    "usage: kvass bench [OPTION...]\n"
    "\n"
    "Measures, with that many random tokens in the context: reading them (prefill),\n"
    "decoding one more with the cache (cached) and without it (uncached).\n"
    "\n"
    "      --depth LIST     tokens in the context: 400, 64-512*2, 100-400+100, ...\n"
    "      --mode LIST      of prefill, cached, uncached (default: all)\n"
    "  -n N                 tokens decoded in each repetition (default 32)\n"
    "      --reps N         repetitions (default 5)\n"
    "      --warmup N       repetitions before them (default 1)\n"
    "  -o FORMAT            md (default), csv, json or jsonl\n"
    "model:\n" MODEL_HELP "cache and speed (--mode says with or without):\n"
    "  -c, -t, --window, --sinks, --positions, --kv-share, --kv-type, --kv-budget,\n"
    "  --batch, --deterministic, --isa\n"
    "                       as in generate\n"
    "\n"
    "examples:\n"
    "  kvass bench\n"
    "  kvass bench -m stories15M.bin --depth 16-128*2 -t 1\n"
    "  kvass bench --mode cached,uncached --depth 400 -o json\n";

const char details_bench[] =
    "FROM-TO*FACTOR goes up by a factor (after 0 comes 1), FROM-TO+STEP by a step.\n"
    "Without --depth: 64, 128, ... as far as the trained context and 1024 go.\n"
    "Inside the time are the network and a greedy pick from the logits, no\n"
    "tokenizing. Modes take turns within each repetition. Uncached decoding is timed\n"
    "over at most 4 tokens a repetition, for each costs as much as a prefill of all\n"
    "before it. The table shows medians; json has every repetition.\n"
    "A warning on stderr names what varied by more than 5 %.\n";
