/* What test_threads.c and test_cancel.c share: clips that go through a stream each, and a time limit for each test.
 *
 *     PROGRAM [MODEL]
 *
 * With a MODEL, a small one for valgrind, pictures are smaller and rounds fewer than with the built-in one. */
#ifndef THREADS_H
#define THREADS_H

#include "check.h"
#include "os.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 7, LATENTS = 3 };

/* A clip, its latents and its reconstruction. */
typedef struct clip {
    wfvae_model *model;
    uint32_t width, height;
    unsigned seed;
    wfvae_stream *stream;
    wfvae_frame in[FRAMES], out[FRAMES];
    unsigned char *latents, *pixels; /* pixels: of in, then of out */
    size_t frame_size, latent_size, latents_out, latents_in, frames_out;
} clip;

static const char *path;
static int quick;

static inline void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    must(memory != NULL, "memory");
    return memory;
}

/* ---- a time limit for each test, so that a deadlock fails and is located ---- */

/* Many times what the slowest test takes; more under valgrind. */
enum { LIMIT = 300, LIMIT_QUICK = 900 };

static const char *volatile in_progress;

/* Calls only what a signal handler may. */
static inline void too_long(int signal)
{
    const char *texts[] = {"FAILED ", in_progress, ": it hangs; this is where it was stopped\n"};
    size_t i;

    (void)signal;
    for (i = 0; i < sizeof texts / sizeof *texts; i++)
        if (write(STDOUT_FILENO, texts[i], (unsigned)strlen(texts[i])) < 0)
            break;
    abort();
}

static inline void begin_test(const char *name)
{
    in_progress = name;
    os_limit_time(quick ? LIMIT_QUICK : LIMIT, too_long);
}

static inline wfvae_model *open_model(void)
{
    wfvae_model_options options = {0};
    wfvae_model *model;

    options.struct_size = sizeof options;
    options.n_threads = 2;
    must(!wfvae_model_open(path, &options, &model), "model");
    return model;
}

static inline wfvae_stream *create(wfvae_model *model, uint32_t width, uint32_t height)
{
    wfvae_options options = {0};
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = width;
    options.height = height;
    must(!wfvae_create(model, &options, &stream), "stream");
    return stream;
}

static inline wfvae_info info_of(const wfvae_stream *stream)
{
    wfvae_info info = {0};

    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "info");
    return info;
}

static inline void describe(wfvae_frame *frame, uint32_t width, uint32_t height, void *pixels)
{
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->format = WFVAE_PIXEL_FORMAT_RGB8;
    frame->width = width;
    frame->height = height;
    frame->planes[0] = pixels;
    frame->strides[0] = (ptrdiff_t)(3 * width);
}

/* ---- clips ---- */

static inline clip make_clip(wfvae_model *model, unsigned seed, uint32_t width, uint32_t height)
{
    clip c = {0};
    size_t i;

    c.model = model;
    c.seed = seed;
    c.width = width;
    c.height = height;
    c.frame_size = 3 * (size_t)width * height;
    c.pixels = allocate(2 * FRAMES * c.frame_size);
    for (i = 0; i < FRAMES * c.frame_size; i++)
        c.pixels[i] = (unsigned char)((i / c.frame_size * 9 + i * (3 + seed) + i * i % 61) % 251);
    for (i = 0; i < FRAMES; i++) {
        describe(&c.in[i], width, height, c.pixels + i * c.frame_size);
        describe(&c.out[i], width, height, c.pixels + (FRAMES + i) * c.frame_size);
    }
    return c;
}

static inline void start(clip *c)
{
    c->stream = create(c->model, c->width, c->height);
    c->latent_size = info_of(c->stream).encoded_size;
    c->latents = allocate(LATENTS * c->latent_size);
    must(!wfvae_set_frame_count(c->stream, FRAMES), "frame count");
}

/* Encodes and decodes frame t; FRAMES ends the clip. */
static inline void step(clip *c, size_t t)
{
    unsigned char *latent = c->latents + c->latents_out * c->latent_size;
    const size_t room = LATENTS - c->latents_out;
    size_t written;

    if (t < FRAMES)
        must(!wfvae_encode_chunk(c->stream, &c->in[t], 1, latent, room, &written), "encode");
    else
        must(!wfvae_encode_flush(c->stream, latent, room, &written), "encode flush");
    c->latents_out += written;
    if (written) {
        must(!wfvae_decode_chunk(c->stream, latent, written, c->out + c->frames_out, FRAMES - c->frames_out, &written),
             "decode");
        c->frames_out += written;
    }
    if (t == FRAMES) {
        must(!wfvae_decode_flush(c->stream, c->out + c->frames_out, FRAMES - c->frames_out, &written), "decode flush");
        c->frames_out += written;
    }
}

static inline void *play(void *argument)
{
    clip *c = argument;
    size_t t;

    start(c);
    for (t = 0; t <= FRAMES; t++)
        step(c, t);
    wfvae_destroy(c->stream);
    return NULL;
}

static inline int same(const clip *a, const clip *b)
{
    return a->latents_out == LATENTS && b->latents_out == LATENTS && a->frames_out == FRAMES &&
           b->frames_out == FRAMES && !memcmp(a->latents, b->latents, LATENTS * a->latent_size) &&
           !memcmp(a->pixels, b->pixels, 2 * FRAMES * a->frame_size);
}

static inline void drop(clip *c)
{
    free(c->latents);
    free(c->pixels);
}

static inline clip make_nth(wfvae_model *model, size_t n)
{
    return make_clip(model, (unsigned)n, (uint32_t)(8 + 8 * n), quick ? 8 : 24);
}

static inline void threads_begin(int argc, char **argv)
{
    quick = argc > 1;
    path = quick ? argv[1] : NULL;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

#endif
