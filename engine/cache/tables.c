/* tables.c - from public enums and policies to the cache's tables; a new choice is one line here.
 */
#include "engine/cache/kv.h"

const kv_retain_ops *kv_retain_of(const kv_policy *policy)
{
    return policy->window > 0 ? &kv_retain_window : &kv_retain_full;
}

const kv_store_ops *kv_store_get(kvass_store store)
{
    switch (store) {
    case KVASS_STORE_F32:
        return &kv_store_f32;
    case KVASS_STORE_F16:
        return &kv_store_f16;
    case KVASS_STORE_Q8:
        return &kv_store_q8;
    case KVASS_STORE_Q4:
        return &kv_store_q4;
    }
    return NULL;
}

const char *kvass_store_name(kvass_store store)
{
    const kv_store_ops *ops = kv_store_get(store);
    return ops ? ops->name : "?";
}

const kv_select_ops *kv_select_get(kvass_select select)
{
    switch (select) {
    case KVASS_SELECT_ALL:
        return &kv_select_all;
    case KVASS_SELECT_TOPK:
        return &kv_select_topk;
    }
    return NULL;
}
