/* Scrubs back in a clip, as an editor does: streams it to its end, returns to a snapshot from its middle, and streams the
 * rest again, in the same stream and in a fork. The output is bit-identical.
 *
 *     scrub [options] CLIP.y4m|- [MODEL]
 *
 * Of a truncated clip, the complete frames are used, and the program fails at the end.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#ifndef PROGRAM /* its installed name is another */
#define PROGRAM "scrub"
#endif

#include <wfvae.h>

#include "clip.h"
#include "files.h"
#include "options.h"
#include "y4m.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: " PROGRAM " [options] CLIP.y4m|- [MODEL]\n"
    "Streams a clip, returns to its middle and streams the rest again; fails if the output differs. MODEL is another way\n"
    "to write -m MODEL.\n"
    MODEL_USAGE CLIP_USAGE;

/* Packed RGB frames. */
typedef struct video {
    uint32_t width, height;
    size_t frame_size, count;
    unsigned char *pixels;
} video;

/* The most that one call can write. */
enum { MOST_FRAMES = 8 };

/* The caller closes *in in any case; it tells whether the clip was truncated. */
static int read_clip(const char *path, const clip_choice *colours, FILE *file, y4m_stream *in, video *clip)
{
    float *planes;
    unsigned char *pixels;
    size_t plane, room = 0;
    int got;

    if (open_clip(in, path, file, colours))
        return -1;
    clip->width = (uint32_t)in->info.width;
    clip->height = (uint32_t)in->info.height;
    plane = (size_t)clip->width * clip->height;
    clip->frame_size = 3 * plane;
    if (!(planes = malloc(3 * plane * sizeof *planes)))
        return fail(path, "out of memory");
    while ((got = y4m_read_frame(in, planes, clip->width, plane)) > 0) {
        if (clip->count == room) {
            room = 2 * room + 16;
            if (!(pixels = realloc(clip->pixels, room * clip->frame_size)))
                break;
            clip->pixels = pixels;
        }
        y4m_pack_rgb8(planes, clip->width, plane, in->info.width, in->info.height,
                      clip->pixels + clip->count++ * clip->frame_size);
    }
    free(planes);
    if (got > 0)
        return fail(path, "out of memory");
    if (clip->count < 2)
        return fail(path, got < 0 ? in->error : "a clip of two frames or more is needed");
    return 0;
}

static wfvae_frame describe(const video *clip, unsigned char *pixels)
{
    wfvae_frame frame;

    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGB8;
    frame.width = clip->width;
    frame.height = clip->height;
    frame.planes[0] = pixels;
    frame.strides[0] = (ptrdiff_t)(3 * clip->width);
    return frame;
}

/* Decodes a latent to *out; NULL: flushes the frames that were held back. */
static int decode(wfvae_stream *stream, const video *clip, const void *latent, unsigned char **out)
{
    wfvae_frame frames[MOST_FRAMES];
    size_t i, written;

    for (i = 0; i < MOST_FRAMES; i++)
        frames[i] = describe(clip, *out + i * clip->frame_size);
    if (latent ? wfvae_decode_chunk(stream, latent, 1, frames, MOST_FRAMES, &written)
               : wfvae_decode_flush(stream, frames, MOST_FRAMES, &written))
        return fail_wfvae("decode");
    *out += written * clip->frame_size;
    return 0;
}

/* Streams the clip's frames from `from` up to `to`, and flushes at the clip's end. */
static int play(wfvae_stream *stream, const video *clip, size_t from, size_t to, void *latent, unsigned char **out)
{
    size_t t, latents;

    for (t = from; t < to; t++) {
        wfvae_frame frame = describe(clip, clip->pixels + t * clip->frame_size);
        if (wfvae_encode_chunk(stream, &frame, 1, latent, 1, &latents))
            return fail_wfvae("encode");
        if (latents && decode(stream, clip, latent, out) < 0)
            return -1;
    }
    if (to < clip->count)
        return 0;
    if (wfvae_set_frame_count(stream, clip->count) || wfvae_encode_flush(stream, latent, 1, &latents))
        return fail_wfvae("encode");
    if (latents && decode(stream, clip, latent, out) < 0)
        return -1;
    return decode(stream, clip, NULL, out);
}

/* How an editor may keep a snapshot in a file: writes it as bytes and reads another snapshot from them. */
static int store_and_load(wfvae_snapshot **snapshot)
{
    size_t size = wfvae_snapshot_size(*snapshot), written;
    void *bytes = malloc(size);
    wfvae_snapshot *loaded = NULL;
    int failed = !bytes || wfvae_snapshot_write(*snapshot, bytes, size, &written) ||
                 wfvae_snapshot_read(bytes, written, &loaded);

    free(bytes);
    if (failed)
        return bytes ? fail_wfvae("snapshot") : fail("snapshot", "out of memory");
    wfvae_snapshot_destroy(*snapshot);
    *snapshot = loaded;
    return 0;
}

