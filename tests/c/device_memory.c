/* Frames and latents in a CUDA device's memory, through the C API: what comes of them is what comes of the CPU's, bit for bit, and
 * pointers to other memory are refused.
 *
 *     device_memory [stub]
 *
 * Needs a CUDA device. With stub, one that computes nothing: then only what calls return is compared. */
#define _GNU_SOURCE /* RTLD_DEFAULT */

#include "check.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

enum { WIDTH = 60, HEIGHT = 44, PIXELS = WIDTH * HEIGHT, FRAMES = 9, LATENTS = 3, TO_DEVICE = 1, TO_HOST = 2 };

static int stub;
static unsigned char pictures[FRAMES][4 * PIXELS];
static wfvae_model *model;
static size_t latent_size;

/* The CUDA runtime that the first model has loaded. */
static struct {
    int (*malloc)(void **at, size_t size);
    int (*copy)(void *to, const void *from, size_t size, int kind);
    int (*free)(void *at);
} cuda;

static void *function(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);

    must(found != NULL, name);
    return found;
}

static void load_cuda(void)
{
    *(void **)&cuda.malloc = function("cudaMalloc");
    *(void **)&cuda.copy = function("cudaMemcpy");
    *(void **)&cuda.free = function("cudaFree");
}

static void *device_memory(size_t size)
{
    void *at = NULL;

    must(cuda.malloc(&at, size) == 0, "cudaMalloc");
    return at;
}

static wfvae_stream *create(uint32_t frame_memory, uint32_t latent_memory, uint32_t latent_type)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_stream *stream = NULL;

    options.struct_size = sizeof options;
    options.width = WIDTH;
    options.height = HEIGHT;
    options.padding = 1;
    options.latent_type = latent_type;
    options.posterior = WFVAE_POSTERIOR_SAMPLE;
    options.seed = 7;
    options.frame_memory = frame_memory;
    options.latent_memory = latent_memory;
    must(wfvae_create(model, &options, &stream) == WFVAE_STATUS_OK, "create");
    info.struct_size = sizeof info;
    must(wfvae_get_info(stream, &info) == WFVAE_STATUS_OK, "info");
    latent_size = (size_t)info.latent_size;
    return stream;
}

static void describe(wfvae_frame *frame, void *pixels)
{
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->format = WFVAE_PIXEL_FORMAT_RGBA8;
    frame->width = WIDTH;
    frame->height = HEIGHT;
    frame->planes[0] = pixels;
    frame->strides[0] = 4 * WIDTH;
}

/* The clip through one stream. Its latents and frames come to the CPU's memory. */
static void run(wfvae_stream *stream, int on_device, unsigned char *latents, unsigned char (*decoded)[4 * PIXELS])
{
    wfvae_frame in[FRAMES], out[FRAMES];
    void *there[2 * FRAMES], *latents_there = on_device ? device_memory(LATENTS * latent_size) : latents;
    size_t count = 0, more = 0, i;

    for (i = 0; i < FRAMES; i++) {
        describe(&in[i], pictures[i]);
        describe(&out[i], decoded[i]);
        if (!on_device)
            continue;
        there[i] = in[i].planes[0] = device_memory(sizeof pictures[i]);
        there[FRAMES + i] = out[i].planes[0] = device_memory(sizeof decoded[i]);
        must(cuda.copy(there[i], pictures[i], sizeof pictures[i], TO_DEVICE) == 0, "cudaMemcpy");
    }
    must(wfvae_encode_chunk(stream, in, 1, latents_there, 1, &count) == WFVAE_STATUS_OK && count == 1, "encode");
    must(wfvae_encode_chunk(stream, in + 1, FRAMES - 1, (char *)latents_there + latent_size, 2, &count) ==
                 WFVAE_STATUS_OK && count == 2, "encode the rest");
    must(wfvae_encode_flush(stream, NULL, 0, &count) == WFVAE_STATUS_OK && count == 0, "flush");
    if (on_device)
        must(cuda.copy(latents, latents_there, LATENTS * latent_size, TO_HOST) == 0, "cudaMemcpy");
    if (stub) {
        memset(latents, 0, LATENTS * latent_size);
        if (on_device)
            must(cuda.copy(latents_there, latents, LATENTS * latent_size, TO_DEVICE) == 0, "cudaMemcpy");
    }
    must(wfvae_decode_chunk(stream, latents_there, LATENTS, out, FRAMES, &count) == WFVAE_STATUS_OK, "decode");
    must(wfvae_decode_flush(stream, out + count, FRAMES - count, &more) == WFVAE_STATUS_OK, "flush");
    must(count + more == FRAMES, "all frames");
    for (i = 0; on_device && i < FRAMES; i++) {
        must(cuda.copy(decoded[i], there[FRAMES + i], sizeof decoded[i], TO_HOST) == 0, "cudaMemcpy");
        must(cuda.free(there[i]) == 0 && cuda.free(there[FRAMES + i]) == 0, "cudaFree");
    }
    if (on_device)
        must(cuda.free(latents_there) == 0, "cudaFree");
}

