/* Times one direction of libwfvae on one clip, for bench.py. Arguments and output are those of peer.py, MODEL "-" being
 * the built-in one, after options as the examples have them, and -8: frames are 8-bit RGB, made from the input's floats before
 * the time is taken, or made into the output's floats after it.
 *
 * The clip's own buffers are mapped files, so that they are not counted as anonymous memory; but for 8-bit frames.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#define PROGRAM "bench"

#include <wfvae.h>

#include "files.h"
#include "options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef struct job {
    model_choice model;
    const char *input, *output;
    int decode, bytes;
    size_t frames, latents, chunk, repetitions;
    uint32_t width, height;
    double seconds;
    wfvae_model *handle;
    wfvae_stream *stream;
    wfvae_info info;
    float *pixels, *values;   /* [T, 3, H, W] and [T, C, h, w] */
    unsigned char *rgb;       /* [T, H, W, 3], of 8-bit frames */
    wfvae_frame *pictures;    /* the pixels' descriptions */
    size_t latent;            /* floats of one */
} job;

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static float *map(const char *path, size_t floats, int write)
{
    int file = open(path, write ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0666);
    void *memory = MAP_FAILED;

    if (file >= 0 && (!write || !ftruncate(file, (off_t)(floats * sizeof(float)))))
        memory = mmap(NULL, floats * sizeof(float), write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    if (memory != MAP_FAILED)
        return memory;
    perror(path);
    return NULL;
}

static int load(job *j)
{
    wfvae_options options;
    double start = now(CLOCK_MONOTONIC);

    if (open_model(&j->model, &j->handle))
        return fail_wfvae("model");
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.width = j->width;
    options.height = j->height;
    options.directions = j->decode ? WFVAE_DIRECTION_DECODE : WFVAE_DIRECTION_ENCODE;
    if (wfvae_create(j->handle, &options, &j->stream))
        return fail_wfvae("stream");
    printf("{\"event\": \"loaded\", \"load_seconds\": %.6f}\n", now(CLOCK_MONOTONIC) - start);
    fflush(stdout);

    j->info.struct_size = sizeof j->info;
    if (wfvae_get_info(j->stream, &j->info))
        return fail_wfvae("info");
    j->latents = wfvae_latents_for_frames(j->handle, j->frames);
    if (wfvae_frames_for_latents(j->handle, j->latents) != j->frames) {
        fprintf(stderr, "bench: the last latent of %lu frames is not complete\n", (unsigned long)j->frames);
        return -1;
    }
    return 0;
}

static int map_clip(job *j)
{
    size_t plane = (size_t)j->width * j->height, t, p;

    j->latent = (size_t)j->info.latent_channels * j->info.latent_height * j->info.latent_width;
    j->pixels = map(j->decode ? j->output : j->input, j->frames * 3 * plane, j->decode);
    j->values = map(j->decode ? j->input : j->output, j->latents * j->latent, !j->decode);
    j->pictures = calloc(j->frames, sizeof *j->pictures);
    j->rgb = j->bytes ? malloc(j->frames * 3 * plane) : NULL;
    if (!j->pixels || !j->values || !j->pictures || (j->bytes && !j->rgb))
        return -1;
    for (t = 0; t < j->frames; t++) {
        wfvae_frame *frame = &j->pictures[t];
        frame->struct_size = sizeof *frame;
        frame->format = WFVAE_PIXEL_FORMAT_RGBP_F32;
        frame->range = WFVAE_RANGE_SIGNED;
        frame->width = j->width;
        frame->height = j->height;
        if (j->bytes) {
            frame->format = WFVAE_PIXEL_FORMAT_RGB8;
            frame->range = WFVAE_RANGE_UNIT;
            frame->planes[0] = j->rgb + t * 3 * plane;
            frame->strides[0] = (ptrdiff_t)(3 * j->width);
            continue;
        }
        for (p = 0; p < 3; p++) {
            frame->planes[p] = j->pixels + (3 * t + p) * plane;
            frame->strides[p] = (ptrdiff_t)(j->width * sizeof(float));
        }
    }
    return 0;
}

/* 8-bit frames from the floats, or the floats from them. */
static void convert_pixels(job *j, int to_floats)
{
    size_t plane = (size_t)j->width * j->height, t, p, i;

    for (t = 0; j->bytes && t < j->frames; t++)
        for (p = 0; p < 3; p++)
            for (i = 0; i < plane; i++) {
                float *value = &j->pixels[(3 * t + p) * plane + i];
                unsigned char *byte = &j->rgb[(t * plane + i) * 3 + p];
                if (to_floats)
                    *value = (float)*byte / 127.5f - 1;
                else
                    *byte = (unsigned char)(*value <= -1 ? 0 : *value >= 1 ? 255 : *value * 127.5f + 128);
            }
}

/* The whole clip, a chunk in each call. */
static int run(job *j)
{
    size_t count = j->decode ? j->latents : j->frames, capacity = j->decode ? j->frames : j->latents;
    size_t chunk = j->chunk ? j->chunk : count, at, done = 0, written;

    if (wfvae_reset(j->stream))
        return fail_wfvae("reset");
    for (at = 0; at < count; at += chunk) {
        size_t n = count - at < chunk ? count - at : chunk;
        if (j->decode ? wfvae_decode_chunk(j->stream, j->values + at * j->latent, n, j->pictures + done, capacity - done, &written)
                      : wfvae_encode_chunk(j->stream, j->pictures + at, n, j->values + done * j->latent, capacity - done, &written))
            return fail_wfvae("chunk");
        done += written;
    }
    if (j->decode ? wfvae_decode_flush(j->stream, j->pictures + done, capacity - done, &written)
                  : wfvae_encode_flush(j->stream, j->values + done * j->latent, capacity - done, &written))
        return fail_wfvae("flush");
    if (done + written != capacity) {
        fprintf(stderr, "bench: %lu came out, not %lu\n", (unsigned long)(done + written), (unsigned long)capacity);
        return -1;
    }
    return 0;
}

static void list(const char *name, const double *values, size_t count)
{
    size_t i;

    printf("\"%s\": [", name);
    for (i = 0; i < count; i++)
        printf("%s%.6f", i ? ", " : "", values[i]);
    printf("], ");
}

static int measure(job *j)
{
    wfvae_model_info info;
    double *walls = calloc(2 * j->repetitions, sizeof *walls), *cpus = walls + j->repetitions, total = 0;
    size_t count = 0;
    int failed;

    if (!j->decode)
        convert_pixels(j, 0);
    failed = !walls || run(j);

    while (!failed && count < j->repetitions && (count < 2 || total < j->seconds)) {
        double cpu = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
        failed = run(j);
        walls[count] = now(CLOCK_MONOTONIC) - wall;
        cpus[count] = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        total += walls[count++];
    }
    if (j->decode)
        convert_pixels(j, 1);
    info.struct_size = sizeof info;
    if (!failed && wfvae_model_get_info(j->handle, &info))
        failed = fail_wfvae("info");
    if (!failed) {
        printf("{\"event\": \"done\", ");
        list("seconds", walls, count);
        list("cpu_seconds", cpus, count);
        printf("\"weight_bytes\": %lu, \"sessions\": %u, \"state_bytes\": %lu, \"runtime\": \"%s\", "
               "\"provider\": \"%s\"}\n",
               (unsigned long)info.weight_bytes, info.sessions,
               (unsigned long)(j->info.encode_state_bytes + j->info.decode_state_bytes), info.runtime_version,
               info.provider);
        fflush(stdout);
    }
    free(walls);
    return failed;
}

int main(int argc, char **argv)
{
    job j;
    files f = {0};
    int letter, failed;

    memset(&j, 0, sizeof j);
    while ((letter = getopt(argc, argv, MODEL_LETTERS "8")) != -1)
        if (letter == '8')
            j.bytes = 1;
        else if (model_option(letter, optarg, &j.model) <= 0)
            break;
    argv += optind;
    if (letter != -1 || argc - optind != 11) {
        fputs("usage: bench [-8] [options] MODEL|- encode|decode FRAMES WIDTH HEIGHT CHUNK THREADS REPETITIONS SECONDS INPUT OUTPUT\n"
              MODEL_USAGE, stderr);
        return 2;
    }
    j.model.path = strcmp(argv[0], "-") ? argv[0] : NULL;
    j.decode = !strcmp(argv[1], "decode");
    j.frames = strtoul(argv[2], NULL, 10);
    j.width = (uint32_t)strtoul(argv[3], NULL, 10);
    j.height = (uint32_t)strtoul(argv[4], NULL, 10);
    j.chunk = strtoul(argv[5], NULL, 10);
    j.model.options.n_threads = (uint32_t)strtoul(argv[6], NULL, 10);
    j.repetitions = strtoul(argv[7], NULL, 10);
    j.seconds = strtod(argv[8], NULL);
    j.input = argv[9];
    j.output = argv[10];
    files_model(&f, j.model.path);
    failed = files_read(&f, "the input", j.input) || files_write(&f, "the output", j.output) ? fail_text(f.error) : 0;
    failed = failed || load(&j) || map_clip(&j) || measure(&j);
    /* bench.py looks at this process's memory, then closes the input. */
    if (!failed)
        while (getchar() != EOF) {}
    free(j.pictures);
    free(j.rgb);
    wfvae_destroy(j.stream);
    wfvae_model_close(j.handle);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
