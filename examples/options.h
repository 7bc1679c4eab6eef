/* The options that the programs share: which model, and where and how it runs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <wfvae.h>

#include "messages.h"

#include <stdlib.h>
#include <string.h>

/* "+": options come before names of files, as POSIX has it, on every system. */
#define MODEL_LETTERS "+m:t:P:F:C:L:O:Nh"
#define MODEL_USAGE \
    "  -m MODEL    checkpoint folder or .safetensors file (default: the model built into the library)\n" \
    "  -t THREADS  threads (default: one for each CPU)\n" \
    "  -P auto|cpu|cuda[:DEVICE]  where the network runs (default auto: CUDA device 0 if it can be used)\n" \
    "  -F f32|tf32|f16|bf16  type in which the network computes (default f32)\n" \
    "  -C exact|fast|direct|stacked|volume  how convolutions are computed (default exact)\n" \
    "  -L auto|planes|channels-last  memory layout of frames where convolutions are ONNX Runtime's (default auto)\n" \
    "  -O NAME=VALUE,...  options of ONNX Runtime's CUDA provider\n" \
    "  -N          refuse a checkpoint whose weights hold a NaN or an infinity; reads all of them first\n" \
    "  -h          print this\n"

typedef struct model_choice {
    const char *path;
    wfvae_model_options options;
} model_choice;

/* A number from 1 to max; 0 for anything else. */
static inline size_t number(const char *text, unsigned long max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0 && value <= max ? value : 0;
}

/* The index of a name in a list that ends with NULL, or -1. */
static inline int find_name(const char *name, const char *const *list)
{
    int i;
    for (i = 0; list[i]; i++)
        if (!strcmp(name, list[i]))
            return i;
    return -1;
}

/* Takes a letter and its text from getopt. Returns 1 if it was used, 0 if it is not one of these options, -1 if the text is
 * wrong. */
static inline int model_option(int letter, const char *text, model_choice *choice)
{
    /* In the order of the header's enumerations. */
    static const char *const providers[] = {"auto", "cpu", "cuda", NULL};
    static const char *const precisions[] = {"f32", "tf32", "f16", "bf16", NULL};
    static const char *const convolutions[] = {"exact", "fast", "direct", "stacked", "volume", NULL};
    static const char *const layouts[] = {"auto", "planes", "channels-last", NULL};
    wfvae_model_options *options = &choice->options;
    int found;

    switch (letter) {
    case 'm':
        choice->path = text;
        return 1;
    case 't':
        options->n_threads = (uint32_t)number(text, 1024);
        return options->n_threads ? 1 : -1;
    case 'P':
        if (!strncmp(text, "cuda:", 5)) {
            options->provider = WFVAE_PROVIDER_CUDA;
            options->device = (uint32_t)number(text + 5, 255);
            return options->device || !strcmp(text + 5, "0") ? 1 : -1;
        }
        found = find_name(text, providers);
        options->device = 0;
        options->provider = (uint32_t)found;
        break;
    case 'F':
        found = find_name(text, precisions);
        options->encode_precision = options->decode_precision = (uint32_t)found;
        break;
    case 'L':
        found = find_name(text, layouts);
        options->layout = (uint32_t)found;
        break;
    case 'O':
        options->provider_options = text;
        return 1;
    case 'N':
        options->check_finite = 1;
        return 1;
    case 'C':
        found = find_name(text, convolutions);
        options->convolution = (uint32_t)found;
        break;
    default:
        return 0;
    }
    return found < 0 ? -1 : 1;
}

/* Only warnings: a call that fails returns its error's text itself. */
static inline void print_warning(void *user, uint32_t level, const char *text)
{
    (void)user;
    if (level == WFVAE_LOG_LEVEL_WARN)
        warn(text);
}

static inline wfvae_status open_model(model_choice *choice, wfvae_model **model)
{
    choice->options.struct_size = sizeof choice->options;
    choice->options.log_callback = print_warning;
    choice->options.log_level = WFVAE_LOG_LEVEL_WARN;
    return wfvae_model_open(choice->path, &choice->options, model);
}

#endif
