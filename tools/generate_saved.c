/* generate_saved.c - `--prompt-cache FILE`: the prompt's rows from an earlier run, and for a later
 * one. A file of another model or cache is refused, for to compute silently what the user believes
 * restored would be to deceive.
 */
#include "tools/generate.h"

#include <errno.h>
#include <unistd.h>

/* how many leading tokens the sequence and the prompt (pinned ones included) have in common */
static int32_t n_common(const generate_run *run, const kvass_seq *seq)
{
    const int32_t *saved = kvass_seq_tokens(seq);
    int32_t n_pinned = (int32_t)run->pinned.n, n = n_pinned; /* the library compared those */
    int32_t n_total = n_pinned + (int32_t)run->prompt->ids.n;
    while (n < n_total && n < kvass_seq_n_tokens(seq) &&
           saved[n] == run->prompt->ids.data[n - n_pinned]) {
        n++;
    }
    return n;
}

int generate_restore(generate_run *run, int32_t *n_have)
{
    kvass_error err;
    kvass_seq *seq = run->samples[0].seq;
    const char *path = run->args->prompt_cache;
    int32_t n_saved, n_total = (int32_t)(run->pinned.n + run->prompt->ids.n);
    run->n_restored = -1;
    run->is_saved = false;
    *n_have = (int32_t)run->pinned.n;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return CLI_OK;
    }
    if (kvass_seq_load(seq, path, &n_saved, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    int32_t n_kept = n_common(run, seq);
    if (n_kept == n_total && (n_saved > n_total || !kvass_seq_logits(seq))) {
        n_kept--; /* the last token is run again for what comes after it */
    }
    if (n_kept < n_saved && n_kept < kvass_seq_can_truncate(seq)) {
        if (!run->args->opts.quiet) {
            cli_say("prompt cache: %d of its %d tokens agree with the prompt, but this cache can "
                    "be cut back to %d at least: starting anew",
                    (int)n_kept, (int)n_saved, (int)kvass_seq_can_truncate(seq));
        }
        kvass_seq_reset(seq);
        n_kept = (int32_t)run->pinned.n;
    } else if (n_kept < n_saved && kvass_seq_truncate(seq, n_kept, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    run->is_saved = n_kept == n_saved && n_kept == n_total;
    run->n_restored = n_kept - (int32_t)run->pinned.n;
    *n_have = n_kept;
    return CLI_OK;
}

int generate_save(const generate_run *run)
{
    kvass_error err;
    if (kvass_seq_save(run->samples[0].seq, run->args->prompt_cache, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    return CLI_OK;
}
