/* Models, streams and clips of the parts. */
#define _GNU_SOURCE

#include "soak.h"

#include <stdlib.h>
#include <string.h>

wfvae_model *open_model(const char *path, uint32_t n_threads)
{
    wfvae_model_options options = {0};
    wfvae_model *model;

    options.struct_size = sizeof options;
    options.n_threads = n_threads;
    MUST(!wfvae_model_open(path, &options, &model), "%s cannot be opened", path ? path : "the built-in model");
    return model;
}

wfvae_stream *create(const kind *k, uint32_t directions)
{
    wfvae_options options = {0};
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = k->width;
    options.height = k->height;
    options.directions = directions;
    MUST(!wfvae_create(k->model, &options, &stream), "no stream");
    return stream;
}

kind make_kind(const char *path, wfvae_model *model, uint32_t width, uint32_t height)
{
    kind k = {0};
    wfvae_model_info info = {0};
    wfvae_info stream_info = {0};
    wfvae_stream *stream;

    k.path = path;
    k.model = model;
    k.width = width;
    k.height = height;
    k.frame_size = 3 * (size_t)width * height;
    info.struct_size = sizeof info;
    stream_info.struct_size = sizeof stream_info;
    stream = create(&k, 0);
    MUST(!wfvae_model_get_info(model, &info) && !wfvae_get_info(stream, &stream_info), "info");
    k.group = info.temporal_compression;
    k.latent_size = stream_info.encoded_size;
    wfvae_destroy(stream);
    return k;
}

void paint(const kind *k, unsigned char *pixels, unsigned which, size_t frame)
{
    size_t i;

    for (i = 0; i < k->frame_size; i++)
        pixels[i] = (unsigned char)((frame * 9 + i * (3 + which) + (i + frame) * i % 61) % 251);
}

void describe(const kind *k, wfvae_frame *frames, size_t n, unsigned char *pixels)
{
    size_t i;

    memset(frames, 0, n * sizeof *frames);
    for (i = 0; i < n; i++) {
        frames[i].struct_size = sizeof *frames;
        frames[i].format = WFVAE_PIXEL_FORMAT_RGB8;
        frames[i].width = k->width;
        frames[i].height = k->height;
        frames[i].planes[0] = pixels + i * k->frame_size;
        frames[i].strides[0] = (ptrdiff_t)(3 * k->width);
    }
}

/* Everything in as few calls as there can be. */
static void play(wfvae_stream *stream, const kind *k, const clip *c, unsigned char *latents, unsigned char *out)
{
    wfvae_frame frames[MOST_FRAMES];
    size_t n_latents, n_frames, written;

    describe(k, frames, c->n_frames, c->in);
    MUST(!wfvae_set_frame_count(stream, c->n_frames), "frame count");
    MUST(!wfvae_encode_chunk(stream, frames, c->n_frames, latents, c->n_latents, &n_latents), "encode");
    MUST(!wfvae_encode_flush(stream, latents + n_latents * k->latent_size, c->n_latents - n_latents, &written), "encode flush");
    n_latents += written;
    describe(k, frames, c->n_frames, out);
    MUST(!wfvae_decode_chunk(stream, latents, n_latents, frames, c->n_frames, &n_frames), "decode");
    MUST(!wfvae_decode_flush(stream, frames + n_frames, c->n_frames - n_frames, &written), "decode flush");
    n_frames += written;
    MUST(n_latents == c->n_latents && n_frames == c->n_frames, "%zu latents, %zu frames", n_latents, n_frames);
}

clip make_clip(const kind *k, unsigned which, size_t n_frames)
{
    clip c = {0};
    wfvae_stream *stream = create(k, 0);
    size_t i;

    c.n_frames = n_frames;
    c.n_latents = wfvae_latents_for_frames(k->model, n_frames);
    MUST(n_frames <= MOST_FRAMES && c.n_latents <= MOST_LATENTS, "a clip of %zu frames", n_frames);
    c.in = allocate(n_frames * k->frame_size);
    c.out = allocate(n_frames * k->frame_size);
    c.latents = allocate(c.n_latents * k->latent_size);
    for (i = 0; i < n_frames; i++)
        paint(k, c.in + i * k->frame_size, which, i);
    play(stream, k, &c, c.latents, c.out);
    wfvae_destroy(stream);
    return c;
}

void drop_clip(clip *c)
{
    free(c->in);
    free(c->latents);
    free(c->out);
}

int plays(wfvae_stream *stream, const kind *k, const clip *c)
{
    unsigned char *latents = allocate(c->n_latents * k->latent_size), *out = allocate(c->n_frames * k->frame_size);
    int same;

    play(stream, k, c, latents, out);
    same = !memcmp(latents, c->latents, c->n_latents * k->latent_size) && !memcmp(out, c->out, c->n_frames * k->frame_size);
    free(latents);
    free(out);
    return same;
}
