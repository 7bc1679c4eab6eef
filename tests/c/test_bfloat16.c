/* Tests what becomes of precision bf16 on this machine's CPU: where it has a matrix unit, a clip goes through the network;
 * elsewhere making a stream fails and says why.
 *
 *     test_bfloat16 GOLDEN
 *
 * GOLDEN holds models of the golden cases. WFVAE_CPU takes the unit away. Prints "ok <name>" lines; ends with 1 on failure. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "os.h"

#include <stdint.h>
#include <string.h>

enum { SIDE = 16, FRAMES = 5, VALUES = 3 * SIDE * SIDE, MOST_LATENTS = 4096 };

static const char *golden;

static wfvae_status open_model(const char *name, wfvae_model_options *options, wfvae_model **model)
{
    char path[1200];

    options->struct_size = sizeof *options;
    options->provider = WFVAE_PROVIDER_CPU;
    snprintf(path, sizeof path, "%s/%s", golden, name);
    *model = NULL;
    return wfvae_model_open(path, options, model);
}

static void refused(const char *name, const char *model_name, wfvae_model_options options, wfvae_status expected,
                    const char *text)
{
    wfvae_model *model;
    wfvae_stream *stream = NULL;
    wfvae_options size = {0};
    const wfvae_status opened = open_model(model_name, &options, &model);
    wfvae_status found;
    const char *error;
    int ok;

    /* A model whose graphs can be saved is opened. */
    size.struct_size = sizeof size;
    size.width = size.height = SIDE;
    found = opened ? opened : wfvae_create(model, &size, &stream);
    error = wfvae_last_error(NULL);
    ok = found == expected && !stream && strstr(error, text);

    if (!ok)
        printf("%s: found %d \"%s\", expected %d \"%s\"\n", name, (int)found, error, (int)expected, text);
    result(name, ok);
    wfvae_model_close(model);
}

/* A clip there and back, in calls of `portion` frames or latents. */
static void round_trip(wfvae_model *model, size_t portion, float *latents, unsigned char *out)
{
    static unsigned char in[FRAMES][VALUES];
    wfvae_frame frames[FRAMES], decoded[FRAMES];
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_stream *stream;
    size_t i, count, size, at, done = 0, written = 0;

    for (i = 0; i < sizeof in; i++)
        in[i / VALUES][i % VALUES] = (unsigned char)(i * i % 251);
    memset(frames, 0, sizeof frames);
    for (i = 0; i < FRAMES; i++) {
        frames[i].struct_size = sizeof *frames;
        frames[i].format = WFVAE_PIXEL_FORMAT_RGB8;
        frames[i].width = frames[i].height = SIDE;
        frames[i].strides[0] = 3 * SIDE;
        decoded[i] = frames[i];
        frames[i].planes[0] = in[i];
        decoded[i].planes[0] = out + i * VALUES;
    }
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    must(!wfvae_create(model, &options, &stream), "stream");
    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "info");
    size = (size_t)info.latent_channels * info.latent_width * info.latent_height;
    count = (size_t)wfvae_latents_for_frames(model, FRAMES);
    must(count * size <= MOST_LATENTS, "room for the latents");
    for (at = 0; at < FRAMES; at += portion, done += written)
        must(!wfvae_encode_chunk(stream, frames + at, at + portion > FRAMES ? FRAMES - at : portion, latents + done * size,
                                 count - done, &written),
             "encode");
    must(done == count, "all latents");
    for (at = 0, done = 0; at < count; at += portion, done += written)
        must(!wfvae_decode_chunk(stream, latents + at * size, at + portion > count ? count - at : portion, decoded + done,
                                 FRAMES - done, &written),
             "decode");
    must(!wfvae_decode_flush(stream, decoded + done, FRAMES - done, &written) && done + written == FRAMES, "flush");
    wfvae_destroy(stream);
}

static wfvae_memory estimate(wfvae_model *model)
{
    wfvae_options options = {0};
    wfvae_memory memory = {0};

    options.struct_size = sizeof options;
    options.width = options.height = 512;
    memory.struct_size = sizeof memory;
    must(!wfvae_estimate(model, &options, &memory), "estimate");
    return memory;
}

