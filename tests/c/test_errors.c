/* Bad input of every kind through the C ABI. Each gives its status and a text that says what is wrong, and a stream
 * that met it goes on to the same numbers, bit for bit, as one that did not.
 *
 *     test_errors GOLDEN [quick]
 *
 * GOLDEN holds v1-image, of which damaged copies are made in a temporary folder. quick, for valgrind, lets only every
 * twentieth stream go on, and does not use up the memory. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "statuses.h"
#include "temporary.h"

#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, FRAMES = 8, LATENTS = 3, NUMBERS = 4, UNTOUCHED = 77 };

#define CONFIG_JSON "config.json"
#define INDEX_JSON "diffusion_pytorch_model.safetensors.index.json"
#define WEIGHTS "model.safetensors"

/* One clip on its way through the stream. */
static struct {
    wfvae_model *model;
    wfvae *stream;
    wfvae_frame frames[FRAMES], decoded[FRAMES];
    unsigned char in[FRAMES][3 * PIXELS], out[FRAMES][3 * PIXELS];
    float latents[LATENTS][NUMBERS];
    size_t frames_in, latents_out, latents_in, frames_out;
    size_t count; /* where the calls write theirs */
} s;

/* What the clip gives when nothing disturbs it. */
static float right_latents[LATENTS][NUMBERS];
static unsigned char right_out[FRAMES][3 * PIXELS];

/* For what is not a frame of the clip. */
static float floats[3][PIXELS];
static unsigned char upside_down[3 * PIXELS];

static char golden[1000], folder[1000];
static int quick;

/* Whether a call gave its status and text; text is NULL for one that succeeds. */
static int right(const char *name, wfvae_status found, wfvae_status expected, const char *text)
{
    const char *error = wfvae_last_error(NULL);
    const int ok = found == expected && (!text || strstr(error, text));

    if (!ok)
        printf("%s: found %d \"%s\", expected %d \"%s\"\n", name, (int)found, found ? error : "", (int)expected,
               text ? text : "");
    return ok;
}

/* A row that leaves no stream behind. */
#define PLAIN(name, status, text, call) result(name, right(name, call, WFVAE_STATUS_##status, text))

/* ---- the clip ---- */

static void describe(wfvae_frame *frame, void *pixels)
{
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->format = WFVAE_PIXEL_FORMAT_RGB8;
    frame->width = SIDE;
    frame->height = SIDE;
    frame->planes[0] = pixels;
    frame->strides[0] = 3 * SIDE;
}

static void describe_all(void)
{
    int i;

    for (i = 0; i < FRAMES; i++) {
        describe(&s.frames[i], s.in[i]);
        describe(&s.decoded[i], s.out[i]);
    }
}

/* These go from where the clip is to where it shall be. */

static void encode_to(size_t frames)
{
    if (frames <= s.frames_in)
        return;
    must(!wfvae_encode_chunk(s.stream, s.frames + s.frames_in, frames - s.frames_in, s.latents[s.latents_out],
                             LATENTS - s.latents_out, &s.count),
         "encode");
    s.frames_in = frames;
    s.latents_out += s.count;
}

static void decode_to(size_t latents)
{
    if (latents <= s.latents_in)
        return;
    must(!wfvae_decode_chunk(s.stream, s.latents[s.latents_in], latents - s.latents_in, s.decoded + s.frames_out,
                             FRAMES - s.frames_out, &s.count),
         "decode");
    s.latents_in = latents;
    s.frames_out += s.count;
}

static void end_encoding(void)
{
    encode_to(FRAMES);
    if (s.latents_out == LATENTS)
        return;
    must(!wfvae_encode_flush(s.stream, s.latents[s.latents_out], 1, &s.count), "encode flush");
    s.latents_out += s.count;
}

static void end_decoding(void)
{
    end_encoding();
    decode_to(LATENTS);
    if (s.frames_out == FRAMES)
        return;
    must(!wfvae_decode_flush(s.stream, s.decoded + s.frames_out, FRAMES - s.frames_out, &s.count), "decode flush");
    s.frames_out += s.count;
}

/* A new clip, of which the first frame went in and came out. */
static void begin(void)
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

/* Whether the clip goes on; where the header says that a reset is needed, the next one. */
static int goes_on(wfvae_status status)
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

static void check_call(const char *name, wfvae_status found, wfvae_status expected, const char *text)
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

static wfvae_status encode(size_t frames)
{
    return wfvae_encode_chunk(s.stream, s.frames + 1, frames, s.latents[1], 1, &s.count);
}

static wfvae_status decode(size_t latents)
{
    return wfvae_decode_chunk(s.stream, s.latents[1], latents, s.decoded + 1, FRAMES - 1, &s.count);
}

/* ---- NULL ---- */

