/* Writes the ONNX graphs that the library builds from a checkpoint, for viewers and other runtimes.
 *
 *     save_onnx [options] FOLDER
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#ifndef PROGRAM /* its installed name is another */
#define PROGRAM "save_onnx"
#endif

#include <wfvae.h>

#include "files.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: " PROGRAM " [options] FOLDER\n"
    "Writes a model's graphs, in standard ONNX operators, to FOLDER. It must exist and must not be the model's own.\n"
    MODEL_USAGE
    "  -w          one graph of the whole clip for each direction, not the steps that the library runs\n";

int main(int argc, char **argv)
{
    model_choice choice = {0};
    wfvae_model *model = NULL;
    wfvae_graphs graphs = WFVAE_GRAPHS_STEPS;
    int letter, help = 0, failed = 0;

    system_start(&argc, &argv);
    while (!help && (letter = getopt(argc, argv, MODEL_LETTERS "w")) != -1) {
        help = letter == 'h';
        if (letter == 'w')
            graphs = WFVAE_GRAPHS_CLIP;
        else if (!help && model_option(letter, optarg, &choice) <= 0)
            return fail_usage(usage, letter, optarg);
    }
    if (help)
        fputs(usage, stdout);
    else if (argc - optind != 1)
        return fail_usage(usage, -1, NULL);
    else if (open_model(&choice, &model))
        failed = fail_wfvae("model");
    else if (wfvae_model_save_onnx(model, argv[optind], graphs))
        failed = fail_wfvae("graphs");
    wfvae_model_close(model);
    if (close_output(stdout) && !failed)
        failed = fail_system("standard output");
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