static void test_unit(void)
{
    wfvae_memory all, half;
    static float latents[3][MOST_LATENTS];
    static unsigned char out[3][FRAMES * VALUES];
    wfvae_model_options options = {0};
    wfvae_model_info info = {0};
    wfvae_model *wide, *narrow;
    size_t i, near = 0;

    must(!open_model("v1-tiny", &options, &wide), "float32");
    options.encode_precision = options.decode_precision = WFVAE_PRECISION_BF16;
    must(!open_model("v1-tiny", &options, &narrow), "bfloat16 on the CPU's matrix unit");
    info.struct_size = sizeof info;
    must(!wfvae_model_get_info(narrow, &info), "model info");
    result("info: precisions", info.encode_precision == WFVAE_PRECISION_BF16 && info.decode_precision == WFVAE_PRECISION_BF16);
    all = estimate(wide);
    half = estimate(narrow);
    result("estimate: less for weights and caches",
           half.weight_bytes < all.weight_bytes && half.encode_state_bytes < all.encode_state_bytes &&
               half.decode_state_bytes < all.decode_state_bytes);
    round_trip(wide, FRAMES, latents[0], out[0]);
    round_trip(narrow, FRAMES, latents[1], out[1]);
    round_trip(narrow, 1, latents[2], out[2]);
    result("the same bits in calls of one", !memcmp(latents[1], latents[2], sizeof *latents) && !memcmp(out[1], out[2], sizeof *out));
    result("latents are not those of float32", memcmp(latents[0], latents[1], sizeof *latents));
    for (i = 0; i < sizeof *out; i++)
        near += abs(out[0][i] - out[1][i]) <= 16;
    result("frames are nearly those of float32", near == sizeof *out);
    wfvae_model_close(narrow);

    options.encode_precision = WFVAE_PRECISION_F32;
    must(!open_model("v1-tiny", &options, &narrow), "bfloat16 to decode");
    round_trip(narrow, FRAMES, latents[2], out[2]);
    result("decode_precision: latents are those of float32", !memcmp(latents[0], latents[2], sizeof *latents));
    wfvae_model_close(narrow);
    wfvae_model_close(wide);
}

int main(int argc, char **argv)
{
    wfvae_model_options options = {0};

    if (argc != 2) {
        fprintf(stderr, "usage: test_bfloat16 GOLDEN\n");
        return EXIT_FAILURE;
    }
    golden = argv[1];
    options.decode_precision = WFVAE_PRECISION_BF16;
    if (os_has_matrix_unit()) {
        test_unit();
    } else {
        printf("there is no matrix unit, so bfloat16 is refused\n");
        refused("no matrix unit", "v1-tiny", options, WFVAE_STATUS_PROVIDER, "decode_precision bf16 on the CPU: ");
        refused("no matrix unit, the reason", "v1-tiny", options, WFVAE_STATUS_PROVIDER, os_no_matrix_unit);
        refused("no matrix unit, what to do", "v1-tiny", options, WFVAE_STATUS_PROVIDER, "; take f32");
        options.encode_precision = WFVAE_PRECISION_BF16;
        refused("no matrix unit, both directions", "v1-tiny", options, WFVAE_STATUS_PROVIDER, "encode_precision bf16 on the CPU");
    }
    options.encode_precision = WFVAE_PRECISION_F32;
    refused("whole clips", "own-v2-groupnorm", options, WFVAE_STATUS_INVALID_ARGUMENT, "decode_precision bf16: the model has norm_type");
    options.convolution = WFVAE_CONVOLUTION_DIRECT;
    refused("convolution direct", "v1-tiny", options, WFVAE_STATUS_INVALID_ARGUMENT, "take convolution exact or fast");
    options.convolution = WFVAE_CONVOLUTION_VOLUME;
    refused("convolution volume", "v1-tiny", options, WFVAE_STATUS_INVALID_ARGUMENT, "take convolution exact or fast");
    options.convolution = WFVAE_CONVOLUTION_FAST;
    options.encode_precision = WFVAE_PRECISION_BF16;
    options.layout = WFVAE_LAYOUT_PLANES;
    refused("layout planes", "v1-tiny", options, WFVAE_STATUS_INVALID_ARGUMENT, "its frames are channels-last");
    options.layout = WFVAE_LAYOUT_CHANNELS_LAST;
    refused("layout channels_last", "v1-tiny", options, WFVAE_STATUS_INVALID_ARGUMENT, "layout channels_last");
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
