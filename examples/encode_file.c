/* Encodes a clip to a latent file: Y4M in, safetensors out.
 *
 *     encode_file [options] INPUT.y4m|- LATENTS.safetensors
 *
 * The clip may come from a pipe and be of any length; memory does not grow with it, but for models that take whole clips:
 *
 *     ffmpeg -i clip.mkv -f yuv4mpegpipe - | encode_file -m MODEL - clip.safetensors
 *
 * The latent file appears when it is complete. Of a truncated clip it holds the complete frames, and the program reports that
 * and fails. decode_file turns it back into a clip.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#ifndef PROGRAM /* its installed name is another */
#define PROGRAM "encode_file"
#endif

#include <wfvae.h>

#include "clip.h"
#include "files.h"
#include "frames.h"
#include "options.h"
#include "y4m.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: " PROGRAM " [options] INPUT.y4m|- LATENTS.safetensors\n"
    "Encodes a clip, from a file or standard input, to a file of latents. Of a truncated clip the complete frames are\n"
    "encoded, and the program fails.\n"
    MODEL_USAGE CLIP_USAGE
    "  -p KIND     which latents to write: mean, sample or moments (default mean)\n"
    "  -s SEED     seed of -p sample, a 64-bit integer (default 0)\n"
    "  -f          store float16 (default float32)\n"
    "  -n          scale latents by scale and shift in the model's config (default: raw)\n"
    "  -x          refuse sizes that are not multiples of the model's compression (default: pad)\n"
    "  -c FRAMES   frames per call, 1 to 256 (default 4; a model that takes whole clips gets all frames in one call)\n";

typedef struct job {
    wfvae_options options;
    model_choice model_choice;
    const char *input, *output;
    size_t chunk;
    int whole_clip;
    clip_choice clip;
    int help;

    wfvae_model *model;
    wfvae_stream *stream;
    wfvae_latent_writer *writer;
    wfvae_info info;
    y4m_stream in;
    wfvae_frame *frames;
    float *pixels;
    void *latents;
    size_t latent_capacity, unit;
} job;

/* Makes reading fail, so that the writer is destroyed and an interrupted run leaves no temporary file. */
static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* The clip's Y4M header, which decode_file writes to its output. Y4M has no tag for the matrix. */
static void write_note(const job *j, char *note, size_t size)
{
    static const char *const matrices[] = {"", " XMATRIX=601", " XMATRIX=709"}; /* as in y4m_matrix */
    char header[Y4M_HEADER_SIZE];

    y4m_format_header(&j->in.info, header);
    snprintf(note, size, "%s%s", header, matrices[j->in.info.matrix]);
}

static int open_all(job *j)
{
    wfvae_latent_writer_options writer_options = {0};
    wfvae_model_info model_info = {0};
    char note[Y4M_HEADER_SIZE + 16];

    if (open_model(&j->model_choice, &j->model))
        return fail_wfvae("model");
    j->options.width = (uint32_t)j->in.info.width;
    j->options.height = (uint32_t)j->in.info.height;
    j->options.directions = WFVAE_DIRECTION_ENCODE;
    if (wfvae_create(j->model, &j->options, &j->stream))
        return fail_wfvae("stream");
    j->info.struct_size = sizeof j->info;
    model_info.struct_size = sizeof model_info;
    if (wfvae_get_info(j->stream, &j->info) || wfvae_model_get_info(j->model, &model_info))
        return fail_wfvae("info");

    write_note(j, note, sizeof note);
    writer_options.struct_size = sizeof writer_options;
    writer_options.note = note;
    /* In Y4M 0:0 and 0:1 mean that the rate is unknown. */
    if (j->in.info.rate_num > 0 && j->in.info.rate_den > 0) {
        writer_options.fps_num = (uint32_t)j->in.info.rate_num;
        writer_options.fps_den = (uint32_t)j->in.info.rate_den;
    }
    if (wfvae_latent_writer_create(j->stream, j->output, &writer_options, &j->writer))
        return fail_wfvae("output");
    j->unit = model_info.temporal_compression;
    j->whole_clip = (int)model_info.whole_clips;
    return 0;
}

/* Room for a call of so many frames. Keeps the frames that are there. */
static int allocate(job *j, size_t chunk)
{
    size_t plane = (size_t)j->info.width * j->info.height, i;
    wfvae_frame *frames = realloc(j->frames, chunk * sizeof *frames);
    float *pixels;
    void *latents;

    if (!frames)
        return fail("memory", "not enough");
    j->frames = frames;
    if (!(pixels = realloc(j->pixels, chunk * 3 * plane * sizeof(float))))
        return fail("memory", "not enough");
    j->pixels = pixels;
    j->latent_capacity = chunk / j->unit + 2;
    if (!(latents = realloc(j->latents, j->latent_capacity * j->info.encoded_size)))
        return fail("memory", "not enough");
    j->latents = latents;
    for (i = 0; i < chunk; i++)
        frames[i] = planar_frame(pixels + 3 * i * plane, j->info.width, j->info.height);
    j->chunk = chunk;
    return 0;
}

static int write_latents(job *j, size_t count)
{
    return wfvae_latent_writer_write(j->writer, j->latents, count) ? fail_wfvae("output") : 0;
}

