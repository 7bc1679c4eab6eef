/* Latent files that calls.c writes and reads. */
#ifndef CALLS_FILES_H
#define CALLS_FILES_H

#include "calls.h"

#include <unistd.h>

enum { FILES = 2 };

static char folder[200];

static struct writer {
    wfvae_latent_writer *handle;
    wfvae_info info;
    const struct model *model;
    int half;
    uint64_t latents;
} writers[FILES];

static struct reader {
    wfvae_latent_reader *handle;
    wfvae_latent_file_info info;
} readers[FILES];

static void remove_folder(void)
{
    rmdir(folder);
}

static const char *file_name(unsigned index)
{
    static char path[300];

    if (!*folder) {
        const char *all = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/wfvae-calls-XXXXXX", all ? all : "/tmp");
        EXPECT(mkdtemp(folder));
        atexit(remove_folder);
    }
    snprintf(path, sizeof path, "%s/%u.latents", folder, index);
    return path;
}

static void close_files(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        wfvae_latent_writer_destroy(writers[i].handle);
        wfvae_latent_reader_close(readers[i].handle);
        unlink(file_name(i));
    }
    memset(writers, 0, sizeof writers);
    memset(readers, 0, sizeof readers);
}

static void create_writer(struct input *in, struct writer *writer, unsigned index)
{
    const struct stream *stream = &streams[below(in, STREAMS)];
    wfvae_latent_writer_options options = {0};
    wfvae_latent_writer *handle = NULL;
    int verdict = stream->handle ? GOOD : BAD;
    const void *given = NULL;
    char *note;

    if (below(in, 2)) {
        const uint32_t rates[][2] = {{0, 0}, {25, 1}, {30000, 1001}, {0, 1}, {1, 0}, {UINT32_MAX, UINT32_MAX}};
        const unsigned rate = below(in, 6);
        options.fps_num = rates[rate][0];
        options.fps_den = rates[rate][1];
        if (rate == 3 || rate == 4)
            mark(&verdict, BAD);
        if (below(in, 2)) {
            const size_t size = 1 + (seldom(in) ? 65535u + below(in, 3) : below(in, 9));
            note = block(size);
            memset(note, 'n', size - 1);
            note[size - 1] = '\0';
            options.note = note;
            if (size - 1 > 65536)
                mark(&verdict, BAD);
            if (size > 1 && seldom(in)) {
                note[0] = '\xff';
                mark(&verdict, BAD);
            }
        }
        given = sized(in, sizeof options, &options, &verdict);
    }
    const int elsewhere = seldom(in);
    const char *const paths[] = {NULL, "", "/", "/none/here", "/dev/null", "\xff/x"};
    const wfvae_status status = wfvae_latent_writer_create(stream->handle, elsewhere ? paths[below(in, 6)] : file_name(index), given, &handle);
    const int allowed = OK | ARGUMENT | (elsewhere ? IO : 0) | (stream->options.directions == WFVAE_DIRECTION_DECODE ? STATE : 0);
    const int can = stream->options.directions != WFVAE_DIRECTION_DECODE;
    if (!check_status("wfvae_latent_writer_create", status, allowed, verdict == GOOD && !elsewhere && can, verdict == BAD || elsewhere)) {
        EXPECT(!handle);
        return;
    }
    wfvae_latent_writer_destroy(writer->handle);
    writer->handle = handle;
    writer->info = info_of(stream);
    writer->model = stream->model;
    writer->half = stream->options.latent_type == WFVAE_LATENT_TYPE_F16;
    writer->latents = 0;
}

static void write_latents(struct input *in, struct writer *writer)
{
    int verdict = writer->handle ? GOOD : BAD, memory = GOOD;
    size_t count = below(in, 4);
    const void *latents = latent_memory(in, count, (size_t)writer->info.encoded_size, writer->half, 1, &memory);

    if (memory == BAD)
        mark(&verdict, count ? BAD : UNSURE);
    if (seldom(in)) {
        const size_t counts[] = {65537, SIZE_MAX};
        count = counts[below(in, 2)];
        mark(&verdict, BAD);
    }
    const wfvae_status status = wfvae_latent_writer_write(writer->handle, latents, count);
    if (check_status("wfvae_latent_writer_write", status, OK | ARGUMENT | STATE | NOT_FINITE, verdict == GOOD, verdict == BAD))
        writer->latents += count;
}

static void call_write_file(struct input *in)
{
    const unsigned index = below(in, FILES), what = below(in, 8);
    struct writer *writer = &writers[index];

    if (what == 0 || !writer->handle) {
        create_writer(in, writer, index);
    } else if (what < 5) {
        write_latents(in, writer);
    } else if (what < 7) {
        const uint64_t fits = wfvae_frames_for_latents(writer->model->handle, writer->latents);
        const uint64_t frames = seldom(in) ? (uint64_t)take(in) << (take(in) % 60) : fits;
        const wfvae_status status = wfvae_latent_writer_finish(writer->handle, frames);
        const int fit = frames && wfvae_latents_for_frames(writer->model->handle, frames) == writer->latents;
        if (check_status("wfvae_latent_writer_finish", status, OK | ARGUMENT | STATE, fit, !fit)) {
            wfvae_latent_reader *reader = NULL;
            EXPECT(!check_status("wfvae_latent_writer_finish", wfvae_latent_writer_finish(writer->handle, frames), STATE, 0, 1));
            check_status("wfvae_latent_reader_open", wfvae_latent_reader_open(file_name(index), &reader), OK, 1, 0);
            wfvae_latent_reader_close(reader);
        }
    } else {
        EXPECT(wfvae_latent_writer_last_error(writer->handle));
        wfvae_latent_writer_destroy(writer->handle);
        memset(writer, 0, sizeof *writer);
    }
}

