/* Checks that every status that a call returns is one that the function's comment in the header names. Include this after
 * wfvae.h, and call statuses_open() first. tests/header.rs checks that no function is missing here. */
#ifndef STATUSES_H
#define STATUSES_H

#include <wfvae.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char statuses_header[1 << 20];
static int statuses_checked, statuses_missing;

/* `path` of wfvae.h. */
static void statuses_open(const char *path)
{
    FILE *file = fopen(path, "r");

    if (!file || !fread(statuses_header, 1, sizeof statuses_header - 1, file)) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
}

/* Copies the "Returns:" of a function's comment; 0 if there is none. */
static int statuses_returns(const char *function, char *text, size_t size)
{
    char declaration[100];
    const char *end, *start = NULL, *next;
    size_t length;

    snprintf(declaration, sizeof declaration, "enum wfvae_status %s(", function);
    end = strstr(statuses_header, declaration);
    for (next = statuses_header; end && (next = strstr(next, "/// Returns:")) && next < end; next++)
        start = next;
    if (!start)
        return 0;
    next = strstr(start, "/// Thread-safety");
    length = (size_t)((next && next < end ? next : end) - start);
    if (length >= size)
        length = size - 1;
    memcpy(text, start, length);
    text[length] = 0;
    return 1;
}

/* Whether a text has `_NAME` as a word, alone or as WFVAE_STATUS_NAME. */
static int statuses_names(const char *text, const char *name)
{
    char word[100];
    const char *place;
    size_t length = (size_t)snprintf(word, sizeof word, "_%s", name);

    for (place = text; (place = strstr(place, word)); place++)
        if (place[length] != '_' && !isalnum((unsigned char)place[length]))
            return 1;
    return 0;
}

static wfvae_status seen(const char *function, wfvae_status status)
{
    char value[100], name[100] = "?", text[4000] = "", other[100];
    const char *place, *as;
    int named;

    /* The status's name follows the last WFVAE_STATUS_ before " = NUMBER,". */
    snprintf(value, sizeof value, " = %d,", (int)status);
    place = strstr(statuses_header, "typedef enum wfvae_status {");
    place = place ? strstr(place, value) : NULL;
    if (place) {
        const char *begin = place;
        while (begin > statuses_header && (begin[-1] == '_' || isalnum((unsigned char)begin[-1])))
            begin--;
        snprintf(name, sizeof name, "%.*s", (int)(place - begin) - 13, begin + 13);
    }
    named = statuses_returns(function, text, sizeof text) && statuses_names(text, name);
    as = strstr(text, "as wfvae_");
    if (!named && as && sscanf(as + 3, "%99[a-z_]", other) == 1)
        named = statuses_returns(other, text, sizeof text) && statuses_names(text, name);
    statuses_checked++;
    if (!named && status != WFVAE_STATUS_INTERNAL) {
        printf("%s: returned %s, which its comment does not name\n", function, name);
        statuses_missing++;
    }
    return status;
}

