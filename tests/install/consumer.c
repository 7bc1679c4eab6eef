/* A program as a user of the installed library writes it: opens the built-in model and says what it runs on. */
#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    wfvae_model *model;
    wfvae_model_info info = {0};

    info.struct_size = sizeof info;
    if (wfvae_model_open(NULL, NULL, &model) || wfvae_model_get_info(model, &info)) {
        fprintf(stderr, "consumer: %s\n", wfvae_last_error(NULL));
        return EXIT_FAILURE;
    }
    printf("libwfvae %s: %s, %u latent channels, %ux%ux%u\n", wfvae_version(), info.name, (unsigned)info.latent_channels,
           (unsigned)info.temporal_compression, (unsigned)info.spatial_compression, (unsigned)info.spatial_compression);
    printf("runtime %s: %s\n", info.runtime_version, info.runtime_path);
    wfvae_model_close(model);
    return EXIT_SUCCESS;
}