static void test_null(void)
{
    wfvae_model_info model_info = {0};
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_snapshot *snapshot = NULL;
    wfvae *stream = s.stream;

    model_info.struct_size = sizeof model_info;
    info.struct_size = sizeof info;
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;

    PLAIN("open without model", INVALID_ARGUMENT, "model is NULL", wfvae_model_open(NULL, NULL, NULL));
    PLAIN("model info without model", INVALID_ARGUMENT, "model is NULL", wfvae_model_get_info(NULL, &model_info));
    PLAIN("model info without info", INVALID_ARGUMENT, "info is NULL", wfvae_model_get_info(s.model, NULL));
    PLAIN("save without model", INVALID_ARGUMENT, "model is NULL", wfvae_model_save_onnx(NULL, folder, 0));
    PLAIN("save without folder", INVALID_ARGUMENT, "folder is NULL", wfvae_model_save_onnx(s.model, NULL, 0));
    result("latents without model", wfvae_latents_for_frames(NULL, 5) == 0);
    result("frames without model", wfvae_frames_for_latents(NULL, 5) == 0);
    wfvae_model_close(NULL);
    wfvae_destroy(NULL);

    PLAIN("create without model", INVALID_ARGUMENT, "model is NULL", wfvae_create(NULL, &options, &stream));
    result("create without model, stream", stream == NULL);
    PLAIN("create without options", INVALID_ARGUMENT, "options is NULL", wfvae_create(s.model, NULL, &stream));
    PLAIN("create without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_create(s.model, &options, NULL));

    CALL("encode without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_encode_chunk(NULL, s.frames, 1, s.latents, 1, &s.count));
    CALL("encode without frames", INVALID_ARGUMENT, "frames is NULL",
         wfvae_encode_chunk(s.stream, NULL, 1, s.latents, 1, &s.count));
    CALL("encode without latents", INVALID_ARGUMENT, "latents is",
         wfvae_encode_chunk(s.stream, s.frames, 4, NULL, 1, &s.count));
    CALL("encode without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_encode_chunk(s.stream, s.frames, 1, s.latents, 1, NULL));
    CALL("encode flush without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_encode_flush(NULL, s.latents, 1, &s.count));
    CALL("encode flush without latents", INVALID_ARGUMENT, "latents is",
         (encode_to(FRAMES), wfvae_encode_flush(s.stream, NULL, 1, &s.count)));
    CALL("encode flush without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_encode_flush(s.stream, s.latents, 1, NULL));
    CALL("decode without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_decode_chunk(NULL, s.latents, 1, s.decoded, 2, &s.count));
    CALL("decode without latents", INVALID_ARGUMENT, "latents is NULL",
         wfvae_decode_chunk(s.stream, NULL, 1, s.decoded, 2, &s.count));
    CALL("decode without frames", INVALID_ARGUMENT, "frames is NULL",
         wfvae_decode_chunk(s.stream, s.latents, 1, NULL, 2, &s.count));
    CALL("decode without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_decode_chunk(s.stream, s.latents, 1, s.decoded, 2, NULL));
    CALL("decode flush without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_decode_flush(NULL, s.decoded, 2, &s.count));
    CALL("decode flush without frames", INVALID_ARGUMENT, "frames is NULL",
         (end_encoding(), decode_to(2), wfvae_decode_flush(s.stream, NULL, 2, &s.count)));
    CALL("decode flush without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_decode_flush(s.stream, s.decoded, 2, NULL));

    CALL("reset without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_reset(NULL));
    CALL("cancel without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_cancel(NULL));
    CALL("frame count without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_set_frame_count(NULL, 1));
    CALL("info without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_get_info(NULL, &info));
    CALL("info without info", INVALID_ARGUMENT, "info is NULL", wfvae_get_info(s.stream, NULL));
    CALL("encode count without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_encode_count(NULL, 1, &s.count));
    CALL("encode count without count", INVALID_ARGUMENT, "count is NULL", wfvae_encode_count(s.stream, 1, NULL));
    CALL("encode flush count without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_encode_flush_count(NULL, &s.count));
    CALL("encode flush count without count", INVALID_ARGUMENT, "count is NULL",
         wfvae_encode_flush_count(s.stream, NULL));
    CALL("decode count without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_decode_count(NULL, 1, &s.count));
    CALL("decode count without count", INVALID_ARGUMENT, "count is NULL", wfvae_decode_count(s.stream, 1, NULL));
    CALL("decode flush count without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_decode_flush_count(NULL, &s.count));
    CALL("decode flush count without count", INVALID_ARGUMENT, "count is NULL",
         wfvae_decode_flush_count(s.stream, NULL));

    CALL("snapshot without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_snapshot_create(NULL, &snapshot));
    result("snapshot without stream, snapshot", snapshot == NULL);
    PLAIN("snapshot without snapshot", INVALID_ARGUMENT, "snapshot is NULL", wfvae_snapshot_create(s.stream, NULL));
    CALL("restore without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_snapshot_restore(NULL, NULL));
    CALL("restore without snapshot", INVALID_ARGUMENT, "snapshot is NULL", wfvae_snapshot_restore(s.stream, NULL));
    PLAIN("write without snapshot", INVALID_ARGUMENT, "snapshot is NULL",
          wfvae_snapshot_write(NULL, floats, sizeof floats, &s.count));
    result("write without snapshot, count", s.count == 0);
    must(!wfvae_snapshot_create(s.stream, &snapshot), "snapshot");
    PLAIN("write without buffer", INVALID_ARGUMENT, "buffer is NULL",
          wfvae_snapshot_write(snapshot, NULL, SIZE_MAX, &s.count));
    PLAIN("write without written", INVALID_ARGUMENT, "written is NULL",
          wfvae_snapshot_write(snapshot, floats, sizeof floats, NULL));
    wfvae_snapshot_destroy(snapshot);
    PLAIN("read without bytes", INVALID_ARGUMENT, "bytes is NULL", wfvae_snapshot_read(NULL, 100, &snapshot));
    result("read without bytes, snapshot", snapshot == NULL);
    PLAIN("read without snapshot", INVALID_ARGUMENT, "snapshot is NULL", wfvae_snapshot_read(floats, 100, NULL));
    result("size without snapshot", wfvae_snapshot_size(NULL) == 0);
    wfvae_snapshot_destroy(NULL);
    stream = s.stream;
    CALL("fork without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_fork(NULL, &stream));
    result("fork without stream, fork", stream == NULL);
    PLAIN("fork without fork", INVALID_ARGUMENT, "fork is NULL", wfvae_fork(s.stream, NULL));
}

/* ---- options ---- */

/* A failing call gives no handle, whatever was there before. */

static wfvae_status open_model(const char *path, const wfvae_model_options *options)
{
    wfvae_model *model = s.model;
    wfvae_status status = wfvae_model_open(path, options, &model);

    must(status ? !model : model && model != s.model, "handle");
    wfvae_model_close(model);
    return status;
}

static wfvae_status create(const wfvae_options *options)
{
    wfvae *stream = s.stream;
    wfvae_status status = wfvae_create(s.model, options, &stream);

    must(status ? !stream : stream && stream != s.stream, "handle");
    wfvae_destroy(stream);
    return status;
}

/* Rows that change one thing in options that are right. */
#define OPEN(name, status, text, change)                               \
    do {                                                               \
        wfvae_model_options o = {0};                                   \
        o.struct_size = sizeof o;                                      \
        change;                                                        \
        PLAIN("model options: " name, status, text, open_model(golden, &o)); \
    } while (0)

#define CREATE(name, status, text, change)                       \
    do {                                                         \
        wfvae_options o = {0};                                   \
        o.struct_size = sizeof o;                                \
        o.width = o.height = SIDE;                               \
        change;                                                  \
        PLAIN("options: " name, status, text, create(&o));       \
    } while (0)

static void test_options(void)
{
    OPEN("size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_model_options)", o.struct_size = 0);
    OPEN("size too small", INVALID_ARGUMENT, "struct_size is", o.struct_size--);
    OPEN("size huge", INVALID_ARGUMENT, "struct_size is", o.struct_size = SIZE_MAX);
    OPEN("provider", INVALID_ARGUMENT, "provider is 9", o.provider = 9);
    OPEN("CUDA", PROVIDER, "CUDA device 255: ", (o.provider = WFVAE_PROVIDER_CUDA, o.device = 255));
    OPEN("precision", INVALID_ARGUMENT, "encode_precision is 9", o.encode_precision = 9);
    OPEN("precision", INVALID_ARGUMENT, "decode_precision is 4", o.decode_precision = 4);
    OPEN("TF32 of the CPU", INVALID_ARGUMENT, "the CPU has no such mode",
         (o.provider = WFVAE_PROVIDER_CPU, o.decode_precision = WFVAE_PRECISION_TF32));
    OPEN("device of the CPU", INVALID_ARGUMENT, "device is 1", (o.provider = WFVAE_PROVIDER_CPU, o.device = 1));
    OPEN("threads", INVALID_ARGUMENT, "n_threads is 1025, expected 0 to 1024", o.n_threads = 1025);
    OPEN("most threads", INVALID_ARGUMENT, "n_threads is 4294967295", o.n_threads = UINT32_MAX);
    OPEN("check_finite", INVALID_ARGUMENT, "check_finite is 2", o.check_finite = 2);
    OPEN("log_level", INVALID_ARGUMENT, "log_level is 6", o.log_level = 6);
    OPEN("cache_type", INVALID_ARGUMENT, "cache_type is 2, expected a wfvae_cache_type", o.cache_type = 2);
    OPEN("convolution", INVALID_ARGUMENT, "convolution is 5, expected a wfvae_convolution", o.convolution = 5);
    OPEN("layout", INVALID_ARGUMENT, "layout is 3, expected a wfvae_layout", o.layout = 3);
    OPEN("layout planes", INVALID_ARGUMENT, "layout planes: on the processor, convolution exact and fast",
         (o.provider = WFVAE_PROVIDER_CPU, o.layout = WFVAE_LAYOUT_PLANES));
    OPEN("layout planes of stacked", OK, NULL,
         (o.provider = WFVAE_PROVIDER_CPU, o.layout = WFVAE_LAYOUT_PLANES, o.convolution = WFVAE_CONVOLUTION_STACKED));
    OPEN("provider_options without text", INVALID_ARGUMENT, "use_tf32 has the value \"\", which cannot be one",
         o.provider_options = "use_tf32=");
    OPEN("layout of bfloat16", INVALID_ARGUMENT, "layout channels_last: ONNX Runtime has no such convolutions of bfloat16",
         (o.layout = WFVAE_LAYOUT_CHANNELS_LAST, o.decode_precision = WFVAE_PRECISION_BF16));
    OPEN("provider_options without a value", INVALID_ARGUMENT, "provider_options: \"fuse_conv_bias\" is not name=value",
         o.provider_options = "use_tf32=1,fuse_conv_bias");
    OPEN("provider_options that are ours", INVALID_ARGUMENT, "provider_options: \"device_id\" is not one of arena_extend",
         o.provider_options = "use_tf32=1, device_id=1");
    OPEN("provider_options of the CPU", INVALID_ARGUMENT, "use_tf32 is an option of a CUDA device, and the provider is the CPU",
         (o.provider = WFVAE_PROVIDER_CPU, o.provider_options = "use_tf32=1"));
    OPEN("provider_options not used", OK, NULL, o.provider_options = " use_tf32=1 ,, fuse_conv_bias = 0");
    OPEN("provider_options of the layout", INVALID_ARGUMENT, "\"prefer_nhwc\" is not one of", o.provider_options = "prefer_nhwc=1");
    OPEN("provider_options empty", OK, NULL, (o.provider = WFVAE_PROVIDER_CPU, o.provider_options = ""));
    OPEN("provider_options not UTF-8", INVALID_ARGUMENT, "provider_options is not UTF-8", o.provider_options = "use_tf32=\xff");
    OPEN("attention_bytes 1", OK, NULL, o.attention_bytes = 1);
    OPEN("attention_bytes huge", OK, NULL, o.attention_bytes = UINT64_MAX);

    CREATE("size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_options)", o.struct_size = 0);
    CREATE("size too small", INVALID_ARGUMENT, "struct_size is", o.struct_size--);
    CREATE("size huge", INVALID_ARGUMENT, "struct_size is", o.struct_size = SIZE_MAX / 2);
    CREATE("any_encoder", INVALID_ARGUMENT, "any_encoder is 2", o.any_encoder = 2);
    CREATE("width 0", INVALID_SIZE, "0x8", o.width = 0);
    CREATE("height 0", INVALID_SIZE, "8x0", o.height = 0);
    CREATE("width 0, padding", INVALID_SIZE, "0x8", (o.width = 0, o.padding = 1));
    CREATE("width huge", INVALID_SIZE, "4294967288x8: width and height must be 1 to 32768", o.width = 4294967288u);
    CREATE("height huge, padding", INVALID_SIZE, "8x32769", (o.height = 32769, o.padding = 1));
    CREATE("width 17", INVALID_SIZE, "17x8: width and height must be multiples of 8", o.width = 17);
    CREATE("height 4", INVALID_SIZE, "ask for padding", o.height = 4);
    CREATE("17x1 with padding", OK, NULL, (o.width = 17, o.height = 1, o.padding = 1));
    CREATE("padding", INVALID_ARGUMENT, "padding is 2, expected 0 or 1", o.padding = 2);
    CREATE("directions", INVALID_ARGUMENT, "directions is 4", o.directions = 4);
    CREATE("latent_type", INVALID_ARGUMENT, "latent_type is 2", o.latent_type = 2);
    CREATE("posterior", INVALID_ARGUMENT, "posterior is 3", o.posterior = 3);
    CREATE("scaled", INVALID_ARGUMENT, "scaled is 2, expected 0 or 1", o.scaled = 2);
    CREATE("tiling", INVALID_ARGUMENT, "tiling is 3, expected a wfvae_tiling", o.tiling = 3);
    CREATE("exact tiles with attention", INVALID_ARGUMENT, "attention makes every pixel depend on all others",
           o.tiling = WFVAE_TILING_EXACT);
    CREATE("tiles without tiling", INVALID_ARGUMENT, "a tile size without tiling", o.tile_width = 64);
    CREATE("overlap without tiling", INVALID_ARGUMENT, "tile_overlap is 8, 0 unless", o.tile_overlap = 8);
    CREATE("overlap of exact tiles", INVALID_ARGUMENT, "tile_overlap is 8, 0 unless",
           (o.tiling = WFVAE_TILING_EXACT, o.tile_overlap = 8));
    CREATE("tiles that are all overlap", INVALID_SIZE, "they overlap by 16, so they must be at least 24",
           (o.width = 80, o.tiling = WFVAE_TILING_BLENDED, o.tile_width = 16, o.tile_overlap = 16));
    CREATE("tiles, huge", INVALID_SIZE, "tiles of 4294967295 pixels: at most 32768",
           (o.tiling = WFVAE_TILING_BLENDED, o.tile_height = UINT32_MAX));
    CREATE("overlap, huge", INVALID_SIZE, "tiles of 4294967295 pixels",
           (o.tiling = WFVAE_TILING_BLENDED, o.tile_overlap = UINT32_MAX));
    CREATE("tiles", OK, NULL, (o.width = 80, o.tiling = WFVAE_TILING_BLENDED, o.tile_width = 20, o.tile_overlap = 3));
    CREATE("clip_frames huge", INVALID_ARGUMENT, "clip_frames: more than", o.clip_frames = UINT64_MAX);
    CREATE("clip_frames large", OK, NULL, o.clip_frames = UINT32_MAX);
    CREATE("memory_limit", OUT_OF_MEMORY, "memory_limit is 1 MiB; ask for tiles",
           (o.width = o.height = 512, o.memory_limit = 1 << 20));
    CREATE("memory_limit 1 with tiles", OUT_OF_MEMORY, "set clip_frames",
           (o.memory_limit = 1, o.tiling = WFVAE_TILING_BLENDED));
    CREATE("memory_limit 1 with tiles, one at a time", OUT_OF_MEMORY, "no smaller tiles are possible",
           (o.memory_limit = 1, o.tiling = WFVAE_TILING_BLENDED, o.clip_frames = 9));
    CREATE("memory_limit huge", OK, NULL, o.memory_limit = UINT64_MAX);
}

static wfvae_status estimate(size_t size, uint64_t limit)
{
    wfvae_memory memory;
    wfvae_options options = {0};
    wfvae_status status;

    memset(&memory, 1, sizeof memory);
    memory.struct_size = size;
    options.struct_size = sizeof options;
    options.width = 1920;
    options.height = 1088;
    options.clip_frames = UINT32_MAX;
    options.tiling = WFVAE_TILING_BLENDED;
    options.memory_limit = limit;
    status = wfvae_estimate(s.model, &options, &memory);
    must(status || (memory.total_bytes >= memory.weight_bytes + memory.encode_state_bytes + memory.decode_state_bytes &&
                    memory.encode_tiles == 1 && memory.decode_tile_width == 1920 && memory.decode_tile_height == 1088),
         "estimate");
    return status;
}

static void test_estimate(void)
{
    wfvae_options options = {0};
    wfvae_memory memory = {0};

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    memory.struct_size = sizeof memory;
    PLAIN("estimate without model", INVALID_ARGUMENT, "model is NULL", wfvae_estimate(NULL, &options, &memory));
    PLAIN("estimate without options", INVALID_ARGUMENT, "options is NULL", wfvae_estimate(s.model, NULL, &memory));
    PLAIN("estimate without memory", INVALID_ARGUMENT, "memory is NULL", wfvae_estimate(s.model, &options, NULL));
    PLAIN("estimate, size 0", INVALID_ARGUMENT, "struct_size is 0", estimate(0, 0));
    PLAIN("estimate", OK, NULL, estimate(sizeof memory, 0));
    PLAIN("estimate, limit", OUT_OF_MEMORY, "memory_limit is 1 MiB", estimate(sizeof memory, 1));
    options.width = 0;
    PLAIN("estimate, no width", INVALID_SIZE, "0x8", wfvae_estimate(s.model, &options, &memory));
}

/* A stream that takes whole clips. */
static void test_clips(void)
{
    wfvae *both = s.stream;
    wfvae_options options = {0};

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.clip_frames = 5;
    must(!wfvae_create(s.model, &options, &s.stream), "stream");
    PLAIN("clip: too long", INVALID_ARGUMENT, "a clip of 8 frames: clip_frames is 5",
          wfvae_encode_chunk(s.stream, s.frames, FRAMES, s.latents, LATENTS, &s.count));
    wfvae_destroy(s.stream);
    options.clip_frames = FRAMES;
    must(!wfvae_create(s.model, &options, &s.stream), "stream");
    PLAIN("clip: no room", CAPACITY, "room for 2 latents, this call writes 3",
          wfvae_encode_chunk(s.stream, s.frames, FRAMES, s.latents, 2, &s.count));
    PLAIN("clip", OK, NULL, wfvae_encode_chunk(s.stream, s.frames, FRAMES, s.latents, LATENTS, &s.count));
    result("clip, latents", s.count == LATENTS && !memcmp(s.latents, right_latents, sizeof s.latents));
    PLAIN("clip: a second one", INVALID_STATE, "with clip_frames set each call gets a whole clip",
          wfvae_encode_chunk(s.stream, s.frames, FRAMES, s.latents, LATENTS, &s.count));
    PLAIN("clip: flush", OK, NULL, wfvae_encode_flush(s.stream, NULL, 0, &s.count));
    must(!wfvae_set_frame_count(s.stream, FRAMES), "frame count");
    PLAIN("clip: decode", OK, NULL,
          wfvae_decode_chunk(s.stream, right_latents, LATENTS, s.decoded, FRAMES, &s.count));
    result("clip: decode, frames", s.count == FRAMES && !memcmp(s.out, right_out, sizeof s.out));
    PLAIN("clip: decode a second one", INVALID_STATE, "reset the stream before the next one",
          wfvae_decode_chunk(s.stream, right_latents, 1, s.decoded, FRAMES, &s.count));
    wfvae_destroy(s.stream);
    s.stream = both;
    begin();
}

/* ---- structs of a later version ---- */

static wfvae_status open_newer(uint64_t tail)
{
    struct { wfvae_model_options options; uint64_t tail; } newer = {{0}, 0};

    newer.options.struct_size = sizeof newer;
    newer.tail = tail;
    return open_model(golden, &newer.options);
}

static wfvae_status create_newer(uint64_t tail)
{
    struct { wfvae_options options; uint64_t tail; } newer = {{0}, 0};

    newer.options.struct_size = sizeof newer;
    newer.options.width = newer.options.height = SIDE;
    newer.tail = tail;
    return create(&newer.options);
}

/* The clip's next two frames. */
static wfvae_status encode_newer(size_t second_size, uint64_t tail)
{
    struct { wfvae_frame frame; uint64_t tail; } newer[2];
    wfvae_status status;

    describe(&newer[0].frame, s.in[1]);
    describe(&newer[1].frame, s.in[2]);
    newer[0].frame.struct_size = sizeof newer[0];
    newer[1].frame.struct_size = second_size ? second_size : sizeof newer[1];
    newer[0].tail = 0;
    newer[1].tail = tail;
    status = wfvae_encode_chunk(s.stream, &newer[0].frame, 2, NULL, 0, &s.count);
    s.frames_in += status ? 0 : 2;
    return status;
}

/* Fields that this version lacks read as zero. */
static int info_newer(void)
{
    struct { wfvae_info info; uint64_t tail; } info = {{0}, 9};
    struct { wfvae_model_info info; uint64_t tail; } model_info = {{0}, 9};

    info.info.struct_size = sizeof info;
    model_info.info.struct_size = sizeof model_info;
    return !wfvae_get_info(s.stream, &info.info) && info.info.width == SIDE && !info.tail &&
           info.info.struct_size == sizeof info && !wfvae_model_get_info(s.model, &model_info.info) &&
           model_info.info.latent_channels == 4 && !model_info.tail;
}

static wfvae_status info_of_size(size_t size)
{
    wfvae_info info = {0};

    info.struct_size = size;
    return wfvae_get_info(s.stream, &info);
}

static wfvae_status model_info_of_size(size_t size)
{
    wfvae_model_info info = {0};

    info.struct_size = size;
    return wfvae_model_get_info(s.model, &info);
}

static void test_sizes(void)
{
    PLAIN("later model options, not used", OK, NULL, open_newer(0));
    PLAIN("later model options, used", INVALID_ARGUMENT, "does not know", open_newer(1));
    PLAIN("later options, not used", OK, NULL, create_newer(0));
    PLAIN("later options, used", INVALID_ARGUMENT, "does not know", create_newer(UINT64_MAX));
    CALL("later frames, not used", OK, NULL, encode_newer(0, 0));
    CALL("later frames, used", INVALID_ARGUMENT, "does not know", encode_newer(0, 1));
    CALL("frames of two versions", INVALID_ARGUMENT, "frame 1: struct_size is", encode_newer(sizeof(wfvae_frame), 0));
    result("later infos", info_newer());
    CALL("info: size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_info)", info_of_size(0));
    CALL("info: size too small", INVALID_ARGUMENT, "struct_size is", info_of_size(sizeof(wfvae_info) - 1));
    CALL("info: size huge", INVALID_ARGUMENT, "struct_size is", info_of_size(SIZE_MAX));
    PLAIN("model info: size 0", INVALID_ARGUMENT, "struct_size is 0", model_info_of_size(0));
    PLAIN("model info: size huge", INVALID_ARGUMENT, "struct_size is", model_info_of_size(1 << 20));
}

/* Every number of a stream whose width, height, latents and encoded latents all differ. */
static void test_infos(void)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae *stream;

    options.struct_size = sizeof options;
    options.width = 5 * SIDE - 1;
    options.height = 3 * SIDE;
    options.padding = 1;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    options.posterior = WFVAE_POSTERIOR_MOMENTS;
    options.directions = WFVAE_DIRECTION_ENCODE;
    must(!wfvae_create(s.model, &options, &stream), "stream");
    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "info");
    result("info: sizes", info.width == 5 * SIDE - 1 && info.height == 3 * SIDE && info.latent_width == 5 * SIDE / 8 &&
                              info.latent_height == 3 * SIDE / 8);
    result("info: channels", info.latent_channels == 4 && info.encoded_channels == 8);
    result("info: bytes of a latent of moments, float16", info.latent_size == (uint64_t)2 * 4 * 15 * SIDE / 8 * SIDE / 8 &&
                                                              info.encoded_size == 2 * info.latent_size);
    result("info: state of one direction", info.encode_state_bytes > 0 && info.decode_state_bytes == 0);
    result("info: at the start", !info.frames_in && !info.latents_out && !info.latents_in && !info.frames_out &&
                                     !info.encode_steps && !info.decode_steps && !info.needs_reset && !info.reserved);
    wfvae_destroy(stream);
    options.width = options.height = SIDE;
    must(!wfvae_create(s.model, &options, &stream) &&
             !wfvae_encode_chunk(stream, s.frames, 1, s.latents, LATENTS / 2, &s.count) && !wfvae_get_info(stream, &info),
         "encode");
    result("info: steps of one direction", info.frames_in == 1 && info.latents_out == 1 && !info.latents_in &&
                                               !info.frames_out && info.encode_steps > 0 && !info.decode_steps);
    wfvae_destroy(stream);
}

/* Of models in which no two of these numbers are the same by chance. */
static void test_model_infos(void)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    wfvae_memory memory = {0};
    wfvae_model_info info = {0};
    wfvae_model *builtin;

    info.struct_size = sizeof info;
    must(!wfvae_model_get_info(s.model, &info), "model info");
    result("model info: the network", info.generation == 1 && info.latent_channels == 4 && info.spatial_compression == 8 &&
                                          info.temporal_compression == 4 && info.encode_delay == 3 && info.decode_delay == 2);
    result("model info: attention has no halo", info.has_attention == 1 && !info.encode_halo && !info.decode_halo);
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    memory.struct_size = sizeof memory;
    must(!wfvae_estimate(s.model, &options, &memory), "estimate");
    result("model info: weights of both directions, in float32", info.weight_bytes == memory.weight_bytes &&
                                                                     info.weight_bytes > 3 * info.parameters);

    model_options.struct_size = sizeof model_options;
    model_options.provider = WFVAE_PROVIDER_CPU;
    model_options.decode_precision = WFVAE_PRECISION_F16;
    must(!wfvae_model_open(NULL, &model_options, &builtin) && !wfvae_model_get_info(builtin, &info), "built-in model");
    result("model info: built-in", info.latent_channels == 16 && !info.has_attention && info.has_scaling && !info.whole_clips);
    result("model info: identities", info.encoder_identity == 0x63a04ed0837b4b59 && info.decoder_identity == 0x74e85060fdd88dd8 &&
                                         info.identity == 0xc87dbf89e0a193dc);
    result("model info: halos", info.encode_halo == 80 && info.decode_halo == 168);
    result("model info: nothing is loaded yet", !info.sessions && !info.weight_bytes && info.parameters > 1000000);
    result("model info: precisions", info.encode_precision == WFVAE_PRECISION_F32 &&
                                         info.decode_precision == WFVAE_PRECISION_F16);
    result("model info: CPU", !strcmp(info.provider, "CPU") && !*info.fallback && !info.device && !info.device_bytes);
    options.width = 4 * SIDE;
    must(!wfvae_estimate(builtin, &options, &memory), "estimate");
    result("estimate: each part by itself",
           memory.encode_state_bytes > 0 && memory.decode_state_bytes > 0 && memory.working_bytes > 0 &&
               memory.encode_state_bytes != memory.decode_state_bytes && memory.encode_tile_width == 4 * SIDE &&
               memory.encode_tile_height == SIDE && memory.decode_tile_width == 4 * SIDE && memory.encode_tiles == 1 &&
               memory.total_bytes == memory.weight_bytes + memory.encode_state_bytes + memory.decode_state_bytes +
                                         memory.working_bytes);
    options.directions = WFVAE_DIRECTION_DECODE;
    must(!wfvae_estimate(builtin, &options, &memory), "estimate");
    result("estimate: decoding only", !memory.encode_state_bytes && memory.decode_state_bytes && !memory.encode_tiles &&
                                          !memory.encode_tile_width && memory.decode_tiles == 1);
    wfvae_model_close(builtin);
}

/* ---- frames ---- */

/* Makes the clip's next frame one of another format. */
static wfvae_frame *planar(uint32_t format, size_t element)
{
    wfvae_frame *frame = &s.frames[1];
    int i;

    frame->format = format;
    for (i = 0; i < 3; i++) {
        frame->planes[i] = floats[i];
        frame->strides[i] = (ptrdiff_t)(element * SIDE);
    }
    return frame;
}

#define F32 planar(WFVAE_PIXEL_FORMAT_RGBP_F32, 4)
#define U16 planar(WFVAE_PIXEL_FORMAT_GBRP16, 2)

static void *shifted(void *pointer)
{
    return (unsigned char *)pointer + 1;
}

static wfvae_status encode_bottom_up(void)
{
    wfvae_status status;
    int y;

    for (y = 0; y < SIDE; y++)
        memcpy(upside_down + 3 * SIDE * y, s.in[1] + 3 * SIDE * (SIDE - 1 - y), 3 * SIDE);
    s.frames[1].planes[0] = upside_down + 3 * SIDE * (SIDE - 1);
    s.frames[1].strides[0] = -3 * SIDE;
    status = encode(1);
    s.frames_in += status ? 0 : 1;
    return status;
}

static void test_frames(void)
{
    CALL("frame: size 0", INVALID_ARGUMENT, "struct_size is 0", (s.frames[1].struct_size = 0, encode(1)));
    CALL("frame: size too small", INVALID_ARGUMENT, "struct_size is", (s.frames[1].struct_size--, encode(1)));
    CALL("frame: size huge", INVALID_ARGUMENT, "struct_size is", (s.frames[1].struct_size = SIZE_MAX, encode(1)));
    CALL("frame: reserved", INVALID_ARGUMENT, "reserved is not 0", (s.frames[1].reserved = 1, encode(1)));
    CALL("frame: format 0", INVALID_ARGUMENT, "format is 0", (s.frames[1].format = 0, encode(1)));
    CALL("frame: format 9", INVALID_ARGUMENT, "format is 9", (s.frames[1].format = 9, encode(1)));
    CALL("frame: bit_depth of bytes", INVALID_ARGUMENT, "bit_depth", (s.frames[1].bit_depth = 8, encode(1)));
    CALL("frame: bit_depth 8 of words", INVALID_ARGUMENT, "bit depth 8", (U16->bit_depth = 8, encode(1)));
    CALL("frame: bit_depth 17 of words", INVALID_ARGUMENT, "9 to 16", (U16->bit_depth = 17, encode(1)));
    CALL("frame: bit_depth of floats", INVALID_ARGUMENT, "bit_depth", (F32->bit_depth = 16, encode(1)));
    CALL("frame: range of bytes", INVALID_ARGUMENT, "range is for the float", (s.frames[1].range = 1, encode(1)));
    CALL("frame: range of words", INVALID_ARGUMENT, "range is for the float", (U16->range = 1, encode(1)));
    CALL("frame: range 2 of floats", INVALID_ARGUMENT, "range is 2", (F32->range = 2, encode(1)));
    CALL("frame: no plane", INVALID_ARGUMENT, "plane 0 is NULL", (s.frames[1].planes[0] = NULL, encode(1)));
    CALL("frame: no third plane", INVALID_ARGUMENT, "plane 2 is NULL", (F32->planes[2] = NULL, encode(1)));
    CALL("frame: float plane misaligned", INVALID_ARGUMENT, "plane 1: pointer",
         (F32->planes[1] = shifted(floats[1]), encode(1)));
    CALL("frame: word plane misaligned", INVALID_ARGUMENT, "multiples of 2 bytes",
         (U16->planes[0] = shifted(floats[0]), encode(1)));
    CALL("frame: stride 0", INVALID_ARGUMENT, "stride 0 is shorter", (s.frames[1].strides[0] = 0, encode(1)));
    CALL("frame: stride short", INVALID_ARGUMENT, "stride 23 is shorter", (s.frames[1].strides[0] = 23, encode(1)));
    CALL("frame: stride short, bottom up", INVALID_ARGUMENT, "stride -23", (s.frames[1].strides[0] = -23, encode(1)));
    CALL("frame: float stride misaligned", INVALID_ARGUMENT, "plane 2: pointer and stride 34",
         (F32->strides[2] = 34, encode(1)));
    CALL("frame: bottom up", OK, NULL, encode_bottom_up());
    CALL("frame: another width", INVALID_SIZE, "24x8 in a stream of 8x8",
         (s.frames[1].width = 24, s.frames[1].strides[0] = 72, encode(1)));
    CALL("frame: another height", INVALID_SIZE, "8x16 in a stream of 8x8", (s.frames[1].height = 16, encode(1)));
    CALL("frame: width 0", INVALID_SIZE, "0x8", (s.frames[1].width = 0, encode(1)));
    CALL("frame: height huge", INVALID_SIZE, "8x4294967295", (s.frames[1].height = UINT32_MAX, encode(1)));
    CALL("the third frame: format", INVALID_ARGUMENT, "frame 2: format is 77", (s.frames[3].format = 77, encode(4)));
    CALL("the third frame: width", INVALID_SIZE, "frame 2: 7x8", (s.frames[3].width = 7, encode(4)));
    CALL("the third frame: size", INVALID_ARGUMENT, "frame 2: wfvae_frame: struct_size is 8",
         (s.frames[3].struct_size = 8, encode(4)));

    /* The next latent gives two frames; others are not looked at. */
    CALL("decoded: format", INVALID_ARGUMENT, "frame 1: format is 0",
         (encode_to(5), s.decoded[2].format = 0, decode(1)));
    CALL("decoded: no plane", INVALID_ARGUMENT, "plane 0 is NULL",
         (encode_to(5), s.decoded[1].planes[0] = NULL, decode(1)));
    CALL("decoded: another width", INVALID_SIZE, "7x8 in a stream of 8x8",
         (encode_to(5), s.decoded[2].width = 7, decode(1)));
    CALL("decoded: not looked at", OK, NULL, (encode_to(5), s.decoded[3].format = 0, decode_to(2), WFVAE_STATUS_OK));
}

/* ---- counts, capacities, order ---- */

static wfvae_status encode_without_room(size_t frames)
{
    return wfvae_encode_chunk(s.stream, s.frames + 1, frames, NULL, 0, &s.count);
}

static wfvae_status decode_in(size_t capacity)
{
    return wfvae_decode_chunk(s.stream, s.latents[1], 1, s.decoded + 1, capacity, &s.count);
}

static void test_counts(void)
{
    CALL("no frames", INVALID_ARGUMENT, "n_frames is 0, expected 1 to 65536", encode(0));
    CALL("many frames", INVALID_ARGUMENT, "n_frames is 65537", encode(65537));
    CALL("most frames", INVALID_ARGUMENT, "n_frames is 18446744073709551615", encode(SIZE_MAX));
    CALL("no latents", INVALID_ARGUMENT, "n_latents is 0, expected 1 to 65536", decode(0));
    CALL("many latents", INVALID_ARGUMENT, "n_latents is 65537", decode(65537));
    CALL("most latents", INVALID_ARGUMENT, "n_latents is 18446744073709551615", decode(SIZE_MAX));
    CALL("count of most frames", INVALID_ARGUMENT, "frames: more than",
         wfvae_encode_count(s.stream, SIZE_MAX, &s.count));
    CALL("count of most latents", INVALID_ARGUMENT, "latents: more than",
         wfvae_decode_count(s.stream, SIZE_MAX, &s.count));
    result("latents of most frames", wfvae_latents_for_frames(s.model, UINT64_MAX) == 1 + (UINT64_MAX - 1) / 4 + 1);
    result("frames of many latents", wfvae_frames_for_latents(s.model, UINT64_MAX / 4 + 2) == UINT64_MAX);
    result("frames of most latents", wfvae_frames_for_latents(s.model, UINT64_MAX) == UINT64_MAX);

    CALL("no room for a latent", CAPACITY, "room for 0 latents, this call writes 1", encode_without_room(4));
    CALL("no room needed", OK, NULL, (s.frames_in += 3, encode_without_room(3)));
    CALL("no room for the flush", CAPACITY, "room for 0 latents, this call writes 1",
         (encode_to(FRAMES), wfvae_encode_flush(s.stream, NULL, 0, &s.count)));
    CALL("no room for frames", CAPACITY, "room for 0 frames, this call writes 2", (encode_to(5), decode_in(0)));
    CALL("room for half the frames", CAPACITY, "room for 1 frames, this call writes 2", (encode_to(5), decode_in(1)));
    CALL("no room for the last frame", CAPACITY, "room for 0 frames, this call writes 1",
         (end_encoding(), decode_to(LATENTS), wfvae_decode_flush(s.stream, NULL, 0, &s.count)));
    CALL("misaligned latents, encode", INVALID_ARGUMENT, "aligned to 4 bytes",
         wfvae_encode_chunk(s.stream, s.frames + 1, 4, shifted(floats), 1, &s.count));
    CALL("misaligned latents, encode flush", INVALID_ARGUMENT, "aligned to 4 bytes",
         (encode_to(FRAMES), wfvae_encode_flush(s.stream, shifted(floats), 1, &s.count)));
    CALL("misaligned latents, decode", INVALID_ARGUMENT, "aligned to 4 bytes",
         wfvae_decode_chunk(s.stream, shifted(floats), 1, s.decoded + 1, 2, &s.count));
}

/* A stream of one direction, alone: whether it refuses the other and goes on in its own. */
static void test_direction(uint32_t direction)
{
    wfvae_options options = {0};
    wfvae *both = s.stream, *one = NULL;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.directions = direction;
    must(!wfvae_create(s.model, &options, &one), "create");
    describe_all();
    s.stream = one;
    if (direction == WFVAE_DIRECTION_ENCODE) {
        PLAIN("decode while encoding only", INVALID_STATE, "without decoding", decode(1));
        PLAIN("decode flush while encoding only", INVALID_STATE, "without decoding",
              wfvae_decode_flush(one, s.decoded, 2, &s.count));
        PLAIN("decode count while encoding only", INVALID_STATE, "without decoding",
              wfvae_decode_count(one, 1, &s.count));
        PLAIN("decode flush count while encoding only", INVALID_STATE, "without decoding",
              wfvae_decode_flush_count(one, &s.count));
        PLAIN("encode afterwards", OK, NULL, wfvae_encode_chunk(one, s.frames, 1, s.latents[0], 1, &s.count));
        result("encode afterwards, latent", s.count == 1 && !memcmp(s.latents, right_latents, sizeof *s.latents));
    } else {
        PLAIN("encode while decoding only", INVALID_STATE, "without encoding", encode(1));
        PLAIN("encode flush while decoding only", INVALID_STATE, "without encoding",
              wfvae_encode_flush(one, s.latents, 1, &s.count));
        PLAIN("encode count while decoding only", INVALID_STATE, "without encoding",
              wfvae_encode_count(one, 1, &s.count));
        PLAIN("encode flush count while decoding only", INVALID_STATE, "without encoding",
              wfvae_encode_flush_count(one, &s.count));
        PLAIN("decode afterwards", OK, NULL, wfvae_decode_chunk(one, right_latents, 1, s.decoded, 1, &s.count));
        result("decode afterwards, frame", s.count == 1 && !memcmp(s.out, right_out, sizeof *s.out));
    }
    s.stream = both;
    wfvae_destroy(one);
}

static void test_order(void)
{
    CALL("encode after the flush", INVALID_STATE, "the encoder was flushed", (end_encoding(), encode(1)));
    CALL("encode count after the flush", INVALID_STATE, "the encoder was flushed",
         (end_encoding(), s.count = 0, wfvae_encode_count(s.stream, 1, &s.count)));
    CALL("decode after the flush", INVALID_STATE, "the decoder was flushed", (end_decoding(), decode(1)));
    CALL("decode count after the flush", INVALID_STATE, "the decoder was flushed",
         (end_decoding(), wfvae_decode_count(s.stream, 1, &s.count)));
    CALL("encode flush twice", OK, NULL, (end_encoding(), wfvae_encode_flush(s.stream, NULL, 0, &s.count)));
    CALL("decode flush twice", OK, NULL, (end_decoding(), wfvae_decode_flush(s.stream, NULL, 0, &s.count)));
    result("decode flush twice, count", s.count == 0);

    CALL("cancel, encode", CANCELLED, "cancelled", (wfvae_cancel(s.stream), encode(4)));
    CALL("cancel, decode", CANCELLED, "cancelled", (encode_to(5), wfvae_cancel(s.stream), decode(1)));
    CALL("cancel, encode flush", CANCELLED, "cancelled",
         (wfvae_cancel(s.stream), wfvae_encode_flush(s.stream, s.latents[1], 1, &s.count)));
    CALL("cancel, decode flush", CANCELLED, "cancelled",
         (wfvae_cancel(s.stream), wfvae_decode_flush(s.stream, s.decoded, 2, &s.count)));
    CALL("cancel, encode twice", NEEDS_RESET, "an earlier call failed", (wfvae_cancel(s.stream), encode(4), encode(4)));
    CALL("cancel, encode, decode", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), encode(4), decode(1)));
    CALL("cancel, decode, decode flush", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), decode(1), wfvae_decode_flush(s.stream, s.decoded, 2, &s.count)));
    CALL("cancel, decode, decode without room", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), decode(1), decode_in(0)));
    CALL("cancel, reset", OK, NULL, (wfvae_cancel(s.stream), begin(), WFVAE_STATUS_OK));
    result("a reset clears the text", !*wfvae_last_error(s.stream));
}

/* ---- snapshots ---- */

/* Of the clip after its first frame, and its bytes. */
static struct {
    wfvae_snapshot *snapshot;
    unsigned char *bytes;
    size_t size;
} taken;

/* A failing call gives no handle, whatever was there before. */
static wfvae_status read_snapshot(const void *bytes, size_t size)
{
    wfvae_snapshot *snapshot = taken.snapshot;
    wfvae_status status = wfvae_snapshot_read(bytes, size, &snapshot);

    must(status ? !snapshot : snapshot && snapshot != taken.snapshot, "handle");
    wfvae_snapshot_destroy(snapshot);
    return status;
}

static wfvae_status read_damaged(size_t place, unsigned char bits)
{
    wfvae_status status;

    taken.bytes[place] ^= bits;
    status = read_snapshot(taken.bytes, taken.size);
    taken.bytes[place] ^= bits;
    return status;
}

static wfvae_status write_snapshot(size_t capacity)
{
    wfvae_status status = wfvae_snapshot_write(taken.snapshot, taken.bytes, capacity, &s.count);

    must(s.count == (status ? 0 : taken.size), "count");
    return status;
}

static wfvae_status take_snapshot(void)
{
    wfvae_snapshot *snapshot = taken.snapshot;
    wfvae_status status = wfvae_snapshot_create(s.stream, &snapshot);

    must(!status == !!snapshot, "handle");
    wfvae_snapshot_destroy(snapshot);
    return status;
}

static wfvae_status fork_stream(void)
{
    wfvae *fork = s.stream;
    wfvae_status status = wfvae_fork(s.stream, &fork);

    must(status ? !fork : fork && fork != s.stream, "handle");
    wfvae_destroy(fork);
    return status;
}

/* Back to the first frame, from wherever the clip is. */
static wfvae_status restore(void)
{
    wfvae_status status = wfvae_snapshot_restore(s.stream, taken.snapshot);

    if (!status)
        s.frames_in = s.latents_out = s.latents_in = s.frames_out = 1;
    return status;
}

/* The stream of the clip and a fork of it each go on alone. */
static int both_go_on(void)
{
    wfvae *stream = s.stream, *fork = NULL;
    int ok;

    begin();
    encode_to(7);
    must(!wfvae_fork(stream, &fork), "fork");
    ok = goes_on(WFVAE_STATUS_OK);
    s.stream = fork;
    s.frames_in = 7;
    s.latents_out = 2;
    s.latents_in = s.frames_out = 1;
    memset(s.latents[2], 0, sizeof s.latents[2]);
    memset(s.out[1], 0, sizeof s.out - sizeof s.out[0]);
    ok = ok && goes_on(WFVAE_STATUS_OK);
    s.stream = stream;
    wfvae_destroy(fork);
    return ok;
}

/* Latents of a fork are of the type that its origin's are. */
static int fork_keeps_the_type(void)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae *stream = NULL, *fork = NULL;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    info.struct_size = sizeof info;
    must(!wfvae_create(s.model, &options, &stream) && !wfvae_fork(stream, &fork), "fork");
    must(!wfvae_get_info(fork, &info), "info");
    wfvae_destroy(stream);
    wfvae_destroy(fork);
    return info.latent_size == 2 * NUMBERS;
}

/* The snapshot and a stream made with other options; model is NULL for the clip's. */
static wfvae_status restore_another(wfvae_model *model, uint32_t width, uint32_t directions)
{
    wfvae_options options = {0};
    wfvae *stream = NULL;
    wfvae_status status;

    options.struct_size = sizeof options;
    options.width = width;
    options.height = SIDE;
    options.padding = 1;
    options.directions = directions;
    must(!wfvae_create(model ? model : s.model, &options, &stream), "stream");
    status = wfvae_snapshot_restore(stream, taken.snapshot);
    must(status ? *wfvae_last_error(stream) : !*wfvae_last_error(stream), "text");
    wfvae_destroy(stream);
    return status;
}

static void test_snapshots(wfvae_model *another)
{
    begin();
    must(!wfvae_snapshot_create(s.stream, &taken.snapshot), "snapshot");
    taken.size = wfvae_snapshot_size(taken.snapshot);
    taken.bytes = malloc(taken.size + 1);
    must(taken.bytes != NULL, "memory");
    PLAIN("snapshot: no room", CAPACITY, "room for 0 bytes, the snapshot has", write_snapshot(0));
    PLAIN("snapshot: a byte too little room", CAPACITY, "bytes, the snapshot has", write_snapshot(taken.size - 1));
    PLAIN("snapshot: more room", OK, NULL, write_snapshot(taken.size + 1));

    taken.bytes[taken.size] = 0;
    PLAIN("snapshot: no bytes", INVALID_ARGUMENT, "snapshot: found 0 bytes", read_snapshot("", 0));
    PLAIN("snapshot: header cut", INVALID_ARGUMENT, "found 100 bytes, expected at least",
          read_snapshot(taken.bytes, 100));
    PLAIN("snapshot: cut", INVALID_ARGUMENT, "cut or damaged", read_snapshot(taken.bytes, taken.size - 1));
    PLAIN("snapshot: a byte more", INVALID_ARGUMENT, "cut or damaged", read_snapshot(taken.bytes, taken.size + 1));
    PLAIN("snapshot: size of -1", INVALID_ARGUMENT, "size is 18446744073709551615",
          read_snapshot(taken.bytes, SIZE_MAX));
    PLAIN("snapshot: another file", INVALID_ARGUMENT, "not a snapshot: begins with",
          read_snapshot(right_out, sizeof right_out));
    PLAIN("snapshot: magic", INVALID_ARGUMENT, "not a snapshot: begins with \"wFVAESNP\"", read_damaged(0, 0x20));
    PLAIN("snapshot: byte order", INVALID_ARGUMENT, "damaged", read_damaged(8, 1));
    PLAIN("snapshot: version", INVALID_ARGUMENT, "format version 3, this libwfvae reads 1", read_damaged(12, 2));
    PLAIN("snapshot: a bit", INVALID_ARGUMENT, "checksum", read_damaged(taken.size / 2, 1));
    PLAIN("snapshot: checksum", INVALID_ARGUMENT, "checksum", read_damaged(taken.size - 1, 128));
    PLAIN("snapshot: whole", OK, NULL, read_snapshot(taken.bytes, taken.size));

    PLAIN("restore: another model", INVALID_ARGUMENT, "the snapshot is of model", restore_another(another, SIDE, 0));
    PLAIN("restore: another size", INVALID_SIZE, "of 8x8 (padded to 8x8), this one is of 16x8",
          restore_another(NULL, 16, 0));
    PLAIN("restore: another size before padding", INVALID_SIZE, "this one is of 7x8 (padded to 8x8)",
          restore_another(NULL, 7, 0));
    PLAIN("restore: encoding only", INVALID_ARGUMENT, "encodes and decodes, this one only encodes",
          restore_another(NULL, SIDE, WFVAE_DIRECTION_ENCODE));
    PLAIN("restore: decoding only", INVALID_ARGUMENT, "encodes and decodes, this one only decodes",
          restore_another(NULL, SIDE, WFVAE_DIRECTION_DECODE));
    PLAIN("restore: the same", OK, NULL, restore_another(NULL, SIDE, 0));

    CALL("snapshot, clip goes on", OK, NULL, (encode_to(4), take_snapshot()));
    CALL("fork, clip goes on", OK, NULL, (encode_to(4), fork_stream()));
    result("fork, both go on", both_go_on());
    result("fork, latent type", fork_keeps_the_type());
    CALL("restore in the middle", OK, NULL, (encode_to(6), decode_to(2), restore()));
    CALL("restore after the end", OK, NULL, (end_decoding(), restore()));
    CALL("cancel, snapshot", OK, NULL, (take_snapshot(), wfvae_cancel(s.stream), take_snapshot(), restore()));
    CALL("cancel, encode, snapshot", NEEDS_RESET, "no whole state",
         (wfvae_cancel(s.stream), encode(4), take_snapshot()));
    CALL("cancel, encode, fork", NEEDS_RESET, "no whole state", (wfvae_cancel(s.stream), encode(4), fork_stream()));
    CALL("cancel, encode, restore", OK, NULL, (wfvae_cancel(s.stream), encode(4), restore()));
    CALL("cancel, decode, restore", OK, NULL, (encode_to(5), wfvae_cancel(s.stream), decode(1), restore()));
    begin();
    wfvae_cancel(s.stream);
    encode(4);
    must(*wfvae_last_error(s.stream) && !restore(), "restore");
    result("a restore clears the text", !*wfvae_last_error(s.stream));

    wfvae_snapshot_destroy(taken.snapshot);
    free(taken.bytes);
}

/* A picture that needs more than there is. */
static void test_memory(void)
{
    struct rlimit limit, before;
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (quick || !file || fscanf(file, "%lu", &pages) != 1 || getrlimit(RLIMIT_AS, &before)) {
        puts("skipped memory: the limit on it would stop valgrind itself");
    } else {
        limit = before;
        limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (512u << 20);
        must(!setrlimit(RLIMIT_AS, &limit), "setrlimit");
        CREATE("more than the memory", OUT_OF_MEMORY, "cannot allocate", o.width = o.height = 4096);
        must(!setrlimit(RLIMIT_AS, &before), "setrlimit");
        CREATE("the memory is there again", OK, NULL, (void)0);
    }
    if (file)
        fclose(file);
}

/* ---- checkpoints ---- */

static const char *const files[] = {CONFIG_JSON, WEIGHTS, INDEX_JSON, "a.safetensors", "b.safetensors",
                                    "model.ckpt", "pytorch_model.bin"};

static const char *path_of(const char *in, const char *name)
{
    static char path[2000];

    snprintf(path, sizeof path, "%s/%s", in, name);
    return path;
}

/* The caller frees it; a NUL follows the bytes. */
static char *load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes = calloc(1, 1 << 20);

    must(file && bytes, path);
    *size = fread(bytes, 1, (1 << 20) - 1, file);
    fclose(file);
    return bytes;
}

static void put(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(folder, name), "wb");

    must(file && fwrite(bytes, 1, size, file) == size && !fclose(file), name);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void drop(const char *name)
{
    must(!remove(path_of(folder, name)), name);
}

/* The first bytes of the golden weights under any name. */
static void put_weights(const char *name, size_t size)
{
    size_t whole;
    char *bytes = load(path_of(golden, WEIGHTS), &whole);

    put(name, bytes, size < whole ? size : whole);
    free(bytes);
}

static void good_files(void)
{
    size_t i, size;
    char *config = load(path_of(golden, CONFIG_JSON), &size);

    for (i = 0; i < sizeof files / sizeof *files; i++)
        remove(path_of(folder, files[i]));
    put(CONFIG_JSON, config, size);
    put_weights(WEIGHTS, SIZE_MAX);
    free(config);
}

/* Puts one text in the place of another, in the config or in the header of the weights. */
static void edit(const char *name, const char *from, const char *to)
{
    const size_t start = strcmp(name, WEIGHTS) ? 0 : 8;
    size_t size, before;
    char *bytes = load(path_of(folder, name), &size), *place = strstr(bytes + start, from), *changed;
    uint64_t header;

    must(place != NULL, from);
    before = (size_t)(place - bytes);
    if (start) {
        memcpy(&header, bytes, 8);
        header = header + strlen(to) - strlen(from);
        memcpy(bytes, &header, 8);
    }
    changed = malloc(size + strlen(to));
    must(changed != NULL, "malloc");
    memcpy(changed, bytes, before);
    memcpy(changed + before, to, strlen(to));
    memcpy(changed + before + strlen(to), place + strlen(from), size - before - strlen(from));
    put(name, changed, size + strlen(to) - strlen(from));
    free(changed);
    free(bytes);
}

/* Overwrites part of the weights file. */
static void patch(size_t position, const void *with, size_t size)
{
    size_t whole;
    char *bytes = load(path_of(folder, WEIGHTS), &whole);

    memcpy(bytes + position, with, size);
    put(WEIGHTS, bytes, position + size > whole ? position + size : whole);
    free(bytes);
}

static void header_size(uint64_t size)
{
    patch(0, &size, 8);
}

static void number(const char *key, size_t index, float value)
{
    size_t size, offset;
    char *bytes = load(path_of(folder, WEIGHTS), &size), *place = strstr(bytes + 8, key);
    uint64_t header;

    memcpy(&header, bytes, 8);
    must(place && (place = strstr(place, "\"data_offsets\":[")), key);
    offset = strtoul(place + 16, NULL, 10);
    patch(8 + (size_t)header + offset + 4 * index, &value, 4);
    free(bytes);
}

/* The whole golden file is this long; damage at its end is found by this. */
static size_t weights_size(void)
{
    size_t size;

    free(load(path_of(golden, WEIGHTS), &size));
    return size;
}

/* A row: opens a folder that was good before the change. */
#define OPENED(name, status, text, change) (good_files(), change, PLAIN(name, status, text, open_model(folder, NULL)))
/* Rows that change one field of the config, or one text in the header of the weights. */
#define FIELD(status, field, from, to, text)                                \
    OPENED("config: " field " " to, status, CONFIG_JSON ": " field text,     \
           edit(CONFIG_JSON, "\"" field "\": " from, "\"" field "\": " to))
#define HEADER(name, status, text, from, to) \
    OPENED("weights: " name, status, WEIGHTS ": " text, edit(WEIGHTS, from, to))

static wfvae_status open_checked(void)
{
    wfvae_model_options options = {0};

    options.struct_size = sizeof options;
    options.check_finite = 1;
    return open_model(folder, &options);
}

static void test_folders(void)
{
    PLAIN("path: nothing there", IO, "no-such-model", open_model(path_of(folder, "no-such-model"), NULL));
    PLAIN("path: empty", IO, "the path is empty", open_model("", NULL));
    PLAIN("path: the config", CHECKPOINT, CONFIG_JSON ": not weights: name the folder",
          (good_files(), open_model(path_of(folder, CONFIG_JSON), NULL)));
    PLAIN("path: a file without a config", IO, CONFIG_JSON,
          (drop(CONFIG_JSON), open_model(path_of(folder, WEIGHTS), NULL)));
    PLAIN("path: a pickle", CHECKPOINT, "model.ckpt: a PyTorch pickle",
          (put_weights("model.ckpt", 100), open_model(path_of(folder, "model.ckpt"), NULL)));
    OPENED("folder: empty", IO, CONFIG_JSON ": No such file", (drop(CONFIG_JSON), drop(WEIGHTS)));
    OPENED("folder: no config", IO, CONFIG_JSON ": No such file", drop(CONFIG_JSON));
    OPENED("folder: no weights", IO, "no *.safetensors file", drop(WEIGHTS));
    OPENED("folder: a .ckpt alone", CHECKPOINT, "model.ckpt: a PyTorch pickle",
           (drop(WEIGHTS), put_text("model.ckpt", "x")));
    OPENED("folder: a .ckpt alone, what to do", CHECKPOINT,
           "convert it with training/convert.py, or in Python: state_dict = torch.load(\"model.ckpt\", weights_only=True)",
           (drop(WEIGHTS), put_text("model.ckpt", "x")));
    OPENED("folder: a .bin alone", CHECKPOINT, "safetensors.torch.save_file",
           (drop(WEIGHTS), put_text("pytorch_model.bin", "x")));
    OPENED("folder: two weights", CHECKPOINT, "2 safetensors files or indexes",
           (drop(WEIGHTS), put_weights("a.safetensors", 100), put_weights("b.safetensors", 100)));
    OPENED("folder: good", OK, NULL, (void)0);

    OPENED("index: empty", CHECKPOINT, INDEX_JSON, put_text(INDEX_JSON, ""));
    OPENED("index: not JSON", CHECKPOINT, INDEX_JSON, put_text(INDEX_JSON, "model.safetensors"));
    OPENED("index: no weight_map", CHECKPOINT, INDEX_JSON ": no \"weight_map\"", put_text(INDEX_JSON, "{}"));
    OPENED("index: nothing in it", CHECKPOINT, "names no tensor", put_text(INDEX_JSON, "{\"weight_map\": {}}"));
    OPENED("index: a number", CHECKPOINT, "tensor k: found 1", put_text(INDEX_JSON, "{\"weight_map\": {\"k\": 1}}"));
    OPENED("index: a shard that is missing", IO, "a.safetensors: No such file",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"a.safetensors\"}}"));
    OPENED("index: out of the folder", CHECKPOINT, "tensor k: found \"../x\"",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"../x\"}}"));
    OPENED("index: from the root", CHECKPOINT, "tensor k: found \"/etc/passwd\"",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"/etc/passwd\"}}"));
    OPENED("index: the folder above", CHECKPOINT, "tensor k: found \"..\"",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"..\"}}"));
    OPENED("index: a key that is not there", CHECKPOINT, "names tensor k in " WEIGHTS ", which does not hold it",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"" WEIGHTS "\"}}"));
    OPENED("index: a tensor in two shards", CHECKPOINT, "is in another shard as well",
           (put_weights("a.safetensors", SIZE_MAX),
            put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"a.safetensors\", \"l\": \"" WEIGHTS "\"}}")));
}

static void test_config(void)
{
    OPENED("config: empty", CONFIG, CONFIG_JSON, put_text(CONFIG_JSON, ""));
    OPENED("config: not JSON", CONFIG, "expected value at line 1", put_text(CONFIG_JSON, "latent_dim = 4"));
    OPENED("config: cut", CONFIG, "line 1", put_text(CONFIG_JSON, "{\"latent_dim\": 4,"));
    OPENED("config: an array", CONFIG, "expected a JSON object", put_text(CONFIG_JSON, "[1, 2]"));
    OPENED("config: a string", CONFIG, "expected a JSON object", put_text(CONFIG_JSON, "\"WFVAEModel\""));
    OPENED("config: not UTF-8", CONFIG, CONFIG_JSON, put_text(CONFIG_JSON, "{\"latent_dim\": \"\xff\"}"));
    OPENED("config: a folder", IO, CONFIG_JSON, (drop(CONFIG_JSON), mkdir(path_of(folder, CONFIG_JSON), 0700)));
    OPENED("config: nothing in it", CONFIG, "has no field of a WF-VAE", put_text(CONFIG_JSON, "{}"));

    FIELD(CONFIG, "latent_dim", "4", "0", ": found 0, expected an integer from 1 to 65536");
    FIELD(CONFIG, "latent_dim", "4", "-4", ": found -4");
    FIELD(CONFIG, "latent_dim", "4", "4.5", ": found 4.5");
    FIELD(CONFIG, "latent_dim", "4", "\"4\"", ": found \"4\"");
    FIELD(CONFIG, "latent_dim", "4", "99999999999999999999", ": found 1e+20");
    FIELD(CONFIG, "base_channels", "4", "65537", ": found 65537");
    FIELD(CONFIG, "base_channels", "4", "[4]", ": found [4]");
    FIELD(CONFIG, "encoder_num_resblocks", "2", "65", ": found 65, expected an integer from 0 to 64");
    FIELD(CONFIG, "decoder_num_resblocks", "2", "0", ": found 0, expected an integer from 1 to 64");
    FIELD(CONFIG, "connect_res_layer_num", "1", "true", ": found true");
    FIELD(CONFIG, "use_attention", "true", "1", ": found 1, expected true or false");
    FIELD(CONFIG, "scale", "[", "1, \"unknown\": [", ": found 1, expected a list of numbers");
    FIELD(CONFIG, "shift", "[", "[\"0\", ", ": found [\"0\",-0.4");
    FIELD(CONFIG, "t_interpolation", "\"trilinear\"", "\"cubic\"", ": found \"cubic\", expected \"nearest\" or");
    FIELD(CONFIG, "t_interpolation", "\"trilinear\"", "3", ": found 3, expected a string");
    FIELD(CONFIG, "norm_type", "\"layernorm\"", "\"batchnorm\"", ": found \"batchnorm\", expected");
    OPENED("config: groupnorm", CONFIG, "\"groupnorm\" needs multiples of 32 channels, encoder.down1.1.norm1.weight has 4",
           edit(CONFIG_JSON, "\"layernorm\"", "\"groupnorm\""));
    FIELD(CONFIG, "_class_name", "\"WFVAEModel\"", "\"AutoencoderKL\"", ": found \"AutoencoderKL\", expected");
    OPENED("config: of the other generation", CONFIG, "attention_type: a field of WFVAEModel, the other generation",
           edit(CONFIG_JSON, "\"WFVAEModel\"", "\"WFVAE2Model\""));
    FIELD(CONFIG, "attention_type", "\"AttnBlock3DFix\"", "\"AttnBlock2D\"", ": found \"AttnBlock2D\", expected");
    FIELD(UNSUPPORTED_MODEL, "attention_type", "\"AttnBlock3DFix\"", "\"AttnBlock3D\"", " \"AttnBlock3D\"");
    FIELD(CONFIG, "l1_dowmsample_block", "\"Downsample\"", "\"Upsample\"", ": found \"Upsample\", expected");
    FIELD(CONFIG, "l1_downsample_wavelet", "\"HaarWaveletTransform2D\"", "\"Haar\"", ": found \"Haar\", expected");
    FIELD(UNSUPPORTED_MODEL, "l1_upsample_block", "\"Upsample\"", "\"Spatial2xTime2x3DUpsample\"", " \"Spatial2x");
    FIELD(UNSUPPORTED_MODEL, "l2_upsample_block", "\"Spatial2xTime2x3DUpsample\"", "\"Upsample\"", ": found \"Ups");
    OPENED("config: a number out of range", CONFIG, "number out of range at line",
           edit(CONFIG_JSON, "\"latent_dim\": 4", "\"latent_dim\": 1e999"));
    OPENED("config: absurd sizes", CHECKPOINT, "found shape [",
           (edit(CONFIG_JSON, "\"base_channels\": 4", "\"base_channels\": 65536"),
            edit(CONFIG_JSON, "\"latent_dim\": 4", "\"latent_dim\": 65536")));
    OPENED("config: of another model", CHECKPOINT, WEIGHTS ": tensor encoder.mid.1.norm1.norm.weight is missing",
           edit(CONFIG_JSON, "\"use_attention\": true", "\"use_attention\": false"));
}

#define FIRST "\"decoder.connect_l1.0.conv1.conv.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}"
#define HAAR "encoder.wavelet_transform_in."
#define BIAS "decoder.norm_out.norm.bias"

static void test_weights(void)
{
    const size_t size = weights_size();

    OPENED("weights: cut to 0", CHECKPOINT, WEIGHTS ": the file is empty", put_weights(WEIGHTS, 0));
    OPENED("weights: cut to 5", CHECKPOINT, "found 5 bytes", put_weights(WEIGHTS, 5));
    OPENED("weights: cut to 8", CHECKPOINT, "truncated, or not safetensors", put_weights(WEIGHTS, 8));
    OPENED("weights: cut in the header", CHECKPOINT, "truncated, or not safetensors", put_weights(WEIGHTS, 1000));
    OPENED("weights: cut after the header", CHECKPOINT, "truncated or damaged: tensor", put_weights(WEIGHTS, 30000));
    OPENED("weights: cut by one byte", CHECKPOINT, "truncated or damaged: tensor", put_weights(WEIGHTS, size - 1));
    OPENED("weights: one byte more", CHECKPOINT, WEIGHTS ": 1 bytes after the last tensor", patch(size, "x", 1));
    OPENED("weights: header of 0", CHECKPOINT, WEIGHTS ": invalid JSON in header", header_size(0));
    OPENED("weights: header too short", CHECKPOINT, WEIGHTS ": invalid JSON in header", header_size(1000));
    OPENED("weights: header as long as the file", CHECKPOINT, "invalid UTF-8 in header", header_size(size - 8));
    OPENED("weights: header of 2^63", CHECKPOINT, "the header is 9223372036854775808", header_size(UINT64_C(1) << 63));
    OPENED("weights: header of 2^64 - 1", CHECKPOINT, "the header is 18446744073709551615", header_size(UINT64_MAX));
    OPENED("weights: not safetensors", CHECKPOINT, "not safetensors", put_text(WEIGHTS, "version 1 of something else"));

    HEADER("outside the file", CHECKPOINT, "truncated or damaged: tensor", "[622976,623008]", "[622976,9623008]");
    HEADER("offsets backwards", CHECKPOINT, "truncated or damaged: tensor", "[622976,623008]", "[623008,622976]");
    HEADER("offsets below 0", CHECKPOINT, "tensor decoder.connect_l1.0.conv1.conv.bias", "[0,16]", "[-16,0]");
    HEADER("overlapping", CHECKPOINT,
           "damaged: tensor decoder.connect_l1.0.conv1.conv.weight begins 4 bytes inside the tensor before it", "[16,1744]", "[12,1740]");
    HEADER("a shape that its bytes do not fit", CHECKPOINT,
           "tensor decoder.connect_l1.0.conv1.conv.bias: found 16 bytes, its shape and type need 5 x 4",
           "\"shape\":[4]", "\"shape\":[5]");
    HEADER("a shape that overflows", CHECKPOINT, "tensor decoder.connect_l1.0.conv1.conv.bias: found 16 bytes",
           "\"shape\":[4]", "\"shape\":[4294967296,4294967296,4294967296]");
    HEADER("another shape", CHECKPOINT,
           "tensor decoder.connect_l1.0.conv1.conv.weight: found shape [4, 4, 3, 9, 1], expected [4, 4, 3, 3, 3]",
           "[4,4,3,3,3]", "[4,4,3,9,1]");
    HEADER("integers", CHECKPOINT,
           "tensor decoder.connect_l1.0.conv1.conv.bias: found I32, expected F32, F16, BF16 or F64", "\"F32\"", "\"I32\"");
    OPENED("weights: a type that nobody knows", CHECKPOINT, "found F33, expected F32, F16, BF16 or F64",
           edit(WEIGHTS, "\"F32\"", "\"F33\""));
    HEADER("a key that is missing", CHECKPOINT, "tensor " BIAS " is missing, expected shape [4]", "\"" BIAS, "\"lost");
    HEADER("an encoder key too many", CHECKPOINT,
           "holds 1 tensors that config.json does not describe, the first is encoder.x",
           FIRST, FIRST ",\"encoder.x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[16,16]}");
    HEADER("a Haar band that is missing", CHECKPOINT, "tensor " HAAR "g_v is missing", "\"" HAAR "g_v_conv", "\"lost");
    HEADER("a Haar band of another shape", CHECKPOINT, "tensor " HAAR "g_conv.conv.weight: found shape [8]",
           "\"" HAAR "g_conv.conv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,2,2,2]",
           "\"" HAAR "g_conv.conv.weight\":{\"dtype\":\"F32\",\"shape\":[8]");
    OPENED("weights: a Haar constant that is another", CHECKPOINT, "tensor " HAAR "h_conv.conv.weight: found [",
           number(HAAR "h_conv.conv.weight", 3, 0.5f));
    OPENED("weights: a Haar constant that is NaN", CHECKPOINT, "expected the Haar kernel",
           number(HAAR "h_conv", 0, NAN));
    OPENED("weights: a Haar sign", CHECKPOINT, "expected the Haar kernel",
           number(HAAR "g_conv.conv.weight", 0, -0.3536f));

    OPENED("weights: a NaN, not looked for", OK, NULL, number(BIAS, 2, NAN));
    PLAIN("weights: a NaN", CHECKPOINT, "tensor " BIAS ": element 2 is NaN, expected a finite number", open_checked());
    OPENED("weights: an infinity, not looked for", OK, NULL, number(BIAS, 0, -INFINITY));
    PLAIN("weights: an infinity", CHECKPOINT, "tensor " BIAS ": element 0 is -inf", open_checked());
    PLAIN("weights: all finite", OK, NULL, (good_files(), open_checked()));

    /* The number of layers that configs may leave out is taken from the keys. */
    OPENED("weights: an absurd number of layers", CHECKPOINT, WEIGHTS,
           (edit(CONFIG_JSON, "\"connect_res_layer_num\": 1,", ""),
            edit(WEIGHTS, "decoder.connect_l1.1.bias", "decoder.connect_l1.4000000000.bias")));
}

/* ---- latent files ---- */

#define LATENT_FILE "latents.safetensors"

static wfvae_status create_writer(const char *path, const wfvae_latent_writer_options *options)
{
    wfvae_latent_writer *writer = (wfvae_latent_writer *)s.stream;
    wfvae_status status = wfvae_latent_writer_create(s.stream, path, options, &writer);

    must(status ? !writer : writer != NULL, "handle");
    wfvae_latent_writer_destroy(writer);
    return status;
}

static wfvae_status open_reader(const char *path)
{
    wfvae_latent_reader *reader = (wfvae_latent_reader *)s.stream;
    wfvae_status status = wfvae_latent_reader_open(path, &reader);

    must(status ? !reader : reader != NULL, "handle");
    wfvae_latent_reader_close(reader);
    return status;
}

static wfvae_status create_newer_writer(uint64_t tail)
{
    struct { wfvae_latent_writer_options options; uint64_t tail; } newer = {{0}, 0};

    newer.options.struct_size = sizeof newer;
    newer.tail = tail;
    return create_writer(path_of(folder, LATENT_FILE), &newer.options);
}

static wfvae_status file_info_of_size(const wfvae_latent_reader *reader, size_t size)
{
    wfvae_latent_file_info info = {0};

    info.struct_size = size;
    return wfvae_latent_reader_get_info(reader, &info);
}

/* Checks the file against a stream of another kind. */
static wfvae_status check_stream(const wfvae_latent_reader *reader, uint32_t width, uint32_t scaled)
{
    wfvae_options options = {0};
    wfvae *stream;
    wfvae_status status;

    options.struct_size = sizeof options;
    options.width = width;
    options.height = SIDE;
    options.scaled = scaled;
    must(!wfvae_create(s.model, &options, &stream), "create");
    status = wfvae_latent_reader_check_stream(reader, stream);
    wfvae_destroy(stream);
    return status;
}

static wfvae_status check_builtin(const wfvae_latent_reader *reader)
{
    wfvae_model *model;
    wfvae_status status;

    must(!wfvae_model_open(NULL, NULL, &model), "model");
    status = wfvae_latent_reader_check_model(reader, model);
    wfvae_model_close(model);
    return status;
}

#define WRITER(name, status, text, change)                                                     \
    do {                                                                                       \
        wfvae_latent_writer_options o = {0};                                                   \
        o.struct_size = sizeof o;                                                              \
        change;                                                                                \
        PLAIN("writer options: " name, status, text, create_writer(path_of(folder, LATENT_FILE), &o)); \
    } while (0)

static void test_latent_writer(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    static char long_note[65538];
    wfvae_latent_writer *writer = NULL;
    wfvae_latent_file_info info = {0};
    wfvae_latent_reader *reader;

    memset(long_note, 'x', sizeof long_note - 1);
    PLAIN("writer without stream", INVALID_ARGUMENT, "stream is NULL",
          wfvae_latent_writer_create(NULL, path, NULL, &writer));
    PLAIN("writer without path", INVALID_ARGUMENT, "path is NULL", create_writer(NULL, NULL));
    PLAIN("writer without writer", INVALID_ARGUMENT, "writer is NULL",
          wfvae_latent_writer_create(s.stream, path, NULL, NULL));
    PLAIN("writer: empty path", IO, "not the name of a file", create_writer("", NULL));
    PLAIN("writer: a folder", IO, "not a regular file", create_writer(folder, NULL));
    PLAIN("writer: a device", IO, "/dev/null: exists and is not a regular file", create_writer("/dev/null", NULL));
    PLAIN("writer: no folder", IO, "No such file", create_writer("/no-such-folder/x", NULL));
    WRITER("size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_latent_writer_options)",
           o.struct_size = 0);
    WRITER("size too small", INVALID_ARGUMENT, "struct_size is", o.struct_size--);
    WRITER("size huge", INVALID_ARGUMENT, "struct_size is", o.struct_size = SIZE_MAX);
    WRITER("half a rate", INVALID_ARGUMENT, "fps is 25/0", o.fps_num = 25);
    WRITER("a rate without frames", INVALID_ARGUMENT, "fps is 0/1", o.fps_den = 1);
    WRITER("a note that is not UTF-8", INVALID_ARGUMENT, "note is not UTF-8", o.note = "\xff");
    WRITER("a note that is too long", INVALID_ARGUMENT, "the note has 65537 bytes", o.note = long_note);
    WRITER("the longest note", OK, NULL, o.note = long_note + 1);
    PLAIN("later writer options, not used", OK, NULL, create_newer_writer(0));
    PLAIN("later writer options, used", INVALID_ARGUMENT, "does not know", create_newer_writer(1));
    PLAIN("write without writer", INVALID_ARGUMENT, "writer is NULL",
          wfvae_latent_writer_write(NULL, right_latents, 1));
    PLAIN("finish without writer", INVALID_ARGUMENT, "writer is NULL", wfvae_latent_writer_finish(NULL, 1));
    wfvae_latent_writer_destroy(NULL);

    /* One writer meets all of these, and its file is right in the end. */
    path = path_of(folder, LATENT_FILE);
    PLAIN("writer", OK, NULL, wfvae_latent_writer_create(s.stream, path, NULL, &writer));
    PLAIN("write no latents", OK, NULL, wfvae_latent_writer_write(writer, NULL, 0));
    PLAIN("write without latents", INVALID_ARGUMENT, "latents is", wfvae_latent_writer_write(writer, NULL, 1));
    PLAIN("write misaligned latents", INVALID_ARGUMENT, "aligned to 4 bytes",
          wfvae_latent_writer_write(writer, shifted(floats), 1));
    PLAIN("write many latents", INVALID_ARGUMENT, "n_latents is 65537, expected at most 65536",
          wfvae_latent_writer_write(writer, right_latents, 65537));
    PLAIN("write most latents", INVALID_ARGUMENT, "n_latents is 18446744073709551615",
          wfvae_latent_writer_write(writer, right_latents, SIZE_MAX));
    PLAIN("finish too early", INVALID_STATE, "0 latents were written, 8 frames have 3",
          wfvae_latent_writer_finish(writer, FRAMES));
    PLAIN("write", OK, NULL, wfvae_latent_writer_write(writer, right_latents, LATENTS));
    PLAIN("finish with no frames", INVALID_ARGUMENT, "0 frames", wfvae_latent_writer_finish(writer, 0));
    PLAIN("finish with most frames", INVALID_STATE, "3 latents were written",
          wfvae_latent_writer_finish(writer, UINT64_MAX));
    PLAIN("nothing before the end", IO, "No such file", open_reader(path));
    PLAIN("finish", OK, NULL, wfvae_latent_writer_finish(writer, FRAMES));
    PLAIN("finish twice", INVALID_STATE, "it is finished", wfvae_latent_writer_finish(writer, FRAMES));
    PLAIN("write after the end", INVALID_STATE, "it is finished", wfvae_latent_writer_write(writer, right_latents, 1));
    wfvae_latent_writer_destroy(writer);

    must(!wfvae_latent_reader_open(path, &reader), "reader");
    info.struct_size = sizeof info;
    must(!wfvae_latent_reader_get_info(reader, &info), "info");
    result("file info", info.n_frames == FRAMES && info.n_latents == LATENTS && info.width == SIDE &&
                            info.height == SIDE && !info.padded && info.spatial_compression == 8 && info.temporal_compression == 4 &&
                            info.latent_channels == NUMBERS && info.latent_width == 1 && info.latent_height == 1 &&
                            info.posterior == WFVAE_POSTERIOR_MEAN && info.latent_type == WFVAE_LATENT_TYPE_F32 &&
                            !info.scaled && !info.fps_num && !info.fps_den && info.scale && info.shift && !*info.note &&
                            !strncmp(info.generator, "libwfvae ", 9));
    wfvae_latent_reader_close(reader);
}

/* Every number and text of a file in which no two are the same by chance. */
static void test_latent_file_info(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    static const float scale[] = {0.6f, 0.9f, 1.2f, 0.75f}, shift[] = {-0.4f, 0.29f, 0.06f, -0.17f};
    const uint16_t latents[2 * 4 * 5 * 3] = {0};
    wfvae_latent_writer_options writer_options = {0};
    wfvae_latent_file_info info = {0};
    wfvae_model_info model_info = {0};
    wfvae_options options = {0};
    wfvae_latent_writer *writer;
    wfvae_latent_reader *reader;
    wfvae *stream;

    options.struct_size = sizeof options;
    options.width = 5 * SIDE - 1;
    options.height = 3 * SIDE;
    options.padding = options.scaled = 1;
    options.directions = WFVAE_DIRECTION_ENCODE;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    options.posterior = WFVAE_POSTERIOR_SAMPLE;
    options.seed = UINT64_MAX - 5;
    writer_options.struct_size = sizeof writer_options;
    writer_options.fps_num = 30000;
    writer_options.fps_den = 1001;
    writer_options.note = "a note";
    must(!wfvae_create(s.model, &options, &stream) && !wfvae_latent_writer_create(stream, path, &writer_options, &writer) &&
             !wfvae_latent_writer_write(writer, latents, 2) && !wfvae_latent_writer_finish(writer, 4) &&
             !wfvae_latent_reader_open(path, &reader),
         "file");
    info.struct_size = sizeof info;
    model_info.struct_size = sizeof model_info;
    must(!wfvae_latent_reader_get_info(reader, &info) && !wfvae_model_get_info(s.model, &model_info), "info");
    result("file info: model", info.model_identity == model_info.identity &&
                                   info.encoder_identity == model_info.encoder_identity &&
                                   info.decoder_identity == model_info.decoder_identity && info.spatial_compression == 8 &&
                                   info.temporal_compression == 4 && info.latent_channels == 4);
    result("file info: clip", info.n_frames == 4 && info.n_latents == 2 && info.fps_num == 30000 && info.fps_den == 1001);
    result("file info: sizes", info.width == 5 * SIDE - 1 && info.height == 3 * SIDE && info.padded == 1 &&
                                   info.latent_width == 5 * SIDE / 8 && info.latent_height == 3 * SIDE / 8);
    result("file info: latents", info.posterior == WFVAE_POSTERIOR_SAMPLE && info.seed == UINT64_MAX - 5 &&
                                     info.latent_type == WFVAE_LATENT_TYPE_F16 && info.scaled == 1);
    result("file info: lists", !memcmp(info.scale, scale, sizeof scale) && !memcmp(info.shift, shift, sizeof shift));
    result("file info: texts", !strcmp(info.note, "a note") && strstr(info.generator, "libwfvae") == info.generator);
    wfvae_latent_reader_close(reader);
    wfvae_latent_writer_destroy(writer);
    wfvae_destroy(stream);
    remove(path);
}

static void test_latent_reader(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    float latents[LATENTS][NUMBERS] = {{0}};
    uint16_t halves[NUMBERS] = {0};
    wfvae_latent_reader *reader;
    size_t size;
    char *bytes;

    must(!wfvae_latent_reader_open(path, &reader), "reader");
    PLAIN("open without path", INVALID_ARGUMENT, "path is NULL", open_reader(NULL));
    PLAIN("open without reader", INVALID_ARGUMENT, "reader is NULL", wfvae_latent_reader_open(path, NULL));
    PLAIN("file info without reader", INVALID_ARGUMENT, "reader is NULL",
          file_info_of_size(NULL, sizeof(wfvae_latent_file_info)));
    PLAIN("file info without info", INVALID_ARGUMENT, "info is NULL", wfvae_latent_reader_get_info(reader, NULL));
    PLAIN("file info: size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_latent_file_info)",
          file_info_of_size(reader, 0));
    PLAIN("file info: size huge", INVALID_ARGUMENT, "struct_size is", file_info_of_size(reader, SIZE_MAX));
    PLAIN("check without reader", INVALID_ARGUMENT, "reader is NULL", wfvae_latent_reader_check_model(NULL, s.model));
    PLAIN("check without model", INVALID_ARGUMENT, "model is NULL", wfvae_latent_reader_check_model(reader, NULL));
    PLAIN("check stream without reader", INVALID_ARGUMENT, "reader is NULL",
          wfvae_latent_reader_check_stream(NULL, s.stream));
    PLAIN("check without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_latent_reader_check_stream(reader, NULL));
    PLAIN("check model", OK, NULL, wfvae_latent_reader_check_model(reader, s.model));
    PLAIN("check stream", OK, NULL, wfvae_latent_reader_check_stream(reader, s.stream));
    PLAIN("check another model", LATENT_FILE, "that of the built-in model is 63a04ed0837b4b59: encoders and decoders differ", check_builtin(reader));
    PLAIN("check another width", LATENT_FILE, "its frames are 8x8, those of the stream 16x8",
          check_stream(reader, 16, 0));
    PLAIN("check another scaling", LATENT_FILE, "its latents are raw, the stream reads scaled ones",
          check_stream(reader, SIDE, 1));

    PLAIN("read without reader", INVALID_ARGUMENT, "reader is NULL", wfvae_latent_reader_read(NULL, 0, 1, 0, latents));
    PLAIN("read without latents", INVALID_ARGUMENT, "latents is", wfvae_latent_reader_read(reader, 0, 1, 0, NULL));
    PLAIN("read to misaligned memory", INVALID_ARGUMENT, "aligned to 4 bytes",
          wfvae_latent_reader_read(reader, 0, 1, 0, shifted(floats)));
    PLAIN("read none", INVALID_ARGUMENT, "n_latents is 0", wfvae_latent_reader_read(reader, 0, 0, 0, latents));
    PLAIN("read many", INVALID_ARGUMENT, "n_latents is 65537", wfvae_latent_reader_read(reader, 0, 65537, 0, latents));
    PLAIN("read most", INVALID_ARGUMENT, "n_latents is 18446744073709551615",
          wfvae_latent_reader_read(reader, 0, SIZE_MAX, 0, latents));
    PLAIN("read beyond the end", INVALID_ARGUMENT, "2 latents from latent 2 were asked for, it holds 3",
          wfvae_latent_reader_read(reader, 2, 2, 0, latents));
    PLAIN("read from far beyond the end", INVALID_ARGUMENT, "from latent 18446744073709551615",
          wfvae_latent_reader_read(reader, UINT64_MAX, 1, 0, latents));
    PLAIN("read another type", INVALID_ARGUMENT, "latent_type is 2",
          wfvae_latent_reader_read(reader, 0, 1, 2, latents));
    PLAIN("read moments of means", INVALID_STATE, "it holds the mean, not the moments",
          wfvae_latent_reader_read_moments(reader, 0, 1, 0, latents));
    PLAIN("read moments without reader", INVALID_ARGUMENT, "reader is NULL",
          wfvae_latent_reader_read_moments(NULL, 0, 1, 0, latents));
    PLAIN("read", OK, NULL, wfvae_latent_reader_read(reader, 0, LATENTS, 0, latents));
    result("read, latents", !memcmp(latents, right_latents, sizeof latents));
    PLAIN("read halves", OK, NULL,
          wfvae_latent_reader_read(reader, LATENTS - 1, 1, WFVAE_LATENT_TYPE_F16, halves));
    result("read halves, latent", halves[0] && halves[NUMBERS - 1]);
    wfvae_latent_reader_close(reader);
    wfvae_latent_reader_close(NULL);

    PLAIN("open: nothing there", IO, "no-such-file", open_reader(path_of(folder, "no-such-file")));
    PLAIN("open: empty path", IO, "No such file", open_reader(""));
    PLAIN("open: a folder", IO, "not a regular file", open_reader(folder));
    PLAIN("open: a device", IO, "not a regular file", open_reader("/dev/zero"));
    PLAIN("open: weights", LATENT_FILE, "not a file of latents: found format none",
          (good_files(), open_reader(path_of(folder, WEIGHTS))));
    PLAIN("open: a config", LATENT_FILE, CONFIG_JSON ": a text file",
          open_reader(path_of(folder, CONFIG_JSON)));
    bytes = load(path_of(folder, LATENT_FILE), &size);
    PLAIN("open: cut to 5", LATENT_FILE, "found 5 bytes",
          (put(LATENT_FILE, bytes, 5), open_reader(path_of(folder, LATENT_FILE))));
    PLAIN("open: cut in the header", LATENT_FILE, "truncated or unfinished, or not safetensors",
          (put(LATENT_FILE, bytes, 100), open_reader(path_of(folder, LATENT_FILE))));
    PLAIN("open: cut by one byte", LATENT_FILE, "describes 48 bytes of data, found 47",
          (put(LATENT_FILE, bytes, size - 1), open_reader(path_of(folder, LATENT_FILE))));
    PLAIN("open: one byte more", LATENT_FILE, "describes 48 bytes of data, found 49",
          (put(LATENT_FILE, bytes, size + 1), open_reader(path_of(folder, LATENT_FILE))));
    free(bytes);
    drop(LATENT_FILE);
}

/* A disk that is full: the writer fails, nothing remains, and only destroying is left. */
static void test_full_disk(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    struct rlimit limit, before;
    wfvae_latent_writer *writer;
    int i, status = 0;

    signal(SIGXFSZ, SIG_IGN);
    must(!wfvae_latent_writer_create(s.stream, path, NULL, &writer) && !getrlimit(RLIMIT_FSIZE, &before), "writer");
    limit = before;
    limit.rlim_cur = 4096;
    must(!setrlimit(RLIMIT_FSIZE, &limit), "setrlimit");
    for (i = 0; i < 1000 && !status; i++)
        status = wfvae_latent_writer_write(writer, right_latents, LATENTS);
    PLAIN("write to a full disk", IO, "latents.safetensors: File too large", (wfvae_status)status);
    must(!setrlimit(RLIMIT_FSIZE, &before), "setrlimit");
    PLAIN("write after a full disk", INVALID_STATE, "an earlier call failed: File too large",
          wfvae_latent_writer_write(writer, right_latents, 1));
    PLAIN("finish after a full disk", INVALID_STATE, "an earlier call failed",
          wfvae_latent_writer_finish(writer, FRAMES));
    wfvae_latent_writer_destroy(writer);
    PLAIN("nothing after a full disk", IO, "No such file", open_reader(path));
}

/* What is written must not take the place of the model's own files. */
static void test_own_files(void)
{
    static const char *const links[] = {"links/encoder.0.onnx", "links/decoder.0.bin"};
    wfvae_options options = {0};
    wfvae_model *model = NULL;
    wfvae *stream = NULL;
    wfvae_latent_writer *writer = NULL;
    char at[2][2000], weights[2000];
    size_t before[2], after[2], i;
    char *config, *bytes, *again;

    good_files();
    config = load(path_of(folder, CONFIG_JSON), &before[0]);
    bytes = load(path_of(folder, WEIGHTS), &before[1]);
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    must(!wfvae_model_open(folder, NULL, &model) && !wfvae_create(model, &options, &stream), "a model of its own");

    PLAIN("save: into the model's folder", INVALID_ARGUMENT, "holds the open model's own files",
          wfvae_model_save_onnx(model, folder, 0));
    PLAIN("save: into it by another name", INVALID_ARGUMENT, "holds the open model's own files",
          wfvae_model_save_onnx(model, path_of(folder, "."), 1));
    must(!mkdir(path_of(folder, "links"), 0777), "mkdir");
    for (i = 0; i < 2; i++)
        snprintf(at[i], sizeof at[i], "%s", path_of(folder, links[i]));
    must(!symlink("../" CONFIG_JSON, at[0]), "symlink");
    PLAIN("save: a link to the config", INVALID_ARGUMENT, "own file",
          wfvae_model_save_onnx(model, path_of(folder, "links"), 0));
    must(!remove(at[0]), "remove");
    snprintf(weights, sizeof weights, "%s", path_of(folder, WEIGHTS));
    must(!link(weights, at[1]), "link");
    PLAIN("save: a hard link to the weights", INVALID_ARGUMENT, "own file",
          wfvae_model_save_onnx(model, path_of(folder, "links"), 0));
    result("save: nothing was written", access(at[0], F_OK) != 0);
    PLAIN("writer: onto a hard link to the weights", INVALID_ARGUMENT, "own file",
          wfvae_latent_writer_create(stream, at[1], NULL, &writer));
    PLAIN("writer: onto the weights", INVALID_ARGUMENT, "own file",
          wfvae_latent_writer_create(stream, weights, NULL, &writer));
    PLAIN("writer: onto the config", INVALID_ARGUMENT, "own file",
          wfvae_latent_writer_create(stream, path_of(folder, CONFIG_JSON), NULL, &writer));
    PLAIN("writer: beside them", OK, NULL,
          wfvae_latent_writer_create(stream, path_of(folder, LATENT_FILE), NULL, &writer));
    wfvae_latent_writer_destroy(writer);

    again = load(path_of(folder, CONFIG_JSON), &after[0]);
    result("the config is as it was", before[0] == after[0] && !memcmp(config, again, after[0]));
    free(again);
    again = load(weights, &after[1]);
    result("the weights are as they were", before[1] == after[1] && !memcmp(bytes, again, after[1]));
    free(again);
    free(config);
    free(bytes);
    wfvae_destroy(stream);
    wfvae_model_close(model);
    must(!remove(at[1]) && !remove(path_of(folder, "links")), "remove");
}

/* ---- messages ---- */

static struct {
    int messages, wrong;
    uint32_t level;
} heard;

static void hear(void *user, uint32_t level, const char *text)
{
    heard.messages += strstr(text, "unheard_of") != NULL;
    heard.level = strstr(text, "unheard_of") ? level : heard.level;
    heard.wrong += user != (void *)golden || strchr(text, '\n') != NULL;
}

/* How often the folder's model warns of its config's unknown field at this level. */
static int warnings_at(uint32_t log_level)
{
    wfvae_model_options options = {0};

    memset(&heard, 0, sizeof heard);
    options.struct_size = sizeof options;
    options.provider = WFVAE_PROVIDER_CPU;
    options.log_callback = hear;
    options.log_user = golden;
    options.log_level = log_level;
    must(!open_model(folder, &options), "model with a warning");
    return heard.wrong || (heard.messages && heard.level != WFVAE_LOG_LEVEL_WARN) ? -1 : heard.messages;
}

static void count(void *user, uint32_t level, const char *text)
{
    (void)level;
    (void)text;
    ++*(int *)user;
}

/* Of a model whose stream loads its sessions. */
static int messages_at(uint32_t log_level)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    wfvae_model *model;
    wfvae *stream;
    int messages = 0;

    model_options.struct_size = sizeof model_options;
    model_options.provider = WFVAE_PROVIDER_CPU;
    model_options.n_threads = 1;
    model_options.log_callback = count;
    model_options.log_user = &messages;
    model_options.log_level = log_level;
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    must(!wfvae_model_open(golden, &model_options, &model) && !wfvae_create(model, &options, &stream), "stream");
    wfvae_destroy(stream);
    wfvae_model_close(model);
    return messages;
}

static void test_messages(void)
{
    result("messages: those of ONNX Runtime at trace",
           messages_at(WFVAE_LOG_LEVEL_TRACE) > 2 * messages_at(WFVAE_LOG_LEVEL_DEBUG));
    good_files();
    edit(CONFIG_JSON, "{", "{\"unheard_of\": 1, ");
    result("messages: no warning at error", warnings_at(WFVAE_LOG_LEVEL_ERROR) == 0);
    result("messages: warning at warn", warnings_at(WFVAE_LOG_LEVEL_WARN) == 1);
    result("messages: warning at info", warnings_at(WFVAE_LOG_LEVEL_INFO) == 1);
    result("messages: warning by default", warnings_at(WFVAE_LOG_LEVEL_DEFAULT) == 1);
    result("messages: warning at debug", warnings_at(WFVAE_LOG_LEVEL_DEBUG) == 1);
    good_files();
    edit(CONFIG_JSON, "{", "{\"\\u0000unheard_of\": 1, ");
    result("messages: a text with a NUL", warnings_at(WFVAE_LOG_LEVEL_WARN) == 1);
    good_files();
    edit(CONFIG_JSON, "{", "{\"_unheard_of\": 1, ");
    result("messages: none of metadata", warnings_at(WFVAE_LOG_LEVEL_DEBUG) == 0);
}

static void test_others(void)
{
    PLAIN("save: no folder", IO, "no-such-folder", wfvae_model_save_onnx(s.model, path_of(folder, "no-such-folder"), 0));
    PLAIN("save: no such graphs", INVALID_ARGUMENT, "graphs is 2, expected a wfvae_graphs",
          wfvae_model_save_onnx(s.model, folder, 2));
    PLAIN("save: a file", IO, "encoder.0.onnx",
          (good_files(), wfvae_model_save_onnx(s.model, path_of(folder, CONFIG_JSON), 0)));
    result("text of an unknown status", *wfvae_status_str(12345) && *wfvae_status_str(INT32_MIN));
    result("text of a known status", strcmp(wfvae_status_str(WFVAE_STATUS_IO), wfvae_status_str(12345)) != 0);
}

static void prepare(void)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    size_t t, i;

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

/* ---- numbers ---- */

static void test_not_finite(void)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_latent_writer *writer = NULL;
    wfvae *stream = NULL;
    wfvae_frame frame, *decoded = s.decoded;
    float latents[2][NUMBERS] = {{0}}, planes[3][PIXELS] = {{0}};
    size_t count = UNTOUCHED;
    int i;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    info.struct_size = sizeof info;
    must(!wfvae_create(s.model, &options, &stream), "stream");
    describe(&frame, planes[0]);
    frame.format = WFVAE_PIXEL_FORMAT_RGBP_F32;
    for (i = 0; i < 3; i++) {
        frame.planes[i] = planes[i];
        frame.strides[i] = SIDE * sizeof(float);
    }
    planes[1][SIDE + 2] = NAN;
    PLAIN("frame: a NaN", NOT_FINITE, "frame 0 of the call, frame 0 of the clip: G at column 2, row 1",
          wfvae_encode_chunk(stream, &frame, 1, latents, 2, &count));
    result("frame: a NaN: nothing written", !count);
    planes[1][SIDE + 2] = 0.5f;
    must(!wfvae_get_info(stream, &info), "info");
    result("frame: a NaN: nothing consumed", !info.frames_in && !info.needs_reset);
    PLAIN("frame: finite again", OK, NULL, wfvae_encode_chunk(stream, &frame, 1, latents, 2, &count));

    latents[1][3] = -INFINITY;
    PLAIN("latent: an infinity", NOT_FINITE, "latent 1 of the call, latent 1 of the clip: channel 3: number 0",
          wfvae_decode_chunk(stream, latents, 2, decoded, FRAMES, &count));
    must(!wfvae_latent_writer_create(stream, path_of(folder, LATENT_FILE), NULL, &writer), "writer");
    PLAIN("latent file: an infinity", NOT_FINITE, "latent 1: number 3 is -inf",
          wfvae_latent_writer_write(writer, latents, 2));
    wfvae_latent_writer_destroy(writer);
    latents[1][3] = 0;
    PLAIN("latents: finite again", OK, NULL, wfvae_decode_chunk(stream, latents, 2, decoded, FRAMES, &count));
    wfvae_destroy(stream);
}

/* The checkpoint is written to between the opening and the first stream. */
static void test_changed_weights(void)
{
    wfvae_options options = {0};
    wfvae_model *model = NULL;
    wfvae *stream = NULL;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    good_files();
    must(!wfvae_model_open(folder, NULL, &model), "model");
    number(BIAS, 2, 0.25f);
    PLAIN("changed weights: stream", CHECKPOINT, "changed since it was opened; open it again",
          wfvae_create(model, &options, &stream));
    must(!mkdir(path_of(folder, "graphs"), 0777), "mkdir");
    PLAIN("changed weights: graphs", CHECKPOINT, "changed since it was opened",
          wfvae_model_save_onnx(model, path_of(folder, "graphs"), WFVAE_GRAPHS_STEPS));
    result("changed weights: no graph", !remove(path_of(folder, "graphs")));
    wfvae_model_close(model);
    must(!wfvae_model_open(folder, NULL, &model), "model");
    PLAIN("changed weights: opened again", OK, NULL, wfvae_create(model, &options, &stream));
    wfvae_destroy(stream);
    wfvae_model_close(model);
    good_files();
}

int main(int argc, char **argv)
{
    wfvae_model *another = NULL;
    size_t i;

    if (argc < 2) {
        fputs("usage: test_errors GOLDEN [quick]\n", stderr);
        return 2;
    }
    quick = argc > 2 && !strcmp(argv[2], "quick");
    snprintf(golden, sizeof golden, "%s/v1-image", argv[1]);
    temporary_name(folder, sizeof folder);
    {
        char header[1000];
        snprintf(header, sizeof header, "%s/../../include/wfvae.h", argv[1]);
        statuses_open(header);
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    result("no error yet", !*wfvae_last_error(NULL));
    must(mkdtemp(folder) != NULL, folder);

    prepare();
    test_null();
    test_options();
    test_estimate();
    test_clips();
    test_sizes();
    test_infos();
    test_model_infos();
    test_frames();
    test_counts();
    test_direction(WFVAE_DIRECTION_ENCODE);
    test_direction(WFVAE_DIRECTION_DECODE);
    test_order();
    good_files();
    edit(CONFIG_JSON, "\"trilinear\"", "\"nearest\"");
    must(!wfvae_model_open(folder, NULL, &another), "another model");
    test_snapshots(another);
    wfvae_model_close(another);
    test_memory();
    test_folders();
    test_config();
    test_weights();
    test_latent_writer();
    test_latent_reader();
    test_latent_file_info();
    test_full_disk();
    test_own_files();
    test_messages();
    test_others();
    test_not_finite();
    test_changed_weights();
    result("every status that a call returned is one that its comment names",
           statuses_checked > 500 && !statuses_missing);

    for (i = 0; i < sizeof files / sizeof *files; i++)
        remove(path_of(folder, files[i]));
    must(!remove(folder), folder);
    wfvae_destroy(s.stream);
    wfvae_model_close(s.model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
