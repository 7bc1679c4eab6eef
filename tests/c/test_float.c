/* The calling thread's floating-point mode: results do not depend on it, and every call leaves it unchanged. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)

/* MXCSR, and the x87's control and status words. The low six bits of MXCSR and of the status are exception flags. */
typedef struct mode {
    const char *name;
    unsigned sse;
    unsigned short x87, seen;
} mode;

static const mode modes[] = {
    {"the default", 0x1f80, 0x037f, 0},
    {"denormals as zeros", 0x9fc0, 0x037f, 0},
    {"rounding down", 0x3f80, 0x077f, 0},
    {"rounding up", 0x5f80, 0x0b7f, 0},
    {"rounding to zero", 0x7f80, 0x0f7f, 0},
    {"x87 with 53 bits", 0x1f80, 0x027f, 0},
    {"all exceptions seen", 0x1fbf, 0x037f, 0x3f},
    {"all exceptions trap", 0x0000, 0x0340, 0},
    {"all at once", 0xe040, 0x0e40, 0},
};

static void set_mode(const mode *m)
{
    unsigned environment[7];

    __asm__ volatile("fnstenv %0" : "=m"(environment));
    environment[0] = (environment[0] & 0xffff0000u) | m->x87;
    environment[1] = (environment[1] & 0xffffff00u) | m->seen;
    __asm__ volatile("fldenv %0" : : "m"(environment));
    __asm__ volatile("ldmxcsr %0" : : "m"(m->sse));
}

static int has_mode(const mode *m)
{
    unsigned sse;
    unsigned short x87, seen;

    __asm__ volatile("stmxcsr %0" : "=m"(sse));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    __asm__ volatile("fnstsw %0" : "=m"(seen));
    return sse == m->sse && x87 == m->x87 && (seen & 0x3f) == m->seen;
}

#elif defined(__aarch64__)

/* FPCR and FPSR. CPUs need not have traps. */
typedef struct mode {
    const char *name;
    unsigned long control, seen;
} mode;

static const mode modes[] = {
    {"the default", 0, 0},
    {"denormals as zeros", 1ul << 24, 0},
    {"rounding down", 2ul << 22, 0},
    {"rounding up", 1ul << 22, 0},
    {"rounding to zero", 3ul << 22, 0},
    {"all exceptions seen", 0, 0x9f},
    {"NaN by default", 1ul << 25, 0},
    {"all at once", 7ul << 22, 0x9f},
};

static void set_mode(const mode *m)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(m->control));
    __asm__ volatile("msr fpsr, %0" : : "r"(m->seen));
}

static int has_mode(const mode *m)
{
    unsigned long control, seen;

    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(seen));
    return control == m->control && (seen & 0x9f) == m->seen;
}

#else
#define NO_MODES
#endif

#ifdef NO_MODES

int main(void)
{
    printf("skipped: this test does not know the CPU\n");
    return EXIT_SUCCESS;
}

#else

enum { WIDTH = 64, HEIGHT = 48, FRAMES = 9, LATENTS = 3, PLANE = WIDTH * HEIGHT };

enum { MODES = sizeof modes / sizeof *modes };

typedef struct output {
    unsigned short latents[LATENTS][2 * 64 * (WIDTH / 8) * (HEIGHT / 8)];
    unsigned char bytes[FRAMES][PLANE * 3];
} output;

static float video[FRAMES][3][PLANE];
static unsigned messages, wrong_messages;

/* Traps are on, so nothing may compute with floats here between two calls of the library. */
static const mode *current;

static int check_mode(const char *call)
{
    if (has_mode(current))
        return 1;
    set_mode(&modes[0]);
    printf("FAILED %s: %s changed the mode\n", current->name, call);
    exit(EXIT_FAILURE);
}

#define CALL(call) (must((call) == WFVAE_STATUS_OK, #call), check_mode(#call))

/* Must run in the default mode, and changes it. */
static void receive(void *user, uint32_t level, const char *text)
{
    (void)user, (void)level, (void)text;
    messages++;
    if (!has_mode(&modes[0]))
        wrong_messages++;
    set_mode(&modes[3]);
}

