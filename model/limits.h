/* limits.h - how large a network may claim to be.
 * Every number that a file states is held against these before anything is computed from it, so
 * that products of any three of them fit 64 bits and a small file cannot ask for much memory.
 */
#ifndef KVASS_MODEL_LIMITS_H
#define KVASS_MODEL_LIMITS_H

enum {
    KVASS_MAX_LAYERS = 1024,
    KVASS_MAX_DIM = 65536, /* also of q_dim and of n_heads */
    KVASS_MAX_FFN = 1 << 20,
    KVASS_MAX_VOCAB = 1 << 21,
    KVASS_MAX_CTX = 1 << 24,
    KVASS_MAX_TENSORS = 1000000,
    KVASS_MAX_SHARDS = 512, /* each is an open file */
    KVASS_MAX_WARNINGS = 64
};

#endif
