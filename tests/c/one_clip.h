/* One clip on its way through one stream, and rows of calls that disturb it. Each call gives its status and a text that
 * says what is wrong, and the stream goes on to the same output, bit for bit, as one that was not disturbed.
 *
 *     PROGRAM GOLDEN [quick]
 *
 * GOLDEN holds the model v1-image. With quick, for valgrind, only every twentieth stream goes on. Include this first after
 * _POSIX_C_SOURCE. */
#ifndef ONE_CLIP_H
#define ONE_CLIP_H

#include "check.h"
#include "statuses.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, FRAMES = 8, LATENTS = 3, VALUES = 4, UNTOUCHED = 77 };

static struct {
    wfvae_model *model;
    wfvae_stream *stream;
    wfvae_frame frames[FRAMES], decoded[FRAMES];
    unsigned char in[FRAMES][3 * PIXELS], out[FRAMES][3 * PIXELS];
    float latents[LATENTS][VALUES];
    size_t frames_in, latents_out, latents_in, frames_out;
    size_t count; /* written by the calls */
    float floats[3][PIXELS]; /* memory for input that is not the clip's */
} s;

/* The clip's output when nothing disturbs it. */
static float right_latents[LATENTS][VALUES];
static unsigned char right_out[FRAMES][3 * PIXELS];

static char golden[1000];
static int quick;

/* Whether a call gave its status and text; text is NULL for one that succeeds. */
static inline int right(const char *name, wfvae_status found, wfvae_status expected, const char *text)
{
    const char *error = wfvae_last_error(NULL);
    const int ok = found == expected && (!text || strstr(error, text));

    if (!ok)
        printf("%s: found %d \"%s\", expected %d \"%s\"\n", name, (int)found, found ? error : "", (int)expected,
               text ? text : "");
    return ok;
}

/* A row that does not touch the clip. */
#define PLAIN(name, status, text, call) result(name, right(name, call, WFVAE_STATUS_##status, text))

static inline void describe(wfvae_frame *frame, void *pixels)
{
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->format = WFVAE_PIXEL_FORMAT_RGB8;
    frame->width = SIDE;
    frame->height = SIDE;
    frame->planes[0] = pixels;
    frame->strides[0] = 3 * SIDE;
}

static inline void describe_all(void)
{
    int i;

    for (i = 0; i < FRAMES; i++) {
        describe(&s.frames[i], s.in[i]);
        describe(&s.decoded[i], s.out[i]);
    }
}

/* These take the clip from where it is to the given point. */

static inline void encode_to(size_t frames)
{
    if (frames <= s.frames_in)
        return;
    must(!wfvae_encode_chunk(s.stream, s.frames + s.frames_in, frames - s.frames_in, s.latents[s.latents_out],
                             LATENTS - s.latents_out, &s.count),
         "encode");
    s.frames_in = frames;
    s.latents_out += s.count;
}

static inline void decode_to(size_t latents)
{
    if (latents <= s.latents_in)
        return;
    must(!wfvae_decode_chunk(s.stream, s.latents[s.latents_in], latents - s.latents_in, s.decoded + s.frames_out,
                             FRAMES - s.frames_out, &s.count),
         "decode");
    s.latents_in = latents;
    s.frames_out += s.count;
}

static inline void end_encoding(void)
{
    encode_to(FRAMES);
    if (s.latents_out == LATENTS)
        return;
    must(!wfvae_encode_flush(s.stream, s.latents[s.latents_out], 1, &s.count), "encode flush");
    s.latents_out += s.count;
}

static inline void end_decoding(void)
{
    end_encoding();
    decode_to(LATENTS);
    if (s.frames_out == FRAMES)
        return;
    must(!wfvae_decode_flush(s.stream, s.decoded + s.frames_out, FRAMES - s.frames_out, &s.count), "decode flush");
    s.frames_out += s.count;
}

/* Starts a new clip, and passes its first frame through. */
static inline void begin(void)
{
    must(!wfvae_reset(s.stream) && !wfvae_set_frame_count(s.stream, FRAMES), "reset");
    s.frames_in = s.latents_out = s.latents_in = s.frames_out = 0;
    memset(s.latents, 0, sizeof s.latents);
    memset(s.out, 0, sizeof s.out);
    describe_all();
    encode_to(1);
    decode_to(1);
    s.count = UNTOUCHED;
}

