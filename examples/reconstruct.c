/* Streams a clip through a WF-VAE and back: Y4M in, Y4M out. Reports the quality and speed of the round trip.
 *
 *     reconstruct [options] [INPUT.y4m [OUTPUT.y4m]]
 *
 * INPUT and OUTPUT default to "-", standard input and output, so it works in a pipe:
 *
 *     ffmpeg -i clip.mkv -f yuv4mpegpipe - | reconstruct | ffmpeg -i - out.mkv
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#ifndef PROGRAM /* its installed name is another */
#define PROGRAM "reconstruct"
#endif

#include <wfvae.h>

#include "clip.h"
#include "files.h"
#include "frames.h"
#include "options.h"
#include "png.h"
#include "y4m.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: " PROGRAM " [options] [INPUT.y4m [OUTPUT.y4m]]\n"
    "Encodes and decodes a clip, as a stream. Without names, or with \"-\", reads standard input and writes to standard\n"
    "output. Of a truncated clip the complete frames are written, and the program fails.\n"
    MODEL_USAGE CLIP_USAGE
    "  -c FRAMES   frames per call, 1 to 256 (default 4)\n"
    "  -w FRAMES   process the whole clip, of at most FRAMES frames, in one call, one tile after another; needed for models\n"
    "              that cannot stream\n"
    "  -T exact|blended  process frames in tiles, of -s SIZE or as large as -b allows\n"
    "  -s SIZE     width and height of tiles, in pixels\n"
    "  -b MB       memory limit, in megabytes\n"
    "  -H          store causal caches in half precision\n"
    "  -p FILE     write a PNG picture of frame 16, or of the last if there are fewer: source, reconstruction, and their\n"
    "              difference times 4\n"
    "  -q          no progress\n";

#define PICTURE_FRAME 16

typedef struct options {
    model_choice model;
    const char *input, *output, *picture;
    size_t chunk;
    clip_choice clip;
    size_t clip_frames, megabytes;
    uint32_t tiling, tile;
    int quiet, help;
} options;

/* A ring of source frames, planar float RGB from 0 to 1, kept until their reconstructions come out. */
typedef struct ring {
    float *pixels;
    size_t frame, capacity, written, read;
} ring;

