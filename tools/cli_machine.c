/* cli_machine.c - what a measurement was made on, for those who compare measurements.
 */
#include "tools/cli.h"

#include <stdlib.h>
#include <string.h>

void cli_cpu_name(char *name, size_t n)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    (void)snprintf(name, n, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(name, n, "%s", colon[1] == ' ' ? colon + 2 : colon + 1);
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
}

double cli_load_average(void)
{
    double load;
    return getloadavg(&load, 1) == 1 ? load : -1;
}

const char *cli_main_dtype(const kvass_model *model)
{
    kvass_model_info info;
    size_t n_bytes[KVASS_N_DTYPES + 1] = {0};
    int most = 0;
    kvass_model_get_info(model, &info);
    for (int32_t i = 0; i < info.n_tensors; i++) {
        kvass_tensor_info tensor;
        if (kvass_model_get_tensor(model, i, &tensor, NULL) == KVASS_OK) {
            n_bytes[tensor.dtype] += tensor.n_bytes;
        }
    }
    for (int d = 1; d < KVASS_N_DTYPES; d++) {
        most = n_bytes[d] > n_bytes[most] ? d : most;
    }
    return kvass_dtype_name((kvass_dtype)most);
}
