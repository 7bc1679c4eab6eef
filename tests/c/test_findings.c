/* What the fuzz targets in C found, once more: each file of fuzz/findings/calls and fuzz/findings/y4m. After these, random calls for
 * seconds, which also keeps that target in order where there is no libFuzzer. From the root of the sources:
 *
 *     PROGRAM [NUMBER] [SEED]      NUMBER of random inputs, and with which they begin */
#define _POSIX_C_SOURCE 200809L

#define LLVMFuzzerTestOneInput calls_input
#include "../../fuzz/calls.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput y4m_input
#include "../../fuzz/y4m.c"
#undef LLVMFuzzerTestOneInput

#include "check.h"

#include <dirent.h>

enum { LARGEST = 1 << 16 };

static void run_findings(const char *target, int (*input)(const uint8_t *, size_t))
{
    static uint8_t bytes[LARGEST];
    char folder_of[200], path[600];
    DIR *files;
    struct dirent *entry;

    snprintf(folder_of, sizeof folder_of, "fuzz/findings/%s", target);
    if (!(files = opendir(folder_of)))
        return;
    while ((entry = readdir(files))) {
        FILE *file;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder_of, entry->d_name);
        must((file = fopen(path, "rb")) != NULL, path);
        const size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        /* A failure ends the program; this says where. */
        printf("%s\n", path);
        fflush(stdout);
        input(bytes, size);
        result(path, 1);
    }
    closedir(files);
}

/* Half of the choices are the usual ones, so that most calls succeed. The first call makes a stream. */
static void run_random(unsigned count, uint64_t seed)
{
    uint8_t bytes[MOST_CALLS * BYTES];

    for (unsigned i = 0; i < count; i++, seed++) {
        uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
        for (size_t k = 0; k < sizeof bytes; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            bytes[k] = k % BYTES == 0 || state >> 40 & 1 ? (uint8_t)(state >> 56) : 0;
        }
        bytes[0] = 0;
        calls_input(bytes, sizeof bytes);
    }
    printf("random inputs up to seed %llu\n", (unsigned long long)seed);
    result("random calls", 1);
}

int main(int argc, char **argv)
{
    run_findings("calls", calls_input);
    run_findings("y4m", y4m_input);
    run_random(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 200, argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    for (int i = 0; i < MODELS; i++)
        wfvae_model_close(models[i].handle);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