typedef struct job {
    wfvae_model *model;
    wfvae_stream *stream;
    wfvae_info info;
    wfvae_model_info model_info;
    wfvae_memory memory;
    y4m_stream in, out;
    FILE *input, *output;     /* the output is opened when the first frame is written */
    ring sources;
    wfvae_frame *frames;      /* the chunk to encode */
    wfvae_frame *decoded;     /* the frames that come out */
    float *decoded_pixels;
    size_t decoded_capacity;
    void *latents;
    size_t latent_capacity;
    double squared_error, samples;
    double encode_seconds, decode_seconds;
    unsigned char *picture;   /* packed RGB: three frames side by side */
    size_t picture_frame;
    int at_once, progress;
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static float *ring_at(const ring *r, size_t index)
{
    return r->pixels + index % r->capacity * r->frame;
}

/* Compares in 8 bits, as pictures are displayed. */
static void compare(job *j, size_t index, const float *source, const float *decoded)
{
    size_t width = j->info.width, height = j->info.height, n = 3 * width * height, i, y;
    unsigned char *a = j->picture, *b = a + n;

    y4m_pack_rgb8(source, width, width * height, (int)width, (int)height, a);
    y4m_pack_rgb8(decoded, width, width * height, (int)width, (int)height, b);
    for (i = 0; i < n; i++) {
        double difference = (double)a[i] - (double)b[i];
        j->squared_error += difference * difference;
    }
    j->samples += (double)n;
    if (index <= PICTURE_FRAME) {
        unsigned char *out = b + n;
        j->picture_frame = index;
        for (y = 0; y < height; y++) {
            const unsigned char *row_a = a + y * 3 * width, *row_b = b + y * 3 * width;
            unsigned char *row = out + y * 9 * width;
            memcpy(row, row_a, 3 * width);
            memcpy(row + 3 * width, row_b, 3 * width);
            for (i = 0; i < 3 * width; i++) {
                int difference = 4 * abs((int)row_a[i] - (int)row_b[i]);
                row[6 * width + i] = (unsigned char)(difference > 255 ? 255 : difference);
            }
        }
    }
}

static int take(job *j, size_t count)
{
    size_t width = j->info.width, height = j->info.height, i;

    for (i = 0; i < count; i++) {
        const float *decoded = j->decoded[i].planes[0];
        compare(j, j->sources.read, ring_at(&j->sources, j->sources.read), decoded);
        j->sources.read++;
        if (y4m_write_frame(&j->out, decoded, width, width * height))
            return fail("output", j->out.error);
    }
    if (j->progress) {
        fprintf(stderr, "\r%lu frames", (unsigned long)j->sources.read);
        fflush(stderr);
    }
    return 0;
}

static int decode(job *j, size_t latents)
{
    size_t frames;
    double start = now();

    if (latents == 0)
        return 0;
    if (wfvae_decode_chunk(j->stream, j->latents, latents, j->decoded, j->decoded_capacity, &frames))
        return fail_wfvae("decode");
    j->decode_seconds += now() - start;
    return take(j, frames);
}

static int encode(job *j, size_t count)
{
    size_t latents;
    double start = now();

    if (wfvae_encode_chunk(j->stream, j->frames, count, j->latents, j->latent_capacity, &latents))
        return fail_wfvae("encode");
    j->encode_seconds += now() - start;
    return decode(j, latents);
}

/* The clip's end: the encoder completes its last group, and the decoder writes the frames that it held back. */
static int finish(job *j)
{
    size_t latents, frames;
    double start = now();

    if (wfvae_set_frame_count(j->stream, j->sources.written))
        return fail_wfvae("frame count");
    if (wfvae_encode_flush(j->stream, j->latents, j->latent_capacity, &latents))
        return fail_wfvae("encode flush");
    j->encode_seconds += now() - start;
    if (decode(j, latents))
        return -1;
    start = now();
    if (wfvae_decode_flush(j->stream, j->decoded, j->decoded_capacity, &frames))
        return fail_wfvae("decode flush");
    j->decode_seconds += now() - start;
    return take(j, frames);
}

/* An existing output is not touched before there is something to write. */
static int begin_output(job *j, const char *path)
{
    if (!(j->output = open_output(path)))
        return fail_system(path);
    return y4m_open_write(&j->out, j->output, &j->in.info) ? fail("output", j->out.error) : 0;
}

static int stream_clip(job *j, const options *o, size_t chunk)
{
    size_t width = j->info.width, height = j->info.height, count = 0;
    int more = 1;

    while (more > 0) {
        float *pixels = ring_at(&j->sources, j->sources.written);
        more = y4m_read_frame(&j->in, pixels, width, width * height);
        if (more > 0) {
            j->frames[count++] = planar_frame(pixels, j->info.width, j->info.height);
            if (j->sources.written++ == 0 && begin_output(j, o->output))
                return -1;
            if (j->at_once && j->sources.written > chunk)
                return fail(o->input, "the clip is longer than -w says; the output holds its first frames only");
        }
        /* The complete frames of a truncated clip are reconstructed. */
        if (count == chunk || (more <= 0 && count)) {
            /* One call decodes the whole clip too, and must know its length. */
            if (j->at_once && wfvae_set_frame_count(j->stream, j->sources.written))
                return fail_wfvae("frame count");
            if (encode(j, count))
                return -1;
            count = 0;
        }
    }
    if (j->sources.written == 0)
        return fail(o->input, more < 0 ? j->in.error : "no frame in the clip");
    return finish(j);
}

static int open_stream(job *j, options *o)
{
    wfvae_options stream_options;

    if (open_model(&o->model, &j->model))
        return fail_wfvae("model");

    memset(&stream_options, 0, sizeof stream_options);
    stream_options.struct_size = sizeof stream_options;
    stream_options.width = (uint32_t)j->in.info.width;
    stream_options.height = (uint32_t)j->in.info.height;
    stream_options.padding = 1;
    stream_options.clip_frames = o->clip_frames;
    stream_options.tiling = o->tiling;
    stream_options.tile_width = stream_options.tile_height = o->tile;
    stream_options.memory_limit = (uint64_t)o->megabytes * 1000000;
    j->memory.struct_size = sizeof j->memory;
    if (wfvae_estimate(j->model, &stream_options, &j->memory))
        return fail_wfvae("memory");
    if (wfvae_create(j->model, &stream_options, &j->stream))
        return fail_wfvae("stream");

    j->info.struct_size = sizeof j->info;
    j->model_info.struct_size = sizeof j->model_info;
    if (wfvae_get_info(j->stream, &j->info) || wfvae_model_get_info(j->model, &j->model_info))
        return fail_wfvae("info");
    j->at_once = o->clip_frames > 0;
    if (j->model_info.whole_clips && !j->at_once)
        return fail("model", "it cannot stream; give the whole clip at once, with -w");
    return 0;
}

static int allocate(job *j, size_t chunk)
{
    size_t unit = j->model_info.temporal_compression, i;

    j->sources.frame = 3 * (size_t)j->info.width * j->info.height;
    j->sources.capacity = chunk + j->model_info.encode_delay + j->model_info.decode_delay + 1;
    j->latent_capacity = chunk / unit + 2;
    /* The frames of a chunk's latents, a whole group each, and those that the decoder held back before. */
    j->decoded_capacity = j->latent_capacity * unit + j->model_info.decode_delay;

    j->sources.pixels = malloc(j->sources.capacity * j->sources.frame * sizeof(float));
    j->decoded_pixels = malloc(j->decoded_capacity * j->sources.frame * sizeof(float));
    j->frames = calloc(chunk, sizeof *j->frames);
    j->decoded = calloc(j->decoded_capacity, sizeof *j->decoded);
    j->latents = malloc(j->latent_capacity * j->info.encoded_size);
    j->picture = malloc(5 * j->sources.frame);
    if (!j->sources.pixels || !j->decoded_pixels || !j->frames || !j->decoded || !j->latents || !j->picture)
        return fail("memory", "not enough");
    for (i = 0; i < j->decoded_capacity; i++)
        j->decoded[i] = planar_frame(j->decoded_pixels + i * j->sources.frame, j->info.width, j->info.height);
    return 0;
}

static int write_picture(const job *j, const char *path)
{
    size_t width = j->info.width, height = j->info.height;
    FILE *file = open_output(path);
    const char *error;

    if (!file)
        return fail_system(path);
    error = png_write_rgb8(file, j->picture + 2 * j->sources.frame, (int)(3 * width), (int)height, 9 * width);
    if (close_output(file) && !error)
        return fail_system(path);
    return error ? fail(path, error) : 0;
}

static void report(const job *j, const options *o, FILE *file)
{
    double frames = (double)j->sources.read, mse = j->squared_error / j->samples;
    double values_in = frames * (double)j->sources.frame;
    double values = (double)j->info.latents_out * j->info.latent_channels * j->info.latent_width * j->info.latent_height;

    fprintf(file, "%s: %ux%u, %.0f frames, %lu latents of %ux%ux%u, ratio %.1f (values)\n", o->input, j->info.width,
            j->info.height, frames, (unsigned long)j->info.latents_out, j->info.latent_channels, j->info.latent_height,
            j->info.latent_width, values_in / values);
    fprintf(file, "model: %s, %s, ONNX Runtime %s\n", j->model_info.name, j->model_info.provider,
            j->model_info.runtime_version);
    fprintf(file, "memory: %.1f MB of weights in %u sessions; causal caches and buffers %.1f MB encode, %.1f MB decode\n",
            (double)j->model_info.weight_bytes / 1e6, j->model_info.sessions, (double)j->info.encode_state_bytes / 1e6,
            (double)j->info.decode_state_bytes / 1e6);
    fprintf(file, "estimate: %.1f MB in all, %.1f MB of it working memory", (double)j->memory.total_bytes / 1e6,
            (double)j->memory.working_bytes / 1e6);
    if (o->tiling)
        fprintf(file, "; %u tiles of %ux%u encode, %u of %ux%u decode", j->memory.encode_tiles,
                j->memory.encode_tile_width, j->memory.encode_tile_height, j->memory.decode_tiles,
                j->memory.decode_tile_width, j->memory.decode_tile_height);
    fprintf(file, "\nencode %.2f s, %.1f frames/s\n", j->encode_seconds, frames / j->encode_seconds);
    fprintf(file, "decode %.2f s, %.1f frames/s\n", j->decode_seconds, frames / j->decode_seconds);
    if (mse > 0)
        fprintf(file, "psnr %.2f dB\n", 10 * log10(255 * 255 / mse));
    else
        fprintf(file, "psnr inf dB\n");
    if (o->picture)
        fprintf(file, "%s: frame %lu: source, reconstruction, difference times 4\n", o->picture,
                (unsigned long)j->picture_frame);
}

static int run(job *j, options *o)
{
    const size_t chunk = o->clip_frames ? o->clip_frames : o->chunk;
    FILE *text;
    files f = {0};

    /* If the clip goes to standard output, the report goes to standard error. It must not go into an output file either. */
    if (is_standard_output(o->output))
        o->output = "-";
    text = strcmp(o->output, "-") ? stdout : stderr;
    files_model(&f, o->model.path);
    if (files_read(&f, "the input", o->input) || files_write(&f, "the output", o->output) ||
        files_write(&f, "the picture", o->picture) || (text == stdout && files_write(&f, "the report", "-")))
        return fail_text(f.error);

    if (!(j->input = open_input(o->input)))
        return fail_system(o->input);
    if (open_clip(&j->in, o->input, j->input, &o->clip) || open_stream(j, o) || allocate(j, chunk) ||
        stream_clip(j, o, chunk))
        return -1;
    if (wfvae_get_info(j->stream, &j->info))
        return fail_wfvae("info");
    if (j->progress)
        fprintf(stderr, "\r");
    report(j, o, text);
    if (o->picture && write_picture(j, o->picture))
        return -1;
    return fail_if_broken(&j->in, o->input, "reconstructed and written");
}

/* 0, or the exit status. */
static int parse(int argc, char **argv, options *o)
{
    int letter;

    while ((letter = getopt(argc, argv, MODEL_LETTERS CLIP_LETTERS "c:w:T:s:b:Hp:q")) != -1) {
        int taken = model_option(letter, optarg, &o->model);
        if (!taken)
            taken = clip_option(letter, optarg, &o->clip);
        if (taken < 0)
            goto wrong;
        if (taken)
            continue;
        switch (letter) {
        case 'c': o->chunk = number(optarg, 256); if (!o->chunk) goto wrong; break;
        case 'w': o->clip_frames = number(optarg, 65536); if (!o->clip_frames) goto wrong; break;
        case 'T':
            if (strcmp(optarg, "exact") && strcmp(optarg, "blended")) goto wrong;
            o->tiling = strcmp(optarg, "exact") ? WFVAE_TILING_BLENDED : WFVAE_TILING_EXACT;
            break;
        case 's': o->tile = (uint32_t)number(optarg, 32768); if (!o->tile) goto wrong; break;
        case 'b': o->megabytes = number(optarg, 1000000000); if (!o->megabytes) goto wrong; break;
        case 'H': o->model.options.cache_type = WFVAE_CACHE_TYPE_F16; break;
        case 'p': o->picture = optarg; if (!strcmp(optarg, "-")) goto wrong; break;
        case 'q': o->quiet = 1; break;
        case 'h': fputs(usage, stdout); o->help = 1; return 0;
        default: goto wrong;
        }
    }
    if (optind < argc) o->input = argv[optind++];
    if (optind < argc) o->output = argv[optind++];
    return optind < argc ? fail_usage(usage, -1, NULL) : 0;
wrong:
    return fail_usage(usage, letter, optarg);
}

int main(int argc, char **argv)
{
    options o = {0};
    job *j = calloc(1, sizeof *j);
    int failed;

    system_start(&argc, &argv);
    o.input = o.output = "-";
    o.chunk = 4;
    failed = parse(argc, argv, &o);
    if (failed || !j) {
        free(j);
        return failed ? failed : (fail("memory", "not enough"), EXIT_FAILURE);
    }
    if (!o.help) {
        j->progress = !o.quiet && system_is_terminal(stderr);
        failed = run(j, &o);
    }
    wfvae_destroy(j->stream);
    wfvae_model_close(j->model);
    y4m_close(&j->in);
    y4m_close(&j->out);
    free(j->sources.pixels);
    free(j->decoded_pixels);
    free(j->frames);
    free(j->decoded);
    free(j->latents);
    free(j->picture);
    if (j->input && j->input != stdin)
        fclose(j->input);
    if (j->output && j->output != stdout && close_output(j->output) && !failed)
        failed = fail_system(o.output);
    if (close_output(stdout) && !failed)
        failed = fail_system("standard output");
    free(j);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
