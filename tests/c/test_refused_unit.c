/* Tests a process that the system does not let use the CPU's matrix unit, because a thread has a small alternate signal stack:
 * float32 is computed without it, and precision bf16 fails and says why.
 *
 *     test_refused_unit
 *
 * Where the CPU has no such unit, nothing can be refused. Prints "ok <name>" lines; ends with 1 on failure. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "os.h"

#include <string.h>

enum { SIDE = 64 };

static const char *const REASON = "the system does not let this process use the CPU's matrix unit";

static void hear(void *user, uint32_t level, const char *text)
{
    *(int *)user += level == WFVAE_LOG_LEVEL_DEBUG && strstr(text, REASON);
}

static wfvae_status open_model(wfvae_precision precision, int *debug_lines, wfvae_model **model)
{
    wfvae_model_options options = {0};

    options.struct_size = sizeof options;
    options.provider = WFVAE_PROVIDER_CPU;
    options.encode_precision = options.decode_precision = precision;
    options.log_callback = hear;
    options.log_user = debug_lines;
    options.log_level = WFVAE_LOG_LEVEL_DEBUG;
    *model = NULL;
    return wfvae_model_open(NULL, &options, model);
}

/* Encodes a grey frame. */
static wfvae_status encode(wfvae_model *model)
{
    static unsigned char pixels[3 * SIDE * SIDE];
    static float latent[4096];
    wfvae_options options = {0};
    wfvae_frame frame = {0};
    wfvae_stream *stream;
    wfvae_status status;
    size_t latents = 0;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGB8;
    frame.width = frame.height = SIDE;
    frame.planes[0] = memset(pixels, 128, sizeof pixels);
    frame.strides[0] = 3 * SIDE;
    status = wfvae_create(model, &options, &stream);
    if (!status) {
        status = wfvae_encode_chunk(stream, &frame, 1, latent, 1, &latents);
        wfvae_destroy(stream);
    }
    return status;
}

int main(void)
{
    wfvae_model *model;
    int lines = 0;

    if (!os_has_matrix_unit()) {
        printf("there is no matrix unit, so nothing is refused\n");
        return EXIT_SUCCESS;
    }
    must(!os_small_signal_stack(), "a small signal stack");
    os_set("WFVAE_CPU", "amx");
    result("WFVAE_CPU=amx", open_model(WFVAE_PRECISION_F32, &lines, &model) == WFVAE_STATUS_INVALID_ARGUMENT && !model &&
                                strstr(wfvae_last_error(NULL), "WFVAE_CPU is \"amx\"") && strstr(wfvae_last_error(NULL), REASON));
    os_set("WFVAE_CPU", NULL);
    must(!open_model(WFVAE_PRECISION_F32, &lines, &model), "float32");
    result("a debug line", lines == 1);
    result("float32", !encode(model));
    wfvae_model_close(model);
    must(!open_model(WFVAE_PRECISION_BF16, &lines, &model), "bfloat16");
    result("bfloat16", encode(model) == WFVAE_STATUS_PROVIDER && strstr(wfvae_last_error(NULL), REASON));
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