/* Whether the rest of the clip gives the right output; after a status that needs a reset, whether the next clip does. */
static inline int goes_on(wfvae_status status)
{
    const uint32_t broken = status == WFVAE_STATUS_CANCELLED || status == WFVAE_STATUS_NEEDS_RESET;
    wfvae_info info = {0};

    info.struct_size = sizeof info;
    must(!wfvae_get_info(s.stream, &info), "info");
    if (info.needs_reset != broken)
        return 0;
    if (broken)
        begin();
    describe_all();
    end_decoding();
    return s.latents_out == LATENTS && s.frames_out == FRAMES && !memcmp(s.latents, right_latents, sizeof s.latents) &&
           !memcmp(s.out, right_out, sizeof s.out);
}

static inline void check_call(const char *name, wfvae_status found, wfvae_status expected, const char *text)
{
    static int calls;
    const char *error = wfvae_last_error(NULL);
    int ok = right(name, found, expected, text);

    if (ok && found && strcmp(error, "stream is NULL") && strcmp(error, wfvae_last_error(s.stream))) {
        printf("%s: the stream's text is \"%s\", the thread's \"%s\"\n", name, wfvae_last_error(s.stream), error);
        ok = 0;
    }
    if (ok && found && s.count != 0 && s.count != UNTOUCHED) {
        printf("%s: failed with a count of %lu\n", name, (unsigned long)s.count);
        ok = 0;
    }
    if (ok && (!quick || calls++ % 20 == 0) && !goes_on(found)) {
        printf("%s: the stream does not go on\n", name);
        ok = 0;
    }
    result(name, ok);
}

/* A row in the middle of a clip, which then goes on. */
#define CALL(name, status, text, call) (begin(), check_call(name, call, WFVAE_STATUS_##status, text))

/* The clip's next frames and latents; four frames make a latent. */

static inline wfvae_status encode(size_t frames)
{
    return wfvae_encode_chunk(s.stream, s.frames + 1, frames, s.latents[1], 1, &s.count);
}

static inline wfvae_status decode(size_t latents)
{
    return wfvae_decode_chunk(s.stream, s.latents[1], latents, s.decoded + 1, FRAMES - 1, &s.count);
}

static inline void *shifted(void *pointer)
{
    return (unsigned char *)pointer + 1;
}

/* A failing call sets the handle to NULL, whatever it was before. */
static inline wfvae_status open_model(const char *path, const wfvae_model_options *options)
{
    wfvae_model *model = s.model;
    wfvae_status status = wfvae_model_open(path, options, &model);

    must(status ? !model : model && model != s.model, "handle");
    wfvae_model_close(model);
    return status;
}

/* Opens the model and the stream, and takes the clip through once. */
static inline void clip_open(int argc, char **argv)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    char header[1100];
    size_t t, i;

    if (argc < 2) {
        fprintf(stderr, "usage: %s GOLDEN [quick]\n", argv[0]);
        exit(2);
    }
    quick = argc > 2 && !strcmp(argv[2], "quick");
    snprintf(golden, sizeof golden, "%s/v1-image", argv[1]);
    snprintf(header, sizeof header, "%s/../../include/wfvae.h", argv[1]);
    statuses_open(header);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    result("no error yet", !*wfvae_last_error(NULL));

    model_options.struct_size = sizeof model_options;
    model_options.n_threads = 1;
    must(!wfvae_model_open(golden, &model_options, &s.model), "model");
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    must(!wfvae_create(s.model, &options, &s.stream), "stream");
    for (t = 0; t < FRAMES; t++)
        for (i = 0; i < 3 * PIXELS; i++)
            s.in[t][i] = (unsigned char)(i * 7 + t * 31 + i * i % 101);
    begin();
    end_decoding();
    memcpy(right_latents, s.latents, sizeof s.latents);
    memcpy(right_out, s.out, sizeof s.out);
}

/* What main() returns. */
static inline int clip_close(void)
{
    wfvae_destroy(s.stream);
    wfvae_model_close(s.model);
    result("every status that a call returned is one that its comment names", statuses_checked > 0 && !statuses_missing);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

#endif
