/* Decodes a latent file to a clip: safetensors in, Y4M out.
 *
 *     decode_file [options] LATENTS.safetensors [OUTPUT.y4m]
 *
 * OUTPUT defaults to "-", standard output, so it works in a pipe; memory does not grow with the clip:
 *
 *     decode_file -m MODEL clip.safetensors | ffmpeg -i - clip.mkv
 *
 * The rate and the number of frames come from the file; chroma, depth, range and matrix do too if encode_file wrote it. If a
 * latent cannot be read or decoded, the frames before it are written, and the program fails; of a model that decodes whole
 * clips, none are written.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#ifndef PROGRAM /* its installed name is another */
#define PROGRAM "decode_file"
#endif

#include <wfvae.h>

#include "files.h"
#include "frames.h"
#include "options.h"
#include "y4m.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: " PROGRAM " [options] LATENTS.safetensors [OUTPUT.y4m]\n"
    "Decodes a file of latents to a clip. Without OUTPUT, or with \"-\", writes to standard output. If a latent cannot be\n"
    "read or decoded, the frames before it are written, and the program fails; of a model that decodes whole clips, none are.\n"
    MODEL_USAGE
    "  -c LATENTS  latents per call, 1 to 64 (default 1; a model that decodes whole clips gets all in one call)\n"
    "  -E          also decode latents of other encoders, as long as their sizes fit\n";

typedef struct job {
    model_choice model_choice;
    const char *input, *output;
    size_t chunk;
    int any_encoder, whole_clip, help;

    wfvae_latent_reader *reader;
    wfvae_latent_file_info file;
    wfvae_model *model;
    wfvae_stream *stream;
    wfvae_info info;
    y4m_stream out;
    FILE *file_out; /* opened when the first frame is written */
    wfvae_frame *frames;
    float *pixels;
    void *latents;
    size_t capacity; /* in frames */
    unsigned long skipped; /* further frames that are written already */
} job;

/* The format of the clip before it was encoded: encode_file stores its Y4M header as the file's note. With a note of another
 * program, or none, 8-bit 4:2:0. */
static y4m_info clip_format(const job *j)
{
    const char *note = j->file.note;
    y4m_info format = {0};

    if (!y4m_parse_header(note, &format)) {
        if (strstr(note, " XMATRIX=709"))
            format.matrix = Y4M_BT709;
        else if (strstr(note, " XMATRIX=601"))
            format.matrix = Y4M_BT601;
    } else {
        format.depth = 8;
        format.chroma = Y4M_420JPEG;
    }
    format.width = (int)j->file.width;
    format.height = (int)j->file.height;
    format.rate_num = format.rate_den = 0;
    if (j->file.fps_num <= INT_MAX && j->file.fps_den <= INT_MAX) {
        format.rate_num = (int)j->file.fps_num;
        format.rate_den = (int)j->file.fps_den;
    }
    return format;
}

static int open_all(job *j)
{
    wfvae_model_info model_info = {0};
    wfvae_options options = {0};

    if (wfvae_latent_reader_open(j->input, &j->reader))
        return fail_wfvae("input");
    j->file.struct_size = sizeof j->file;
    if (wfvae_latent_reader_get_info(j->reader, &j->file))
        return fail_wfvae("input");

    if (open_model(&j->model_choice, &j->model))
        return fail_wfvae("model");
    /* Check before the stream loads weights, which takes a while. */
    if (!j->any_encoder && wfvae_latent_reader_check_model(j->reader, j->model))
        return fail_wfvae("input");

    options.struct_size = sizeof options;
    options.width = j->file.width;
    options.height = j->file.height;
    options.padding = j->file.padded;
    options.scaled = j->file.scaled;
    options.latent_type = j->file.latent_type;
    options.directions = WFVAE_DIRECTION_DECODE;
    options.any_encoder = (uint32_t)j->any_encoder;
    if (wfvae_create(j->model, &options, &j->stream))
        return fail_wfvae("stream");
    j->info.struct_size = sizeof j->info;
    model_info.struct_size = sizeof model_info;
    if (wfvae_model_get_info(j->model, &model_info))
        return fail_wfvae("model");
    j->whole_clip = (int)model_info.decode_whole_clips;
    if (j->whole_clip && j->file.n_latents > j->chunk)
        j->chunk = (size_t)j->file.n_latents;
    if (wfvae_latent_reader_check_stream(j->reader, j->stream) || wfvae_get_info(j->stream, &j->info) ||
        wfvae_set_frame_count(j->stream, j->file.n_frames))
        return fail_wfvae("stream");
    return 0;
}

static int allocate(job *j)
{
    size_t plane = (size_t)j->info.width * j->info.height, i;

    /* Each latent gives at most a group. A call also gives the frames held back before, which are less than a group. */
    j->capacity = (j->chunk + 1) * j->file.temporal_compression;
    j->frames = calloc(j->capacity, sizeof *j->frames);
    j->pixels = malloc(j->capacity * 3 * plane * sizeof(float));
    j->latents = malloc(j->chunk * j->info.latent_size);
    if (!j->frames || !j->pixels || !j->latents)
        return fail("memory", "not enough");
    for (i = 0; i < j->capacity; i++)
        j->frames[i] = planar_frame(j->pixels + 3 * i * plane, j->info.width, j->info.height);
    return 0;
}

