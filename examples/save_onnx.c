/* Writes the ONNX graphs that the library makes of a checkpoint, for viewers and other runtimes.
 *
 *     save_onnx [options] FOLDER
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include <wfvae.h>

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: save_onnx [options] FOLDER\n"
    "Writes a model's graphs to FOLDER, which must exist, in operators that every runtime knows.\n"
    MODEL_USAGE
    "  -w          the whole clip in one graph for each direction, not the steps that the library runs\n";

int main(int argc, char **argv)
{
    model_choice choice = {0};
    wfvae_model *model;
    wfvae_graphs graphs = WFVAE_GRAPHS_STEPS;
    int letter, taken, failed;

    while ((letter = getopt(argc, argv, MODEL_LETTERS "wh")) != -1) {
        taken = model_option(letter, optarg, &choice);
        if (letter == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (letter == 'w')
            graphs = WFVAE_GRAPHS_CLIP;
        else if (taken <= 0)
            break;
    }
    if (letter != -1 || argc - optind != 1) {
        fputs(usage, stderr);
        return 2;
    }
    failed = open_model(&choice, &model) || wfvae_model_save_onnx(model, argv[optind], graphs);
    if (failed)
        fprintf(stderr, "save_onnx: %s\n", wfvae_last_error(NULL));
    wfvae_model_close(model);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
