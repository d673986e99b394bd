/* budget.h - see budget.c. */
#ifndef KVASS_ENGINE_BUDGET_H
#define KVASS_ENGINE_BUDGET_H

#include "engine/context.h"

/* BUDGET (KV_PAGES): so many positions more do not fit; the message says what would. */
kvass_status kvass_budget_fail_pages(const kvass_context *ctx, int64_t n_positions,
                                     kvass_error *err);

#endif