static int scrub(wfvae_stream *stream, const video *clip, void *latent, unsigned char *first, unsigned char *again)
{
    const size_t middle = clip->count / 2;
    unsigned char *first_end = first, *again_end, *at_middle;
    wfvae_snapshot *snapshot = NULL;
    wfvae_stream *fork = NULL;
    size_t size;
    int status = -1;

    if (play(stream, clip, 0, middle, latent, &first_end) < 0)
        goto end;
    at_middle = first_end;
    if (wfvae_snapshot_create(stream, &snapshot)) {
        fail_wfvae("snapshot");
        goto end;
    }
    printf("snapshot after %lu frames: %.1f MB\n", (unsigned long)middle, (double)wfvae_snapshot_size(snapshot) * 1e-6);
    if (store_and_load(&snapshot) < 0 || play(stream, clip, middle, clip->count, latent, &first_end) < 0)
        goto end;

    size = (size_t)(first_end - at_middle);
    printf("first time: %lu frames from there to the end\n", (unsigned long)(size / clip->frame_size));
    if (wfvae_snapshot_restore(stream, snapshot)) {
        fail_wfvae("restore");
        goto end;
    }
    /* The fork starts at the stream's position: at the snapshot. */
    if (wfvae_fork(stream, &fork)) {
        fail_wfvae("fork");
        goto end;
    }
    again_end = again;
    if (play(stream, clip, middle, clip->count, latent, &again_end) < 0)
        goto end;
    if ((size_t)(again_end - again) != size || memcmp(at_middle, again, size)) {
        fail("scrubbed back", "its frames differ from those of the first time");
        goto end;
    }
    puts("scrubbed back: bit-identical");
    again_end = again;
    if (play(fork, clip, middle, clip->count, latent, &again_end) < 0)
        goto end;
    if ((size_t)(again_end - again) != size || memcmp(at_middle, again, size)) {
        fail("forked", "its frames differ from those of the first time");
        goto end;
    }
    puts("forked: bit-identical");
    status = 0;
end:
    wfvae_snapshot_destroy(snapshot);
    wfvae_destroy(fork);
    return status;
}

static int run(const char *path, model_choice *choice, const clip_choice *colours)
{
    wfvae_model *model = NULL;
    wfvae_stream *stream = NULL;
    wfvae_options options;
    wfvae_info info;
    y4m_stream in = {0};
    video clip = {0, 0, 0, 0, NULL};
    unsigned char *first = NULL, *again = NULL;
    void *latent = NULL;
    FILE *file;
    files f = {0};
    int status = -1;

    files_model(&f, choice->path);
    if (files_read(&f, "the input", path) || files_write(&f, "standard output", "-"))
        return fail_text(f.error);
    if (!(file = open_input(path)))
        return fail_system(path);
    if (read_clip(path, colours, file, &in, &clip))
        goto end;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.width = clip.width;
    options.height = clip.height;
    options.padding = 1;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (open_model(choice, &model) || wfvae_create(model, &options, &stream) || wfvae_get_info(stream, &info)) {
        fail_wfvae("stream");
        goto end;
    }
    latent = malloc(info.encoded_size);
    /* Room for the frames of one call beyond the clip. */
    first = malloc((clip.count + MOST_FRAMES) * clip.frame_size);
    again = malloc((clip.count + MOST_FRAMES) * clip.frame_size);
    if (!latent || !first || !again)
        fail("frames", "out of memory");
    else
        status = scrub(stream, &clip, latent, first, again) ? -1 : fail_if_broken(&in, path, "used");
end:
    y4m_close(&in);
    if (file != stdin)
        fclose(file);
    free(latent);
    free(first);
    free(again);
    free(clip.pixels);
    wfvae_destroy(stream);
    wfvae_model_close(model);
    return status;
}

int main(int argc, char **argv)
{
    model_choice model = {0};
    clip_choice clip = {0};
    int letter, status = 0, help = 0;

    system_start(&argc, &argv);
    while (!help && (letter = getopt(argc, argv, MODEL_LETTERS CLIP_LETTERS)) != -1) {
        help = letter == 'h';
        if (!help && model_option(letter, optarg, &model) <= 0 && clip_option(letter, optarg, &clip) <= 0)
            return fail_usage(usage, letter, optarg);
    }
    if (help)
        fputs(usage, stdout);
    else if (argc - optind < 1 || argc - optind > 2)
        return fail_usage(usage, -1, NULL);
    else {
        if (argc - optind == 2)
            model.path = argv[optind + 1];
        status = run(argv[optind], &model, &clip);
    }
    if (close_output(stdout) && !status)
        status = fail_system("standard output");
    return status ? EXIT_FAILURE : EXIT_SUCCESS;
}
