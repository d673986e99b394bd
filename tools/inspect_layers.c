/* inspect_layers.c - which layers see how much, and whose keys and values they read: as runs of
 * layers for people, layer by layer in JSON.
 */
#include "tools/inspect.h"

/* ", 0-3 and 5" for the layers that have `value`, which `of` tells */
static void print_runs(const kvass_model *model, int32_t n_layers, int32_t window)
{
    bool first = true;
    for (int32_t l = 0; l < n_layers; l++) {
        kvass_layer_info at, next;
        if (kvass_model_get_layer(model, l, &at, NULL) != KVASS_OK || at.window != window) {
            continue;
        }
        int32_t end = l;
        while (end + 1 < n_layers &&
               kvass_model_get_layer(model, end + 1, &next, NULL) == KVASS_OK &&
               next.window == window) {
            end++;
        }
        (void)printf(end > l ? "%s%d-%d" : "%s%d", first ? " " : ",", (int)l, (int)end);
        first = false;
        l = end;
    }
}

static void print_windows(const kvass_model *model, int32_t n_layers)
{
    kvass_layer_info at, earlier;
    int32_t n_kinds = 0;
    (void)printf("attention  ");
    for (int32_t l = 0; l < n_layers; l++) {
        bool seen = kvass_model_get_layer(model, l, &at, NULL) != KVASS_OK;
        for (int32_t k = 0; k < l && !seen; k++) {
            seen = kvass_model_get_layer(model, k, &earlier, NULL) == KVASS_OK &&
                   earlier.window == at.window;
        }
        if (seen) {
            continue;
        }
        (void)printf("%s", n_kinds++ > 0 ? "; " : " ");
        if (at.window > 0) {
            (void)printf("the newest %d tokens in layers", (int)at.window);
        } else {
            (void)printf("all tokens in layers");
        }
        print_runs(model, n_layers, at.window);
    }
    (void)printf("\n");
}

static void print_owners(const kvass_model *model, int32_t n_layers)
{
    int32_t n = 0;
    for (int32_t l = 0; l < n_layers; l++) {
        kvass_layer_info at;
        if (kvass_model_get_layer(model, l, &at, NULL) == KVASS_OK && at.owner != l) {
            (void)printf(n++ > 0 ? ", %d of %d" : "sharing     layer %d reads keys of %d", (int)l,
                         (int)at.owner);
        }
    }
    if (n > 0) {
        (void)printf("\n");
    }
}

void inspect_print_layers(const kvass_model *model, int32_t n_layers)
{
    print_windows(model, n_layers);
    print_owners(model, n_layers);
}

json_t *inspect_json_layers(const kvass_model *model, int32_t n_layers)
{
    json_t *list = json_array();
    for (int32_t l = 0; list && l < n_layers; l++) {
        kvass_layer_info at;
        if (kvass_model_get_layer(model, l, &at, NULL) == KVASS_OK) {
            (void)json_array_append_new(
                list, json_pack("{s:i, s:i}", "window", (int)at.window, "owner", (int)at.owner));
        }
    }
    return list;
}
