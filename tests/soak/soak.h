/* Long runs over the public header. Each part works until its end and checks every result, bit for bit, against a stream that
 * nothing disturbed; the first wrong one ends the program. Meanwhile it writes what the process holds to a table, which run.py
 * judges and draws. For Linux with glibc 2.33 or newer. */
#ifndef SOAK_H
#define SOAK_H

#include <wfvae.h>

#include <stddef.h>
#include <stdint.h>

enum { MOST_LATENTS = 64, MOST_FRAMES = 256 };

/* What a part does wrong on purpose, so that run.py can show that it is noticed. */
typedef enum plant { PLANT_NOTHING, PLANT_MEMORY, PLANT_DESCRIPTOR, PLANT_THREAD, PLANT_BIT } plant;

typedef struct settings {
    const char *golden; /* the folder of small models */
    const char *table;
    uint64_t count; /* of what the part counts: frames, opens or turns */
    double seconds; /* part threads: how long */
    double interval; /* seconds between two samples */
    uint64_t seed;
    plant planted;
    size_t planted_bytes;
} settings;

extern settings set;

/* ---- main.c ---- */

/* Prints what is wrong, with the library's last text, and ends the process without its exit handlers, as other threads may run. */
void fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));
#define FAIL(...) fail(__FILE__, __LINE__, __VA_ARGS__)
#define MUST(condition, ...) ((condition) ? (void)0 : FAIL(__VA_ARGS__))

void *allocate(size_t size);

/* A number below `below`, by the generator of splitmix64. Each thread has a state of its own. */
size_t chance(uint64_t *state, size_t below);

/* ---- samples.c ---- */

void samples_open(void);
int sample_is_due(void);
/* Writes a line. Call it while nothing works. done: of what the part counts. held: bytes of the snapshots that the part holds, which
 * are left out of the blocks of malloc, as they are more or less by chance. */
void sample(uint64_t done, size_t held);
void samples_close(void);
double seconds_since_start(void);

/* Does once what was planted, if it is time: call it once for each that the part counts. */
void plant_something(uint64_t done);
/* Whether a result must be made wrong now, which is so once, when `late` is set. For one thread only. */
int plant_bit(int late);

/* ---- clips.c ---- */

/* A model, the size of its streams, and the sizes that follow. */
typedef struct kind {
    const char *path; /* NULL: the built-in model */
    wfvae_model *model;
    uint32_t width, height;
    size_t frame_size, latent_size;
    size_t group; /* frames of a latent after the first */
} kind;

/* What goes into a stream, and what came out of one that was not disturbed: a whole clip with both flushes. */
typedef struct clip {
    size_t n_frames, n_latents;
    unsigned char *in, *latents, *out;
} clip;

wfvae_model *open_model(const char *path, uint32_t n_threads);
/* directions: 0 for both. */
wfvae_stream *create(const kind *k, uint32_t directions);
kind make_kind(const char *path, wfvae_model *model, uint32_t width, uint32_t height);

/* The pixels of a frame, different in each clip. */
void paint(const kind *k, unsigned char *pixels, unsigned which, size_t frame);
/* Frames that lie one after another. */
void describe(const kind *k, wfvae_frame *frames, size_t n, unsigned char *pixels);
clip make_clip(const kind *k, unsigned which, size_t n_frames);
void drop_clip(clip *c);

/* Encodes and decodes a clip on a new or reset stream, and whether the result is the clip's. */
int plays(wfvae_stream *stream, const kind *k, const clip *c);

/* ---- parts ---- */

void part_stream(void);
void part_open(void);
void part_threads(void);

#endif
