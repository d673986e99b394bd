/* save.h - rows of a sequence to a file and back; see save.c.
 * n_shared: leading pages that every sequence of the pool has anyway (its prefix); they are not in
 * the file.
 */
#ifndef KVASS_CACHE_SAVE_H
#define KVASS_CACHE_SAVE_H

#include "engine/base/stream_file.h"
#include "engine/cache/kv.h"

/* Bytes that kv_seq_save writes for a sequence of n_rows rows. */
uint64_t kv_saved_bytes(const kv_pool *pool, int32_t n_shared, int32_t n_rows);
kvass_status kv_seq_save(kv_pool *pool, const kv_seq *seq, int32_t n_shared,
                         kvass_out_file *out, kvass_error *err);
/* Whether n_rows rows from a file would find pages, once what seq holds has come home. */
bool kv_seq_can_load(const kv_pool *pool, const kv_seq *seq, int32_t n_shared, int32_t n_rows);
/* seq, which holds no more than the prefix, gets n_rows rows out of the file; kv_seq_can_load said
 * that there are pages. After a failure it has the rows, but their bytes mean nothing. */
kvass_status kv_seq_load(kv_pool *pool, kv_seq *seq, int32_t n_shared, int32_t n_rows,
                         kvass_in_file *in, kvass_error *err);

#endif