static void run(const mode *m, unsigned threads, int late, output *out)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_model *model = NULL;
    wfvae_stream *stream = NULL;
    wfvae_frame in[FRAMES], decoded[FRAMES];
    size_t first, rest, frames, i, p;

    memset(in, 0, sizeof in);
    memset(decoded, 0, sizeof decoded);
    for (i = 0; i < FRAMES; i++) {
        in[i].struct_size = decoded[i].struct_size = sizeof *in;
        in[i].width = decoded[i].width = WIDTH;
        in[i].height = decoded[i].height = HEIGHT;
        in[i].format = WFVAE_PIXEL_FORMAT_RGBP_F32;
        for (p = 0; p < 3; p++) {
            in[i].planes[p] = video[i][p];
            in[i].strides[p] = WIDTH * sizeof(float);
        }
        decoded[i].format = WFVAE_PIXEL_FORMAT_RGB8;
        decoded[i].planes[0] = out->bytes[i];
        decoded[i].strides[0] = 3 * WIDTH;
    }
    model_options.struct_size = sizeof model_options;
    model_options.n_threads = threads;
    model_options.log_callback = receive;
    model_options.log_level = WFVAE_LOG_LEVEL_DEBUG;
    options.struct_size = sizeof options;
    options.width = WIDTH;
    options.height = HEIGHT;
    options.posterior = WFVAE_POSTERIOR_SAMPLE;
    options.seed = 3;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    info.struct_size = sizeof info;

    current = late ? &modes[0] : m;
    set_mode(current);
    CALL(wfvae_model_open(NULL, &model_options, &model));
    if (late == 1) {
        current = m;
        set_mode(current);
    }
    CALL(wfvae_create(model, &options, &stream));
    current = m;
    set_mode(current);
    CALL(wfvae_get_info(stream, &info));
    must(info.encoded_size * LATENTS <= sizeof out->latents, "room for latents");
    CALL(wfvae_encode_chunk(stream, in, FRAMES, out->latents, LATENTS, &first));
    CALL(wfvae_encode_flush(stream, (char *)out->latents + first * info.encoded_size, LATENTS - first, &rest));
    CALL(wfvae_decode_chunk(stream, out->latents, first + rest, decoded, FRAMES, &frames));
    CALL(wfvae_decode_flush(stream, decoded + frames, FRAMES - frames, &rest));
    /* A call that fails, and those that return nothing. */
    must(wfvae_encode_chunk(stream, NULL, 1, NULL, 0, &rest) != WFVAE_STATUS_OK, "a call without frames");
    check_mode("a call that fails");
    CALL(wfvae_reset(stream));
    wfvae_destroy(stream);
    wfvae_model_close(model);
    check_mode("closing");
    set_mode(&modes[0]);
}

int main(void)
{
    static const char *when[] = {"before the model is opened", "before the stream is made", "before the first frame"};
    output *expected = calloc(1, sizeof *expected), *found = calloc(1, sizeof *found);
    unsigned noise = 1, i, threads, late;
    char name[128];

    must(expected != NULL && found != NULL, "memory");
    for (i = 0; i < FRAMES * 3 * PLANE; i++) {
        noise = noise * 1103515245u + 12345u;
        /* Some values are denormal, some outside the range of a picture. */
        ((float *)video)[i] = i % 83 == 0 ? 1e-41f : i % 97 == 0 ? 8.0f : (float)(noise >> 8) / (float)(1 << 24);
    }
    run(&modes[0], 1, 0, expected);
    for (i = 0; i < MODES; i++) {
        for (threads = 1; threads <= 2; threads++) {
            for (late = 0; late < 3; late++) {
                memset(found, 0, sizeof *found);
                run(&modes[i], threads, (int)late, found);
                sprintf(name, "%s, set %s, %u threads", modes[i].name, when[late], threads);
                result(name, memcmp(expected, found, sizeof *found) == 0);
            }
        }
    }
    result("messages come in the default mode", messages > 0 && wrong_messages == 0);
    printf("%d passed, %d failed\n", passed, failed);
    free(expected);
    free(found);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