static void open_reader(struct input *in, struct reader *reader, unsigned index)
{
    const char *const paths[] = {NULL, "", "/", "/dev/null", "tests/golden/README.md"};
    wfvae_latent_reader *handle = NULL;
    const int elsewhere = seldom(in);

    const wfvae_status status = wfvae_latent_reader_open(elsewhere ? paths[below(in, 5)] : file_name(index), &handle);
    if (!check_status("wfvae_latent_reader_open", status, OK | ARGUMENT | IO | LATENT_FILE, 0, elsewhere)) {
        EXPECT(!handle);
        return;
    }
    wfvae_latent_reader_close(reader->handle);
    reader->handle = handle;
    reader->info.struct_size = sizeof reader->info;
    check_status("wfvae_latent_reader_get_info", wfvae_latent_reader_get_info(handle, &reader->info), OK, 1, 0);
    EXPECT(reader->info.n_frames && reader->info.n_latents && reader->info.generator && reader->info.note);
}

static void read_latents(struct input *in, struct reader *reader)
{
    const wfvae_latent_file_info *info = &reader->info;
    const int moments = (int)below(in, 2), half = (int)below(in, 2);
    const size_t values = (size_t)info->latent_channels * info->latent_width * info->latent_height * (moments ? 2 : 1);
    size_t count = 1 + below(in, 3);
    uint64_t start = below(in, 3);
    uint32_t type = (uint32_t)half;
    int verdict = GOOD;
    void *latents = latent_memory(in, count, values * (half ? 2 : 4), half, 0, &verdict);

    if (seldom(in)) {
        const size_t counts[] = {0, 65537, SIZE_MAX};
        count = counts[below(in, 3)];
    }
    if (seldom(in)) {
        const uint64_t starts[] = {UINT64_MAX, UINT64_MAX - 2, info->n_latents};
        start = starts[below(in, 3)];
    }
    if (seldom(in))
        type = 2 + take(in);
    if (!count || count > 65536 || start > info->n_latents || count > info->n_latents - start || type > 1)
        mark(&verdict, BAD);
    const int wrong = moments && info->posterior != WFVAE_POSTERIOR_MOMENTS;
    const wfvae_status status = moments ? wfvae_latent_reader_read_moments(reader->handle, start, count, type, latents) :
                                          wfvae_latent_reader_read(reader->handle, start, count, type, latents);
    check_status("reading latents", status, OK | ARGUMENT | NOT_FINITE | (wrong ? STATE : 0), verdict == GOOD && !wrong,
                 verdict == BAD || wrong);
}

/* What a file holds goes through a stream that says that it can decode it. */
static void decode_file(struct input *in, struct reader *reader)
{
    struct work work = {.stream = &streams[below(in, STREAMS)]};
    struct stream *stream = work.stream;
    const int fits = check_status("wfvae_latent_reader_check_stream", wfvae_latent_reader_check_stream(reader->handle, stream->handle),
                                  OK | ARGUMENT | LATENT_FILE, 0, !stream->handle);

    if (!fits)
        return;
    const wfvae_info info = info_of(stream);
    EXPECT(info.latent_width == reader->info.latent_width && info.latent_height == reader->info.latent_height &&
           info.latent_channels == reader->info.latent_channels);
    if (stream->options.directions == WFVAE_DIRECTION_ENCODE)
        return;
    choose_decode(in, &work);
    if (work.given <= reader->info.n_latents && work.verdict == GOOD) {
        void *latents = block(work.given * (size_t)info.latent_size);
        work.latents = latents;
        if (wfvae_latent_reader_read(reader->handle, 0, work.given, stream->options.latent_type, latents) == WFVAE_STATUS_OK)
            run_checked(in, &work);
    }
}

static void call_read_file(struct input *in)
{
    const unsigned index = below(in, FILES), what = below(in, 8);
    struct reader *reader = &readers[index];

    if (what == 0 || !reader->handle) {
        open_reader(in, reader, index);
    } else if (what < 4) {
        read_latents(in, reader);
    } else if (what < 6) {
        decode_file(in, reader);
    } else if (what == 6) {
        const struct model *model = &models[below(in, MODELS)];
        check_status("wfvae_latent_reader_check_model", wfvae_latent_reader_check_model(reader->handle, model->handle), OK | LATENT_FILE, 0, 0);
    } else {
        wfvae_latent_reader_close(reader->handle);
        memset(reader, 0, sizeof *reader);
    }
}

#endif