#define wfvae_latent_writer_create(...) seen("wfvae_latent_writer_create", wfvae_latent_writer_create(__VA_ARGS__))
#define wfvae_latent_writer_write(...) seen("wfvae_latent_writer_write", wfvae_latent_writer_write(__VA_ARGS__))
#define wfvae_latent_writer_finish(...) seen("wfvae_latent_writer_finish", wfvae_latent_writer_finish(__VA_ARGS__))
#define wfvae_latent_reader_open(...) seen("wfvae_latent_reader_open", wfvae_latent_reader_open(__VA_ARGS__))
#define wfvae_latent_reader_get_info(...) seen("wfvae_latent_reader_get_info", wfvae_latent_reader_get_info(__VA_ARGS__))
#define wfvae_latent_reader_check_model(...) seen("wfvae_latent_reader_check_model", wfvae_latent_reader_check_model(__VA_ARGS__))
#define wfvae_latent_reader_check_stream(...) seen("wfvae_latent_reader_check_stream", wfvae_latent_reader_check_stream(__VA_ARGS__))
#define wfvae_latent_reader_read(...) seen("wfvae_latent_reader_read", wfvae_latent_reader_read(__VA_ARGS__))
#define wfvae_latent_reader_read_moments(...) seen("wfvae_latent_reader_read_moments", wfvae_latent_reader_read_moments(__VA_ARGS__))
#define wfvae_model_open(...) seen("wfvae_model_open", wfvae_model_open(__VA_ARGS__))
#define wfvae_model_get_info(...) seen("wfvae_model_get_info", wfvae_model_get_info(__VA_ARGS__))
#define wfvae_model_save_onnx(...) seen("wfvae_model_save_onnx", wfvae_model_save_onnx(__VA_ARGS__))
#define wfvae_create(...) seen("wfvae_create", wfvae_create(__VA_ARGS__))
#define wfvae_estimate(...) seen("wfvae_estimate", wfvae_estimate(__VA_ARGS__))
#define wfvae_encode_chunk(...) seen("wfvae_encode_chunk", wfvae_encode_chunk(__VA_ARGS__))
#define wfvae_encode_flush(...) seen("wfvae_encode_flush", wfvae_encode_flush(__VA_ARGS__))
#define wfvae_decode_chunk(...) seen("wfvae_decode_chunk", wfvae_decode_chunk(__VA_ARGS__))
#define wfvae_decode_flush(...) seen("wfvae_decode_flush", wfvae_decode_flush(__VA_ARGS__))
#define wfvae_reset(...) seen("wfvae_reset", wfvae_reset(__VA_ARGS__))
#define wfvae_cancel(...) seen("wfvae_cancel", wfvae_cancel(__VA_ARGS__))
#define wfvae_set_frame_count(...) seen("wfvae_set_frame_count", wfvae_set_frame_count(__VA_ARGS__))
#define wfvae_set_seed(...) seen("wfvae_set_seed", wfvae_set_seed(__VA_ARGS__))
#define wfvae_get_progress(...) seen("wfvae_get_progress", wfvae_get_progress(__VA_ARGS__))
#define wfvae_encode_frames(...) seen("wfvae_encode_frames", wfvae_encode_frames(__VA_ARGS__))
#define wfvae_decode_frames(...) seen("wfvae_decode_frames", wfvae_decode_frames(__VA_ARGS__))
#define wfvae_decode_flush_frames(...) seen("wfvae_decode_flush_frames", wfvae_decode_flush_frames(__VA_ARGS__))
#define wfvae_get_info(...) seen("wfvae_get_info", wfvae_get_info(__VA_ARGS__))
#define wfvae_encode_count(...) seen("wfvae_encode_count", wfvae_encode_count(__VA_ARGS__))
#define wfvae_encode_flush_count(...) seen("wfvae_encode_flush_count", wfvae_encode_flush_count(__VA_ARGS__))
#define wfvae_decode_count(...) seen("wfvae_decode_count", wfvae_decode_count(__VA_ARGS__))
#define wfvae_decode_flush_count(...) seen("wfvae_decode_flush_count", wfvae_decode_flush_count(__VA_ARGS__))
#define wfvae_snapshot_create(...) seen("wfvae_snapshot_create", wfvae_snapshot_create(__VA_ARGS__))
#define wfvae_snapshot_restore(...) seen("wfvae_snapshot_restore", wfvae_snapshot_restore(__VA_ARGS__))
#define wfvae_snapshot_write(...) seen("wfvae_snapshot_write", wfvae_snapshot_write(__VA_ARGS__))
#define wfvae_snapshot_read(...) seen("wfvae_snapshot_read", wfvae_snapshot_read(__VA_ARGS__))
#define wfvae_fork(...) seen("wfvae_fork", wfvae_fork(__VA_ARGS__))
#define wfvae_convert_frame(...) seen("wfvae_convert_frame", wfvae_convert_frame(__VA_ARGS__))

#endif
