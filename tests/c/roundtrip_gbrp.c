/* Raw planar G, B, R frames from standard input, through a model (the built-in one) and back, to standard output.
 *
 *     roundtrip_gbrp WIDTH HEIGHT [MODEL]
 *
 * What the FFmpeg filter is compared with. */
#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_FRAMES 8

static wfvae_frame describe(unsigned char *memory, uint32_t width, uint32_t height)
{
    wfvae_frame frame;
    size_t plane = (size_t)width * height;
    int i;

    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_GBRP8;
    frame.width = width;
    frame.height = height;
    for (i = 0; i < 3; i++) {
        frame.planes[i] = memory + (size_t)i * plane;
        frame.strides[i] = (ptrdiff_t)width;
    }
    return frame;
}

int main(int argc, char **argv)
{
    uint32_t width = argc >= 3 ? (uint32_t)atoi(argv[1]) : 0, height = argc >= 3 ? (uint32_t)atoi(argv[2]) : 0;
    const char *path = argc == 4 ? argv[3] : NULL;
    size_t size = (size_t)3 * width * height, latents, frames, i;
    unsigned char *memory = malloc(size * (1 + MOST_FRAMES));
    wfvae_model *model = NULL;
    wfvae_stream *stream = NULL;
    wfvae_options options;
    wfvae_info info;
    wfvae_frame in, out[MOST_FRAMES];
    void *latent = NULL;
    int status = 0;

    memset(&options, 0, sizeof options);
    memset(&info, 0, sizeof info);
    options.struct_size = sizeof options;
    options.width = width;
    options.height = height;
    options.padding = 1;
    info.struct_size = sizeof info;
    if (!memory || wfvae_model_open(path, NULL, &model) || wfvae_create(model, &options, &stream) ||
        wfvae_get_info(stream, &info) || !(latent = malloc(info.encoded_size))) {
        fprintf(stderr, "%s\n", wfvae_last_error(NULL));
        return EXIT_FAILURE;
    }
    in = describe(memory, width, height);
    for (i = 0; i < MOST_FRAMES; i++)
        out[i] = describe(memory + (1 + i) * size, width, height);

    while (!status && fread(memory, size, 1, stdin) == 1) {
        status = wfvae_encode_chunk(stream, &in, 1, latent, 1, &latents);
        if (!status && latents)
            status = wfvae_decode_chunk(stream, latent, 1, out, MOST_FRAMES, &frames);
        if (!status && latents)
            fwrite(memory + size, size, frames, stdout);
    }
    if (!status && !(status = wfvae_get_info(stream, &info)) &&
        !(status = wfvae_set_frame_count(stream, info.frames_in)) &&
        !(status = wfvae_encode_flush(stream, latent, 1, &latents)) && latents &&
        !(status = wfvae_decode_chunk(stream, latent, 1, out, MOST_FRAMES, &frames)))
        fwrite(memory + size, size, frames, stdout);
    if (!status && !(status = wfvae_decode_flush(stream, out, MOST_FRAMES, &frames)))
        fwrite(memory + size, size, frames, stdout);
    if (status)
        fprintf(stderr, "%s\n", wfvae_last_error(stream));
    free(latent);
    free(memory);
    wfvae_destroy(stream);
    wfvae_model_close(model);
    return status ? EXIT_FAILURE : EXIT_SUCCESS;
}
