/* select_all.c - a decode row reads every retained page it may see. */
#include "engine/cache/kv.h"

static int32_t pick(const kv_pool *pool, const kv_seq *seq, int32_t owner, const kv_query *query,
                    kv_pick_scratch *scratch, kv_span *out)
{
    (void)scratch;
    return kv_seq_spans(pool, seq, owner, query->view, out);
}

const kv_select_ops kv_select_all = {.name = "all", .pick = pick};
