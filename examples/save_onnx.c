/* Writes the ONNX graphs that the library makes of a checkpoint, for viewers and other runtimes.
 *
 *     save_onnx FOLDER [MODEL]
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    wfvae_model *model;
    int failed;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: save_onnx FOLDER [MODEL]\nFOLDER must exist; without MODEL, the built-in one is saved.\n");
        return 2;
    }
    failed = wfvae_model_open(argc > 2 ? argv[2] : NULL, NULL, &model) != WFVAE_STATUS_OK ||
             wfvae_model_save_onnx(model, argv[1]) != WFVAE_STATUS_OK;
    if (failed)
        fprintf(stderr, "save_onnx: %s\n", wfvae_last_error(NULL));
    wfvae_model_close(model);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
