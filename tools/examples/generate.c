/* generate.c - completes a prompt.
 * cc generate.c $(pkg-config --cflags --libs kvass) -o generate && ./generate MODEL TOKENIZER
 * PROMPT
 */
#include <kvass/kvass.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PROMPT = 256, MAX_NEW = 64 };

/* run a call; when it fails, say why and leave */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != KVASS_OK) {                                                                  \
            fprintf(stderr, "%s\n", err.message);                                                  \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

int main(int argc, char **argv)
{
    kvass_error err;
    kvass_model *model;
    kvass_tokenizer *tok;
    kvass_context *ctx;
    kvass_seq *seq;
    kvass_sampler *sampler;
    kvass_stream *stream;
    kvass_model_info info;
    kvass_encode_options with_bos = kvass_encode_options_default();
    kvass_sampler_options sampling = kvass_sampler_options_default();
    int32_t ids[MAX_PROMPT + MAX_NEW], id;
    size_t n, n_bytes;
    const char *bytes;
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL TOKENIZER PROMPT\n", argv[0]);
        return 2;
    }
    TRY(kvass_model_open(&model, argv[1], NULL, &err));
    kvass_model_get_info(model, &info);
    TRY(kvass_tokenizer_open(&tok, argv[2], info.n_vocab, &err));
    TRY(kvass_context_open(&ctx, model, NULL, &err));
    TRY(kvass_seq_open(&seq, ctx, &err));
    kvass_model_get_sampling(model, &sampling); /* as its authors advise */
    TRY(kvass_sampler_open(&sampler, info.n_vocab, &sampling, &err));
    TRY(kvass_stream_open(&stream, tok, false, &err));

    with_bos.add_special = true;
    TRY(kvass_tokenizer_encode(tok, argv[3], strlen(argv[3]), &with_bos, ids, MAX_PROMPT, &n,
                               &err));
    if (n > MAX_PROMPT) {
        fprintf(stderr, "a prompt of %zu tokens is too long\n", n);
        return 1;
    }
    TRY(kvass_prefill(seq, ids, (int32_t)n, &err));
    for (size_t i = 0; i < n + MAX_NEW; i++) { /* the prompt's text, then new text */
        if (i >= n) {
            TRY(kvass_sampler_pick(sampler, kvass_seq_logits(seq), ids, (int32_t)i, &id, &err));
            TRY(kvass_decode(seq, id, &err));
            ids[i] = id;
        }
        TRY(kvass_stream_put(stream, ids[i], &bytes, &n_bytes, &err));
        fwrite(bytes, 1, n_bytes, stdout);
    }
    printf("\n");

    kvass_stream_close(&stream);
    kvass_sampler_close(&sampler);
    kvass_context_close(&ctx); /* and its sequences */
    kvass_tokenizer_close(&tok);
    kvass_model_close(&model);
    return 0;
}
