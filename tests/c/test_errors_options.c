/* Options that the library refuses: of models, of streams and of estimates; structs of other versions; and more memory
 * than there is. */
#define _POSIX_C_SOURCE 200809L

#include "one_clip.h"
#include "os.h"

static wfvae_status create(const wfvae_options *options)
{
    wfvae_stream *stream = s.stream;
    wfvae_status status = wfvae_create(s.model, options, &stream);

    must(status ? !stream : stream && stream != s.stream, "handle");
    wfvae_destroy(stream);
    return status;
}

/* Rows that change one field of valid options. */
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

static void test_null(void)
{
    wfvae_options options = {0};
    wfvae_stream *stream = s.stream;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    PLAIN("create without model", INVALID_ARGUMENT, "model is NULL", wfvae_create(NULL, &options, &stream));
    result("create without model, stream", stream == NULL);
    PLAIN("create without options", INVALID_ARGUMENT, "options is NULL", wfvae_create(s.model, NULL, &stream));
    PLAIN("create without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_create(s.model, &options, NULL));
}

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
    OPEN("1024 threads", OK, NULL, o.n_threads = 1024);
    OPEN("threads", INVALID_ARGUMENT, "n_threads is 1025, expected 0 to 1024", o.n_threads = 1025);
    OPEN("most threads", INVALID_ARGUMENT, "n_threads is 4294967295", o.n_threads = UINT32_MAX);
    OPEN("check_finite", INVALID_ARGUMENT, "check_finite is 2", o.check_finite = 2);
    OPEN("log_level", INVALID_ARGUMENT, "log_level is 6", o.log_level = 6);
    OPEN("cache_type", INVALID_ARGUMENT, "cache_type is 2, expected a wfvae_cache_type", o.cache_type = 2);
    OPEN("convolution", INVALID_ARGUMENT, "convolution is 5, expected a wfvae_convolution", o.convolution = 5);
    OPEN("layout", INVALID_ARGUMENT, "layout is 3, expected a wfvae_layout", o.layout = 3);
    OPEN("layout planes", INVALID_ARGUMENT, "layout planes: on the CPU, convolution exact and fast",
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
    CREATE("width 32768", OK, NULL, o.width = 32768);
    CREATE("width 32769", INVALID_SIZE, "32769x8: width and height must be 1 to 32768", (o.width = 32769, o.padding = 1));
    CREATE("height 32768", OK, NULL, o.height = 32768);
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
    CREATE("frame_memory", INVALID_ARGUMENT, "frame_memory is 2, expected a wfvae_memory_kind", o.frame_memory = 2);
    CREATE("latent_memory", INVALID_ARGUMENT, "latent_memory is 2, expected a wfvae_memory_kind", o.latent_memory = 2);
    CREATE("frames on a device that there is not", INVALID_ARGUMENT, "frame_memory cuda: the model runs on the CPU",
           o.frame_memory = WFVAE_MEMORY_KIND_CUDA);
    CREATE("latents on a device that there is not", INVALID_ARGUMENT, "latent_memory cuda: the model runs on the CPU",
           o.latent_memory = WFVAE_MEMORY_KIND_CUDA);
    CREATE("a CUDA stream that nothing uses", OK, NULL, o.cuda_stream = &o);
    CREATE("reserved", INVALID_ARGUMENT, "reserved is 1, expected 0", o.reserved = 1);
    CREATE("tiling", INVALID_ARGUMENT, "tiling is 3, expected a wfvae_tiling", o.tiling = 3);
    CREATE("exact tiles with attention", INVALID_ARGUMENT, "attention makes every pixel depend on all others",
           o.tiling = WFVAE_TILING_EXACT);
    CREATE("tiles without tiling", INVALID_ARGUMENT, "a tile size without tiling", o.tile_width = 64);
    CREATE("overlap without tiling", INVALID_ARGUMENT, "tile_overlap is 8, expected 0 unless", o.tile_overlap = 8);
    CREATE("overlap of exact tiles", INVALID_ARGUMENT, "tile_overlap is 8, expected 0 unless",
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
           (o.width = o.height = 512, o.memory_limit = (2 << 20) - 1));
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
    PLAIN("estimate, limit", OUT_OF_MEMORY, "memory_limit is 1 bytes", estimate(sizeof memory, 1));
    options.width = 0;
    PLAIN("estimate, no width", INVALID_SIZE, "0x8", wfvae_estimate(s.model, &options, &memory));
}

/* A stream that takes whole clips. */
static void test_clips(void)
{
    wfvae_stream *both = s.stream;
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
    PLAIN("clip: a frame count too late", INVALID_ARGUMENT, "have been left out already",
          wfvae_set_frame_count(s.stream, FRAMES - 1));
    PLAIN("clip: decode a second one", INVALID_STATE, "reset the stream before the next one",
          wfvae_decode_chunk(s.stream, right_latents, 1, s.decoded, FRAMES, &s.count));
    wfvae_destroy(s.stream);
    s.stream = both;
    begin();
}

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

/* A frame size that needs more memory than there is. */
static void test_memory(void)
{
    if (quick) {
        puts("skipped memory: the limit on it would stop valgrind itself");
    } else if (os_limit_memory(512u << 20)) {
        puts("skipped memory: the system limits no process");
    } else {
        CREATE("more than the memory", OUT_OF_MEMORY, "cannot allocate", o.width = o.height = 4096);
        must(!os_limit_memory(0), "no limit");
        CREATE("the memory is there again", OK, NULL, (void)0);
    }
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    test_null();
    test_options();
    test_estimate();
    test_clips();
    test_sizes();
    test_memory();
    return clip_close();
}
