/* A frei0r filter: 8-bit video through a WF-VAE and back, for programs that load frei0r plugins, stock ffmpeg included.
 *
 * frei0r knows neither delay nor the end of a stream. Frame n comes out of call n + D, where D is the model's delay
 * (5 frames for the built-in model); the first D calls give black. The caller repeats the last frame D times:
 *
 *     ffmpeg -i in.mkv -vf "tpad=stop_mode=clone:stop=5,frei0r=wfvae,trim=start_frame=5,setpts=PTS-5/FRAME_RATE/TB" out.mkv
 *
 * Alpha is not run through the model: frame n comes out with the alpha that it came in with. The first D pictures, which
 * stand for no frame, are transparent black, so they cover nothing on a lower track; after an error all pictures are like
 * that.
 *
 * There is no way to report an error either: the reason goes to standard error, once, as do the library's warnings.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <frei0r.h>
#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct instance {
    unsigned width, height;
    char *model_path;
    wfvae_model *model;
    wfvae_stream *stream;
    void *latent;
    uint32_t *pictures;       /* ring of decoded frames */
    unsigned char *alphas;    /* ring of the alpha of the frames that went in */
    size_t capacity, delay;
    uint64_t in, decoded;
    int failed;
} instance;

int f0r_init(void)
{
    return 1;
}

void f0r_deinit(void)
{
}

void f0r_get_plugin_info(f0r_plugin_info_t *info)
{
    info->name = "wfvae";
    info->author = "the libwfvae authors";
    info->plugin_type = F0R_PLUGIN_TYPE_FILTER;
    info->color_model = F0R_COLOR_MODEL_RGBA8888;
    info->frei0r_version = FREI0R_MAJOR_VERSION;
    info->major_version = 0;
    info->minor_version = 1;
    info->num_params = 1;
    info->explanation = "Runs video through a WF-VAE video autoencoder and back";
}

void f0r_get_param_info(f0r_param_info_t *info, int index)
{
    (void)index;
    info->name = "model";
    info->type = F0R_PARAM_STRING;
    info->explanation = "Checkpoint folder or file; empty: the built-in model. Read at the first frame";
}

f0r_instance_t f0r_construct(unsigned width, unsigned height)
{
    instance *i = calloc(1, sizeof *i);

    if (i) {
        i->width = width;
        i->height = height;
    }
    return i;
}

void f0r_destruct(f0r_instance_t handle)
{
    instance *i = handle;

    wfvae_destroy(i->stream);
    wfvae_model_close(i->model);
    free(i->latent);
    free(i->pictures);
    free(i->alphas);
    free(i->model_path);
    free(i);
}

void f0r_set_param_value(f0r_instance_t handle, f0r_param_t value, int index)
{
    instance *i = handle;
    const char *path = *(f0r_param_string *)value;

    (void)index;
    free(i->model_path);
    i->model_path = path && *path ? malloc(strlen(path) + 1) : NULL;
    if (i->model_path)
        strcpy(i->model_path, path);
}

void f0r_get_param_value(f0r_instance_t handle, f0r_param_t value, int index)
{
    static char none[1];
    instance *i = handle;

    (void)index;
    *(f0r_param_string *)value = i->model_path ? i->model_path : none;
}

static int fail(instance *i, const char *text)
{
    fprintf(stderr, "frei0r wfvae: %s\n", text);
    i->failed = 1;
    return -1;
}

static void print_message(void *user, uint32_t level, const char *text)
{
    (void)user;
    /* Errors come back as a status too, and fail() prints them. */
    if (level == WFVAE_LOG_LEVEL_WARN)
        fprintf(stderr, "frei0r wfvae: warning: %s\n", text);
}

static uint32_t *picture(const instance *i, uint64_t index)
{
    return i->pictures + index % i->capacity * i->width * i->height;
}

/* Alpha waits in a ring of as many frames as the delay, and this one. */
static unsigned char *alpha(const instance *i, uint64_t index)
{
    return i->alphas + index % (i->delay + 1) * i->width * i->height;
}

/* The model is a parameter, and parameters come after the instance. */
static int open_stream(instance *i)
{
    wfvae_model_options opening = {0};
    wfvae_model_info model = {0};
    wfvae_options options = {0};
    wfvae_info info = {0};

    opening.struct_size = sizeof opening;
    opening.log_callback = print_message;
    opening.log_level = WFVAE_LOG_LEVEL_WARN;
    model.struct_size = sizeof model;
    info.struct_size = sizeof info;
    options.struct_size = sizeof options;
    options.width = i->width;
    options.height = i->height;
    options.padding = 1;
    if (wfvae_model_open(i->model_path, &opening, &i->model) || wfvae_model_get_info(i->model, &model))
        return fail(i, wfvae_last_error(NULL));
    if (model.whole_clips)
        return fail(i, "the model's norms or attention span the whole clip, as with norm_type \"groupnorm\"; a plugin never has it at once");
    if (wfvae_create(i->model, &options, &i->stream) || wfvae_get_info(i->stream, &info))
        return fail(i, wfvae_last_error(NULL));
    i->delay = model.encode_delay + model.decode_delay;
    /* What waits, and what one latent adds. */
    i->capacity = i->delay + 2 * model.temporal_compression;
    i->latent = malloc(info.encoded_size);
    i->pictures = malloc(i->capacity * i->width * i->height * sizeof(uint32_t));
    i->alphas = malloc((i->delay + 1) * i->width * i->height);
    return i->latent && i->pictures && i->alphas ? 0 : fail(i, "not enough memory");
}

static wfvae_frame describe(const instance *i, void *pixels)
{
    wfvae_frame frame = {0};

    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGBA8;
    frame.width = i->width;
    frame.height = i->height;
    frame.planes[0] = pixels;
    frame.strides[0] = (ptrdiff_t)(i->width * sizeof(uint32_t));
    return frame;
}

static int run(instance *i, const uint32_t *pixels)
{
    wfvae_frame in = describe(i, (void *)pixels), out[16];
    size_t latents, frames, room;

    if (wfvae_encode_chunk(i->stream, &in, 1, i->latent, 1, &latents))
        return fail(i, wfvae_last_error(NULL));
    i->in++;
    if (!latents)
        return 0;
    for (room = 0; room < 16; room++)
        out[room] = describe(i, picture(i, i->decoded + room));
    if (wfvae_decode_chunk(i->stream, i->latent, 1, out, room, &frames))
        return fail(i, wfvae_last_error(NULL));
    i->decoded += frames;
    return 0;
}

void f0r_update(f0r_instance_t handle, double time, const uint32_t *in, uint32_t *out)
{
    instance *i = handle;
    size_t pixels = (size_t)i->width * i->height, p;
    const unsigned char *from = (const unsigned char *)in, *waited;
    unsigned char *to = (unsigned char *)out, *waits;

    (void)time;
    if (i->failed || (!i->stream && open_stream(i))) {
        memset(out, 0, pixels * sizeof *out);
        return;
    }
    waits = alpha(i, i->in);
    for (p = 0; p < pixels; p++)
        waits[p] = from[4 * p + 3];
    if (run(i, in) || i->in <= i->delay) {
        memset(out, 0, pixels * sizeof *out);
        return;
    }
    memcpy(out, picture(i, i->in - 1 - i->delay), pixels * sizeof *out);
    waited = alpha(i, i->in - 1 - i->delay);
    for (p = 0; p < pixels; p++)
        to[4 * p + 3] = waited[p];
}
