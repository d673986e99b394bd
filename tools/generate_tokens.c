/* generate_tokens.c - `kvass generate --token-stats`: how long each token took, and how likely the
 * network held it. The likelihood is of the network's own logits, before temperature and the like,
 * and is computed out of the time.
 */
#include "tools/eval.h"
#include "tools/generate.h"

#include <stdlib.h>

int generate_tokens_open(generate_run *run, generate_sample *s)
{
    size_t n = (size_t)run->args->opts.context.n_ctx + 1;
    if (!run->args->token_stats) {
        return CLI_OK;
    }
    s->token_ms = calloc(n, sizeof *s->token_ms);
    s->token_logprob = calloc(n, sizeof *s->token_logprob);
    if (!s->token_ms || !s->token_logprob) {
        cli_say("out of memory for what %zu tokens took", n);
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

void generate_tokens_close(generate_sample *s)
{
    free(s->token_ms);
    free(s->token_logprob);
}

void generate_tokens_add(generate_run *run, generate_sample *s, int32_t id, double seconds)
{
    int32_t top;
    if (run->args->token_stats) {
        double start = cli_now();
        const float *logits = kvass_seq_logits(s->seq);
        s->token_ms[s->out.n] = seconds * 1e3;
        s->token_logprob[s->out.n] =
            (double)logits[id] - eval_log_sum_exp(logits, run->info.n_vocab, &top);
        run->aside_seconds += cli_now() - start;
    }
}

static json_t *reals(const double *values, size_t n, int digits)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++) {
        (void)json_array_append_new(array, cli_json_real(values[i], digits));
    }
    return array;
}

json_t *generate_tokens_document(const generate_run *run, const generate_sample *s)
{
    return json_pack("{s:o, s:o, s:o}", "pieces", cli_json_pieces(run->tok, s->out.data, s->out.n),
                     "token_ms", reals(s->token_ms, s->out.n, 4), "token_logprob",
                     reals(s->token_logprob, s->out.n, 5));
}