/* An existing output is not touched before there is something to write. */
static int begin_output(job *j)
{
    const y4m_info format = clip_format(j);

    if (!(j->file_out = open_output(j->output)))
        return fail_system(j->output);
    return y4m_open_write(&j->out, j->file_out, &format) ? fail(j->output, j->out.error) : 0;
}

static int write_frames(job *j, size_t count)
{
    size_t width = j->info.width, i;

    if (count && !j->file_out && begin_output(j))
        return -1;
    for (i = 0; i < count; i++)
        if (j->skipped)
            j->skipped--;
        else if (y4m_write_frame(&j->out, j->frames[i].planes[0], width, width * j->info.height))
            return fail(j->output, j->out.error);
    return 0;
}

/* Resets a stream that failed inside a call and decodes again, to get the frames that it held back. */
static int begin_again(job *j, uint64_t *next)
{
    if (wfvae_get_info(j->stream, &j->info))
        return fail_wfvae("info");
    if (!j->info.needs_reset)
        return 0;
    if (wfvae_reset(j->stream) || wfvae_set_frame_count(j->stream, j->file.n_frames))
        return fail_wfvae("reset");
    j->skipped = j->out.frames;
    *next = 0;
    return 0;
}

static int decode_clip(job *j)
{
    char wrong[1024] = "", text[1200];
    size_t frames, count, chunk = j->chunk;
    uint64_t next, end = j->file.n_latents;

    for (next = 0; next < end; next += count) {
        count = end - next < chunk ? (size_t)(end - next) : chunk;
        if (wfvae_latent_reader_read(j->reader, next, count, j->file.latent_type, j->latents) ||
            wfvae_decode_chunk(j->stream, j->latents, count, j->frames, j->capacity, &frames)) {
            if (!wrong[0])
                snprintf(wrong, sizeof wrong, "%s", wfvae_last_error(NULL));
            /* Without it, the others would be another clip. */
            if (j->whole_clip)
                return fail(j->input, wrong);
            /* One of several latents is wrong. Those before it may be good. */
            if (count == 1)
                end = next;
            chunk = 1;
            count = 0;
            if (begin_again(j, &next))
                return -1;
        } else if (write_frames(j, frames))
            return -1;
    }
    /* The frames held back are complete. */
    if (wfvae_decode_flush(j->stream, j->frames, j->capacity, &frames)) {
        if (!wrong[0])
            return fail_wfvae("decode flush");
        frames = 0;
    }
    if (write_frames(j, frames))
        return -1;
    if (!wrong[0])
        return 0;
    snprintf(text, sizeof text, "%s; frames before it that were written: %lu", wrong, j->out.frames);
    return fail(j->input, text);
}

static int run(job *j)
{
    files f = {0};

    files_model(&f, j->model_choice.path);
    if (files_read(&f, "the input", j->input) || files_write(&f, "the output", j->output))
        return fail_text(f.error);
    if (open_all(j))
        return -1;
    if (j->file.width > Y4M_MAX_SIDE || j->file.height > Y4M_MAX_SIDE)
        return fail(j->input, "its frames are larger than Y4M frames can be");
    return allocate(j) ? -1 : decode_clip(j);
}

/* 0, or the exit status. */
static int parse(int argc, char **argv, job *j)
{
    int letter;

    while ((letter = getopt(argc, argv, MODEL_LETTERS "c:E")) != -1) {
        int taken = model_option(letter, optarg, &j->model_choice);
        if (taken < 0)
            goto wrong;
        if (taken)
            continue;
        switch (letter) {
        case 'c': j->chunk = number(optarg, 64); if (!j->chunk) goto wrong; break;
        case 'E': j->any_encoder = 1; break;
        case 'h': fputs(usage, stdout); j->help = 1; return 0;
        default: goto wrong;
        }
    }
    if (argc - optind < 1 || argc - optind > 2)
        return fail_usage(usage, -1, NULL);
    j->input = argv[optind];
    j->output = argc - optind == 2 ? argv[optind + 1] : "-";
    return 0;
wrong:
    return fail_usage(usage, letter, optarg);
}

int main(int argc, char **argv)
{
    job j = {0};
    int failed;

    system_start(&argc, &argv);
    j.chunk = 1;
    if ((failed = parse(argc, argv, &j)))
        return failed;
    failed = j.help ? 0 : run(&j);
    wfvae_latent_reader_close(j.reader);
    wfvae_destroy(j.stream);
    wfvae_model_close(j.model);
    y4m_close(&j.out);
    free(j.frames);
    free(j.pixels);
    free(j.latents);
    if (j.file_out && j.file_out != stdout && close_output(j.file_out) && !failed)
        failed = fail_system(j.output);
    if (close_output(stdout) && !failed)
        failed = fail_system("standard output");
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