static void test_values(void)
{
    static const uint32_t types[] = {WFVAE_LATENT_TYPE_F32, WFVAE_LATENT_TYPE_F16};
    static const char *const names[] = {"float32 latents and frames", "float16 latents and frames"};
    static unsigned char found[2][FRAMES][4 * PIXELS];
    size_t i;

    for (i = 0; i < 2; i++) {
        wfvae_stream *cpu = create(WFVAE_MEMORY_KIND_CPU, WFVAE_MEMORY_KIND_CPU, types[i]);
        wfvae_stream *device = create(WFVAE_MEMORY_KIND_CUDA, WFVAE_MEMORY_KIND_CUDA, types[i]);
        unsigned char *latents[2] = {calloc(LATENTS, latent_size), calloc(LATENTS, latent_size)};

        must(latents[0] && latents[1], "memory");
        run(cpu, 0, latents[0], found[0]);
        run(device, 1, latents[1], found[1]);
        result(names[i], stub || (!memcmp(latents[0], latents[1], LATENTS * latent_size) &&
                                  !memcmp(found[0], found[1], sizeof found[0])));
        free(latents[0]);
        free(latents[1]);
        wfvae_destroy(cpu);
        wfvae_destroy(device);
    }
}

/* Each is refused, and the stream goes on. */
static void refused(const char *name, wfvae_status found, wfvae_status expected, const char *text)
{
    const int ok = found == expected && strstr(wfvae_last_error(NULL), text);

    if (!ok)
        printf("%s: found %d \"%s\"\n", name, (int)found, found ? wfvae_last_error(NULL) : "");
    result(name, ok);
}

static void test_errors(void)
{
    wfvae_stream *stream = create(WFVAE_MEMORY_KIND_CUDA, WFVAE_MEMORY_KIND_CUDA, WFVAE_LATENT_TYPE_F32);
    unsigned char *frame_there = device_memory(4 * PIXELS), *latents_there = device_memory(2 * latent_size);
    float *latents = calloc(2, latent_size);
    wfvae_frame frame;
    size_t count = 5;
    const wfvae_status invalid = WFVAE_STATUS_INVALID_ARGUMENT;

    must(latents != NULL, "memory");
    must(cuda.copy(frame_there, pictures[0], 4 * PIXELS, TO_DEVICE) == 0, "cudaMemcpy");
    describe(&frame, pictures[0]);
    refused("a frame of the CPU", wfvae_encode_chunk(stream, &frame, 1, latents_there, 1, &count), invalid,
            "is not memory of a CUDA device");
    describe(&frame, NULL);
    refused("no frame", wfvae_encode_chunk(stream, &frame, 1, latents_there, 1, &count), invalid, "plane 0 is NULL");
    describe(&frame, frame_there);
    refused("latents of the CPU", wfvae_encode_chunk(stream, &frame, 1, latents, 1, &count), invalid,
            "latents: 0x");
    refused("no latents", wfvae_encode_chunk(stream, &frame, 1, NULL, 1, &count), invalid, "latents is");
    refused("latents that are not aligned", wfvae_encode_chunk(stream, &frame, 1, latents_there + 2, 1, &count), invalid,
            "aligned to 4 bytes");
    refused("no room", wfvae_encode_chunk(stream, &frame, 1, latents_there, 0, &count), WFVAE_STATUS_CAPACITY, "room for 0");
    result("after all of these", wfvae_encode_chunk(stream, &frame, 1, latents_there, 1, &count) == WFVAE_STATUS_OK &&
                                         count == 1);
    if (stub)
        must(cuda.copy(latents_there, latents, latent_size, TO_DEVICE) == 0, "cudaMemcpy");
    refused("latents of the CPU, to decode", wfvae_decode_chunk(stream, latents, 1, &frame, 1, &count), invalid,
            "latents: 0x");
    describe(&frame, pictures[1]);
    refused("a frame of the CPU, to decode", wfvae_decode_chunk(stream, latents_there, 1, &frame, 1, &count), invalid,
            "frame 0: 0x");
    describe(&frame, frame_there);
    result("after these", wfvae_decode_chunk(stream, latents_there, 1, &frame, 1, &count) == WFVAE_STATUS_OK && count == 1);
    wfvae_destroy(stream);
    must(cuda.free(frame_there) == 0 && cuda.free(latents_there) == 0, "cudaFree");
    free(latents);
}

int main(int count, char **arguments)
{
    wfvae_model_options options = {0};
    size_t i, n;

    stub = count > 1 && !strcmp(arguments[1], "stub");
    for (n = 0; n < FRAMES; n++)
        for (i = 0; i < sizeof pictures[n]; i++)
            pictures[n][i] = (unsigned char)((i * 7 + i / WIDTH * 13 + n * 29) % 251);
    options.struct_size = sizeof options;
    options.provider = WFVAE_PROVIDER_CUDA;
    options.encode_precision = options.decode_precision = WFVAE_PRECISION_F16;
    must(wfvae_model_open(NULL, &options, &model) == WFVAE_STATUS_OK, "the built-in model");
    load_cuda();
    test_values();
    test_errors();
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