/* Windows does not always replace a file that another program has open. What was encoded then waits until that program closes it. */
static int finish(job *j)
{
    char text[1000] = "";
    int tries;

    for (tries = 0;; tries++) {
        const wfvae_status status = wfvae_latent_writer_finish(j->writer, j->info.frames_in);
        if (!status)
            return 0;
        /* After any other error of the system there is nothing left to finish. */
        if (status == WFVAE_STATUS_INVALID_STATE && tries)
            return fail("output", text);
        if (status != WFVAE_STATUS_IO || interrupted)
            return fail_wfvae("output");
        snprintf(text, sizeof text, "%s", wfvae_last_error(NULL));
        if (tries == 1) {
            warn(text);
            warn("this is tried again until it is closed, or until Control-C");
        }
    }
}

static int encode_clip(job *j)
{
    size_t width = j->info.width, height = j->info.height, count = 0, latents;
    int more = 1;

    while (more > 0) {
        more = y4m_read_frame(&j->in, j->frames[count].planes[0], width, width * height);
        if (interrupted)
            return fail(j->input, "interrupted; no latents are written");
        count += more > 0;
        if (more > 0 && count == j->chunk && j->whole_clip) {
            if (allocate(j, 2 * j->chunk))
                return -1;
            continue;
        }
        /* The complete frames of a truncated clip are encoded. */
        if (count == j->chunk || (more <= 0 && count)) {
            if (wfvae_encode_chunk(j->stream, j->frames, count, j->latents, j->latent_capacity, &latents))
                return fail_wfvae("encode");
            if (write_latents(j, latents))
                return -1;
            count = 0;
        }
    }
    if (wfvae_get_info(j->stream, &j->info))
        return fail_wfvae("info");
    if (j->info.frames_in == 0)
        return fail(j->input, more < 0 ? j->in.error : "no frame in the clip");
    if (wfvae_encode_flush(j->stream, j->latents, j->latent_capacity, &latents))
        return fail_wfvae("encode flush");
    if (write_latents(j, latents))
        return -1;
    if (wfvae_get_info(j->stream, &j->info))
        return fail_wfvae("info");
    if (finish(j))
        return -1;
    printf("%s: %lu frames of %ux%u, %lu latents of %ux%ux%u\n", j->output, (unsigned long)j->info.frames_in,
           j->info.width, j->info.height, (unsigned long)j->info.latents_out, j->info.encoded_channels,
           j->info.latent_height, j->info.latent_width);
    return fail_if_broken(&j->in, j->input, "encoded");
}

static int run(job *j)
{
    FILE *input;
    files f = {0};
    int failed;

    if (!strcmp(j->output, "-"))
        return fail_text("latents cannot be written to standard output; give the name of a file");
    files_model(&f, j->model_choice.path);
    if (files_read(&f, "the input", j->input) || files_write(&f, "the output", j->output))
        return fail_text(f.error);
    if (!(input = open_input(j->input)))
        return fail_system(j->input);
    failed = open_clip(&j->in, j->input, input, &j->clip) || open_all(j) || allocate(j, j->chunk) || encode_clip(j) ? -1 : 0;
    if (input != stdin)
        fclose(input);
    return failed;
}

/* 0, or the exit status. */
static int parse(int argc, char **argv, job *j)
{
    static const char *const kinds[] = {"mean", "sample", "moments", NULL}; /* as in wfvae_posterior */
    int letter, found;
    char *end;

    while ((letter = getopt(argc, argv, MODEL_LETTERS CLIP_LETTERS "p:s:fnxc:")) != -1) {
        int taken = model_option(letter, optarg, &j->model_choice);
        if (!taken)
            taken = clip_option(letter, optarg, &j->clip);
        if (taken < 0)
            goto wrong;
        if (taken)
            continue;
        switch (letter) {
        case 'p':
            if ((found = find_name(optarg, kinds)) < 0) goto wrong;
            j->options.posterior = (uint32_t)found;
            break;
        case 's':
            errno = 0;
            j->options.seed = strtoull(optarg, &end, 10);
            if (*optarg < '0' || *optarg > '9' || *end || errno) goto wrong;
            break;
        case 'f': j->options.latent_type = WFVAE_LATENT_TYPE_F16; break;
        case 'n': j->options.scaled = 1; break;
        case 'x': j->options.padding = 0; break;
        case 'c': j->chunk = number(optarg, 256); if (!j->chunk) goto wrong; break;
        case 'h': fputs(usage, stdout); j->help = 1; return 0;
        default: goto wrong;
        }
    }
    if (argc - optind != 2)
        return fail_usage(usage, -1, NULL);
    j->input = argv[optind];
    j->output = argv[optind + 1];
    return 0;
wrong:
    return fail_usage(usage, letter, optarg);
}

int main(int argc, char **argv)
{
    job j = {0};
    int failed;

    system_start(&argc, &argv);
    j.options.struct_size = sizeof j.options;
    j.options.padding = 1;
    j.chunk = 4;
    if ((failed = parse(argc, argv, &j)))
        return failed;
    system_on_interrupt(interrupt);

    failed = j.help ? 0 : run(&j);
    wfvae_latent_writer_destroy(j.writer);
    wfvae_destroy(j.stream);
    wfvae_model_close(j.model);
    y4m_close(&j.in);
    free(j.frames);
    free(j.pixels);
    free(j.latents);
    if (close_output(stdout) && !failed)
        failed = fail_system("standard output");
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
