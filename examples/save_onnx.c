/* Writes the ONNX graphs that the library makes of a checkpoint, for viewers and other runtimes.
 *
 *     save_onnx [--clip] FOLDER [MODEL]
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    wfvae_model *model;
    wfvae_graphs graphs = WFVAE_GRAPHS_STEPS;
    int failed;

    if (argc > 1 && !strcmp(argv[1], "--clip")) {
        graphs = WFVAE_GRAPHS_CLIP;
        argc--;
        argv++;
    }
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: save_onnx [--clip] FOLDER [MODEL]\n"
                        "FOLDER must exist; without MODEL, the built-in one is saved.\n"
                        "--clip: the whole clip in one graph, not the steps that the library runs.\n");
        return 2;
    }
    failed = wfvae_model_open(argc > 2 ? argv[2] : NULL, NULL, &model) != WFVAE_STATUS_OK ||
             wfvae_model_save_onnx(model, argv[1], graphs) != WFVAE_STATUS_OK;
    if (failed)
        fprintf(stderr, "save_onnx: %s\n", wfvae_last_error(NULL));
    wfvae_model_close(model);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
