// SPDX-License-Identifier: MIT OR Apache-2.0
// Models, streams, snapshots and latent files, with real models.
#include "check.hpp"

#include <cmath>
#include <fstream>
#include <utility>

using namespace wfvae;

namespace {

constexpr std::uint32_t width = 40, height = 24;
constexpr std::size_t frame = 3 * width * height, n = 7;

/// The latents and frames of a clip, as plain C calls give them.
struct Plain {
    std::vector<float> latents;
    std::vector<std::uint8_t> frames;
};

Plain with_c(const std::vector<std::uint8_t> &pixels)
{
    Plain plain;
    wfvae_model *model = nullptr;
    wfvae_stream *stream = nullptr;
    wfvae_options options{};
    options.struct_size = sizeof options;
    options.width = width;
    options.height = height;
    wfvae_info info{};
    info.struct_size = sizeof info;
    detail::expect_ok(wfvae_model_open(nullptr, nullptr, &model));
    detail::expect_ok(wfvae_create(model, &options, &stream));
    detail::expect_ok(wfvae_get_info(stream, &info));
    const std::size_t values = info.encoded_size / sizeof(float);
    plain.latents.resize(3 * values);
    plain.frames.resize(n * frame);
    std::vector<wfvae_frame> in(n), out(n);
    for (std::size_t i = 0; i < n; i++) {
        in[i].struct_size = sizeof(wfvae_frame);
        in[i].format = WFVAE_PIXEL_FORMAT_RGB8;
        in[i].width = width;
        in[i].height = height;
        in[i].strides[0] = 3 * width;
        out[i] = in[i];
        in[i].planes[0] = const_cast<std::uint8_t *>(pixels.data() + i * frame);
        out[i].planes[0] = plain.frames.data() + i * frame;
    }
    std::size_t latents = 0, last = 0, frames = 0, rest = 0;
    detail::expect_ok(wfvae_encode_chunk(stream, in.data(), n, plain.latents.data(), 3, &latents));
    detail::expect_ok(wfvae_encode_flush(stream, plain.latents.data() + latents * values, 3 - latents, &last));
    detail::expect_ok(wfvae_set_frame_count(stream, n));
    detail::expect_ok(wfvae_decode_chunk(stream, plain.latents.data(), latents + last, out.data(), n, &frames));
    detail::expect_ok(wfvae_decode_flush(stream, out.data() + frames, n - frames, &rest));
    wfvae_destroy(stream);
    wfvae_model_close(model);
    test::result("plain C", latents + last == 3 && frames + rest == n);
    return plain;
}

void objects()
{
    Model empty;
    test::result("an empty model", !empty && !empty.get());
    test::throws("its info", StatusCode::invalid_state, "wfvae::Model is empty", [&] { (void)empty.info(); });
    test::throws("a stream of it", StatusCode::invalid_state, "wfvae::Model is empty", [&] { Stream(empty, {8, 8}); });
    Model model = Model::built_in();
    Model moved = std::move(model);
    test::throws("a model that was moved from", StatusCode::invalid_state, "moved from", [&] { (void)model.info(); });
    Model &self = moved;
    moved = std::move(self);
    test::result("moved to itself", moved && std::string(moved.info().name) == "the built-in model");
    model = std::move(moved);
    const ModelInfo info = model.info();
    test::result("model", info.latent_channels > 0 && model.has(Direction::encode | Direction::decode) &&
                              model.latents_for_frames(n) == 3 && model.frames_for_latents(3) == 9);

    Stream stream(model, {width, height});
    Stream &same = stream;
    stream = std::move(same);
    test::result("a stream moved to itself", stream && stream.info().width == width);
    Stream other = std::move(stream);
    std::vector<float> latents(1000);
    const std::vector<std::uint8_t> pixels = test::video(1, width, height);
    const ConstFrame one(PixelFormat::rgb8, pixels, width, height);
    Snapshot no_snapshot;
    const LatentWriter no_writer;
    const LatentReader no_reader;
    const std::string text = "wfvae::Stream is empty";
    test::throws("empty: encode", StatusCode::invalid_state, text, [&] { stream.encode(one, latents); });
    test::throws("empty: encode to a vector", StatusCode::invalid_state, text, [&] { (void)stream.encode(one); });
    test::throws("empty: decode", StatusCode::invalid_state, text, [&] { stream.decode(latents, FrameSpan()); });
    test::throws("empty: decode_clip", StatusCode::invalid_state, text, [&] { (void)stream.decode_clip(latents); });
    test::throws("empty: reset", StatusCode::invalid_state, text, [&] { stream.reset(); });
    test::throws("empty: fork", StatusCode::invalid_state, text, [&] { (void)stream.fork(); });
    test::throws("empty: cancel", StatusCode::invalid_state, text, [&] { stream.cancel(); });
    test::throws("empty: writer", StatusCode::invalid_state, text, [&] { LatentWriter(stream, test::folder + "/x"); });
    test::throws("empty: restore", StatusCode::invalid_state, "wfvae::Snapshot is empty",
                 [&] { other.restore(no_snapshot); });
    test::throws("empty: snapshot", StatusCode::invalid_state, "wfvae::Snapshot is empty",
                 [&] { (void)no_snapshot.bytes(); });
    test::throws("empty: finish", StatusCode::invalid_state, "wfvae::LatentWriter is empty",
                 [&] { (void)no_writer.last_error(); });
    test::throws("empty: read", StatusCode::invalid_state, "wfvae::LatentReader is empty",
                 [&] { (void)no_reader.read(); });

    model = Model(); // closed before its streams
    test::result("a stream outlives its model",
                 other.encode_clip(ConstFrameSpan(one)).size() == other.encoded_values());
}

void errors()
{
    test::throws("a model that does not exist", StatusCode::io, "does-not-exist", [] { Model("does-not-exist"); });
    test::throws("a path with a zero", StatusCode::invalid_argument, "zero character",
                 [] { Model(std::string("a\0b", 3)); });
    test::throws("an empty path", StatusCode::io, "", [] { Model(""); });
    ModelOptions options;
    options.provider = static_cast<Provider>(99);
    test::throws("no provider", StatusCode::invalid_argument, "99", [&] { (void)Model::built_in(options); });
    test::throws("options and a literal", StatusCode::invalid_argument, "99", [&] { Model("path", options); });
    options = {};
    options.provider_options = "a=b";
    options.provider = Provider::cpu;
    test::throws("provider options on the CPU", StatusCode::invalid_argument, "provider_options",
                 [&] { (void)Model::built_in(options); });

    const Model model = Model::built_in();
    test::throws("a size", StatusCode::invalid_size, "41", [&] { Stream(model, {41, height}); });
    StreamOptions limited{width, height};
    limited.memory_limit = 1;
    test::throws("a limit", StatusCode::out_of_memory, "memory_limit", [&] { Stream(model, limited); });
    Stream stream(model, {width, height});
    std::vector<float> latents(stream.latent_values() - 1);
    std::vector<std::uint16_t> halves(stream.latent_values());
    std::vector<std::uint8_t> pixels(frame);
    const Frame out(PixelFormat::rgb8, pixels, width, height);
    test::throws("a part of a latent", StatusCode::invalid_argument, "not a whole number of latents",
                 [&] { stream.decode(latents, out); });
    test::throws("latents of halves", StatusCode::invalid_argument, "use float", [&] { stream.decode(halves, out); });
    test::throws("halves to encode to", StatusCode::invalid_argument, "use float", [&] { stream.encode(out, halves); });
    test::throws("a vector of halves", StatusCode::invalid_argument, "use float",
                 [&] { (void)stream.encode<std::uint16_t>(out); });
    test::throws("no room", StatusCode::capacity, "1", [&] { stream.encode(out, latents); });
    test::throws("floats of rgb8", StatusCode::invalid_argument, "std::uint8_t",
                 [&] { (void)stream.decode<float>(std::vector<float>(stream.latent_values())); });
    test::throws("bytes of rgb_f32", StatusCode::invalid_argument, "float",
                 [&] { (void)stream.decode(std::vector<float>(stream.latent_values()), PixelFormat::rgb_f32); });
    test::throws("floats of rgb8, as a clip", StatusCode::invalid_argument, "std::uint8_t",
                 [&] { (void)stream.decode_clip<float>(std::vector<float>(stream.latent_values()), 0); });
    test::result("no frame count was set", stream.decode_count(1) == 1);
    const Frame small(PixelFormat::rgb8, pixels, 8, 8);
    latents.resize(stream.latent_values());
    for (const std::size_t many : {std::size_t{65537}, std::size_t{1} << 40, SIZE_MAX})
        test::throws("too many frames", StatusCode::invalid_argument, "expected 1 to 65536",
                     [&] { (void)stream.encode_clip(ConstClip(out, many, 0)); });
    test::throws("a frame of another size", StatusCode::invalid_size, "8x8", [&] { stream.encode(small, latents); });
    test::result("nothing was consumed", stream.info().frames_in == 0 && stream.encode(out, latents) == 1);
    try {
        stream.encode_flush(latents);
        stream.encode(out, latents);
        test::result("a chunk after the flush", false);
    } catch (const Error &error) {
        const Error copy = error;
        stream.reset(); // clears the library's text
        test::result("a chunk after the flush", copy.status() == StatusCode::invalid_state && *copy.what() != '\0' &&
                                                    std::string(copy.what()) == error.what());
    }
    test::result("status and version", std::string(status_text(StatusCode::busy)) != "" &&
                                           std::string(version()) != "" && api_version() >= WFVAE_API_VERSION);
}

void clips()
{
    const std::vector<std::uint8_t> pixels = test::video(n, width, height);
    const Plain plain = with_c(pixels);
    const Model model = Model::built_in();
    Stream stream(model, {width, height});
    const ConstClip clip(PixelFormat::rgb8, pixels, width, height);

    test::result("encode_clip", stream.encode_clip(clip) == plain.latents);
    test::result("decode_clip", stream.decode_clip(plain.latents, n) == plain.frames);
    stream.reset();
    test::result("decode_clip without a length", stream.decode_clip(plain.latents).size() == 9 * frame);

    // Frame by frame, into the caller's memory, with BGRA bottom up.
    stream.reset();
    stream.set_frame_count(n);
    std::vector<std::uint8_t> bgra(4 * width * height), decoded(4 * frame / 3 * 4);
    std::vector<float> latents(2 * stream.encoded_values()), all;
    std::vector<std::uint8_t> frames;
    std::vector<Frame> out;
    for (std::size_t i = 0; i < 4; i++)
        out.push_back(Frame(PixelFormat::bgra8, decoded.data() + i * bgra.size(), width, height).bottom_up());
    const auto take = [&](std::size_t count) {
        for (std::size_t i = 0; i < count; i++)
            for (std::size_t y = 0; y < height; y++)
                for (std::size_t x = 0; x < width; x++) {
                    const std::uint8_t *pixel = &decoded[i * bgra.size() + ((height - 1 - y) * width + x) * 4];
                    frames.insert(frames.end(), {pixel[2], pixel[1], pixel[0]});
                }
    };
    const auto pass = [&](std::size_t count) {
        const ConstBuffer some(latents.data(), count * stream.encoded_values());
        all.insert(all.end(), latents.begin(), latents.begin() + static_cast<std::ptrdiff_t>(some.bytes() / 4));
        if (count > 0)
            take(stream.decode(some, out));
    };
    for (std::size_t i = 0; i < n; i++) {
        for (std::size_t y = 0; y < height; y++)
            for (std::size_t x = 0; x < width; x++)
                for (std::size_t c = 0; c < 4; c++)
                    bgra[((height - 1 - y) * width + x) * 4 + c] =
                        c == 3 ? 9 : pixels[i * frame + (y * width + x) * 3 + 2 - c];
        const ConstFrame in = ConstFrame(PixelFormat::bgra8, bgra, width, height).bottom_up();
        const std::size_t expected = stream.encode_count(1), count = stream.encode(in, latents);
        test::result("encode_count of frame " + std::to_string(i), count == expected);
        pass(count);
    }
    pass(stream.encode_flush(latents));
    test::result("decode_flush_count", stream.decode_flush_count() <= model.info().decode_delay);
    take(stream.decode_flush(out));
    test::result("BGRA bottom up, frame by frame", all == plain.latents && frames == plain.frames);

    // Every second frame of a larger block, backwards, as planes of float, and frames as an array.
    stream.reset();
    std::vector<float> planes(3 * 2 * n * width * height);
    for (std::size_t i = 0; i < n; i++)
        for (std::size_t c = 0; c < 3; c++)
            for (std::size_t p = 0; p < width * height; p++)
                planes[(c * 2 * n + 2 * (n - 1 - i)) * width * height + p] =
                    static_cast<float>(pixels[i * frame + 3 * p + c]) / 255;
    const std::ptrdiff_t row = 4 * width, picture = row * height;
    const float *last = planes.data() + 2 * (n - 1) * width * height;
    const std::size_t channel = 2 * n * width * height;
    const ConstFrame first = ConstFrame::of_planes(
        PixelFormat::rgbp_f32, {{last, row}, {last + channel, row}, {last + 2 * channel, row}}, width, height);
    const std::vector<float> close = stream.encode_clip(ConstClip(first, n, -2 * picture));
    float difference = 0;
    for (std::size_t i = 0; i < close.size(); i++)
        difference = std::max(difference, std::abs(close[i] - plain.latents[i]));
    test::result("[C, T, H, W] backwards", close.size() == plain.latents.size() && difference < 1e-4F);
    stream.reset();
    std::vector<ConstFrame> array;
    for (std::size_t i = 0; i < n; i++)
        array.emplace_back(PixelFormat::rgb8, ConstBuffer(pixels.data() + i * frame, frame), width, height);
    test::result("an array of frames", stream.encode_clip(ConstFrameSpan(array)) == plain.latents);
    std::vector<std::uint8_t> whole(n * frame);
    stream.set_frame_count(n);
    const std::size_t written = stream.decode(plain.latents, Clip(PixelFormat::rgb8, whole, width, height));
    if (written < n)
        stream.decode_flush(
            Clip(PixelFormat::rgb8, Buffer(whole.data() + written * frame, (n - written) * frame), width, height));
    test::result("decode into a clip", whole == plain.frames);

    // Every format has memory of exactly the size that this header computes: under ASan, one byte more would show.
    for (std::uint32_t f = WFVAE_PIXEL_FORMAT_RGB8; f <= WFVAE_PIXEL_FORMAT_P010; f++) {
        const auto format = static_cast<PixelFormat>(f);
        std::vector<std::uint8_t> back(frame), memory(frame_bytes(format, width, height));
        const Frame stored(format, memory, width, height), rgb(PixelFormat::rgb8, back, width, height);
        std::vector<std::uint8_t> grey(frame);
        for (std::size_t i = 0; i < frame; i++)
            grey[i] = static_cast<std::uint8_t>(i / 3 * 255 / (width * height));
        convert(ConstFrame(PixelFormat::rgb8, grey, width, height), stored);
        convert(stored, rgb);
        int worst = 0;
        for (std::size_t i = 0; i < frame; i++)
            worst = std::max(worst, std::abs(back[i] - grey[i]));
        test::result("format " + std::to_string(f) + ", within " + std::to_string(worst), worst <= 2);
    }
    stream.reset();
    test::result("decode to float",
                 stream.decode_clip<float>(plain.latents, n, PixelFormat::rgb_f32).size() == n * frame);
    stream.reset();
    test::result("decode to NV12", stream.decode_clip(plain.latents, n, PixelFormat::nv12).size() == n * frame / 2);
    stream.reset();
    const std::vector<std::uint16_t> deep = stream.decode_clip<std::uint16_t>(plain.latents, n, PixelFormat::rgb16);
    bool near = deep.size() == plain.frames.size();
    for (std::size_t i = 0; near && i < deep.size(); i++)
        near = std::abs(deep[i] / 257.0 - plain.frames[i]) <= 1;
    test::result("decode to 16 bits", near);
}

void options()
{
    const std::vector<std::uint8_t> pixels = test::video(n, 37, 21);
    const ConstClip clip(PixelFormat::rgb8, pixels, 37, 21);
    const Model model = Model::built_in();
    StreamOptions half{37, 21};
    half.padding = true;
    half.latent_type = LatentType::f16;
    Stream stream(model, half);
    const std::vector<std::uint16_t> latents = stream.encode_clip<std::uint16_t>(clip);
    test::result("float16, padded", latents.size() == 3 * stream.encoded_values() &&
                                        stream.decode_clip(latents, n).size() == pixels.size());
    stream.reset();
    test::throws("floats for float16", StatusCode::invalid_argument, "float16",
                 [&] { (void)stream.encode<float>(clip); });

    StreamOptions moments{width, height};
    moments.posterior = Posterior::moments;
    moments.directions = Direction::encode;
    Stream encoder(model, moments);
    test::result("moments", encoder.encoded_values() == 2 * encoder.latent_values());
    test::throws("decoding without the direction", StatusCode::invalid_state, "does not decode",
                 [&] { (void)encoder.decode(std::vector<float>(encoder.latent_values())); });
    test::throws("a seed without noise", StatusCode::invalid_argument, "not a sample", [&] { encoder.set_seed(1); });
    const MemoryEstimate estimate = model.estimate(moments);
    test::result("estimate", estimate.total_bytes > 0 && estimate.decode_tiles == 0);

    StreamOptions sample{37, 21};
    sample.padding = true;
    sample.posterior = Posterior::sample;
    Stream sampler(model, sample);
    const std::vector<float> first = sampler.encode_clip(clip);
    test::throws("a seed in the middle of a clip", StatusCode::invalid_state, "encoded already",
                 [&] { sampler.set_seed(UINT64_MAX); });
    sampler.reset();
    sampler.set_seed(UINT64_MAX);
    const std::vector<float> second = sampler.encode_clip(clip);
    sample.seed = UINT64_MAX;
    test::result("each clip has its seed", first != second && Stream(model, sample).encode_clip(clip) == second);

    StreamOptions alpha{width, height};
    alpha.alpha = true;
    Stream carrier(model, alpha);
    std::vector<std::uint8_t> rgba(5 * 4 * width * height);
    for (std::size_t i = 0; i < rgba.size(); i++)
        rgba[i] = static_cast<std::uint8_t>(i * 7 % 256);
    const std::vector<float> z = carrier.encode_clip(ConstClip(PixelFormat::rgba8, rgba, width, height));
    const std::vector<std::uint8_t> back = carrier.decode_clip(z, 5, PixelFormat::rgba8);
    bool kept = back.size() == rgba.size();
    for (std::size_t i = 3; kept && i < back.size(); i += 4)
        kept = back[i] == rgba[i];
    test::result("alpha is kept", kept);

    const Model groupnorm(test::golden + "/own-v2-groupnorm");
    Stream whole(groupnorm, {width, height});
    const std::vector<std::uint8_t> five = test::video(5, width, height);
    const std::vector<float> few = whole.encode_clip(ConstClip(PixelFormat::rgb8, five, width, height));
    test::result("a model of whole clips",
                 groupnorm.info().whole_clips == 1 && whole.decode_clip(few, 5).size() == five.size());
    groupnorm.save_onnx(test::folder);
    test::result("save_onnx", std::ifstream(test::folder + "/encoder.clip.onnx").good());
}

void snapshots()
{
    const std::vector<std::uint8_t> pixels = test::video(n, width, height);
    const std::string path = test::golden + "/v1-tiny-8x";
    const Model model(path);
    Stream stream(model, {width, height});
    std::vector<float> first =
        stream.encode(ConstClip(PixelFormat::rgb8, ConstBuffer(pixels.data(), 3 * frame), width, height));
    const Snapshot snapshot = stream.snapshot();
    Stream fork = stream.fork();
    const ConstClip rest(PixelFormat::rgb8, ConstBuffer(pixels.data() + 3 * frame, 4 * frame), width, height);
    const std::vector<float> a = stream.encode_clip(rest), b = fork.encode_clip(rest);
    const std::vector<std::uint8_t> bytes = snapshot.bytes();
    stream.restore(snapshot);
    const std::vector<float> c = stream.encode_clip(rest);
    Stream other(model, {width, height});
    other.restore(Snapshot(bytes));
    const std::vector<float> d = other.encode_clip(rest);
    test::result("snapshot, fork, restore, and from bytes", !a.empty() && a == b && a == c && a == d);
    test::result("size of a snapshot", bytes.size() == snapshot.size());
    std::vector<std::uint8_t> damaged = bytes;
    damaged[damaged.size() / 2] ^= 1;
    test::throws("a damaged snapshot", StatusCode::invalid_argument, "", [&] { (void)Snapshot(damaged); });
    test::throws("no snapshot", StatusCode::invalid_argument, "", [] { (void)Snapshot(ConstBuffer()); });
    damaged.resize(bytes.size() - 1);
    test::throws("memory too small for a snapshot", StatusCode::capacity, "", [&] { snapshot.write(damaged); });
    Stream larger(model, {2 * width, height});
    test::throws("a snapshot of another size", StatusCode::invalid_size, "", [&] { larger.restore(snapshot); });
}

void latent_files()
{
    const std::string path = test::folder + "/clip.safetensors";
    const std::vector<std::uint8_t> pixels = test::video(n, width, height);
    const Model model = Model::built_in();
    StreamOptions options{width, height};
    options.posterior = Posterior::moments;
    Stream stream(model, options);
    const std::vector<float> moments = stream.encode_clip(ConstClip(PixelFormat::rgb8, pixels, width, height));
    LatentWriter writer(stream, path, {30000, 1001, "a note"});
    test::throws("a part of a latent to write", StatusCode::invalid_argument, "not a whole number",
                 [&] { writer.write(ConstBuffer(moments.data(), 5)); });
    writer.write(ConstBuffer(moments.data(), stream.encoded_values()));
    LatentWriter moved = std::move(writer);
    moved.write(ConstBuffer(moments.data() + stream.encoded_values(), moments.size() - stream.encoded_values()));
    test::throws("a wrong number of frames", StatusCode::invalid_state, "100 frames", [&] { moved.finish(100); });
    test::result("the writer keeps the text", !moved.last_error().empty());
    moved.finish(stream.info().frames_in);

    LatentFileInfo info;
    std::vector<float> means, read;
    {
        const LatentReader reader(path);
        info = reader.info();
        reader.check_model(model);
        reader.check_stream(Stream(model, info.decoding()));
        means = reader.read();
        read = reader.read_moments();
        test::result(
            "a part of a file",
            reader.read(1, 2) ==
                std::vector<float>(means.begin() + static_cast<std::ptrdiff_t>(means.size() / 3), means.end()));
        std::vector<std::uint16_t> halves(means.size());
        reader.read(0, halves);
        test::result("read as float16", halves == reader.read<std::uint16_t>());
        test::throws("beyond the end", StatusCode::invalid_argument, "2 latents from latent 2 on, of a file with 3",
                     [&] { (void)reader.read(2, 2); });
        test::throws("far beyond the end", StatusCode::invalid_argument, "from latent 18446744073709551615 on",
                     [&] { (void)reader.read(UINT64_MAX, 5); });
        test::throws("nothing", StatusCode::invalid_argument, "all latents from latent 3 on",
                     [&] { (void)reader.read(3); });
        std::vector<std::uint8_t> bytes(means.size() * 4);
        test::throws("bytes to read to", StatusCode::invalid_argument, "float16", [&] { reader.read(0, bytes); });
        test::throws("memory for a part", StatusCode::invalid_argument, "not a whole number",
                     [&] { reader.read(0, Buffer(means.data(), 5)); });
        test::throws("another model", StatusCode::latent_file, "",
                     [&] { reader.check_model(Model(test::golden + "/v1-tiny")); });
    }
    test::result("moments", read == moments && means.size() == moments.size() / 2);
    test::result("info outlives the reader", info.n_latents == 3 && info.n_frames == n && info.note == "a note" &&
                                                 info.fps_num == 30000 && info.posterior == Posterior::moments &&
                                                 !info.generator.empty() &&
                                                 info.encoder_identity == model.info().encoder_identity);
    test::throws("a file that does not exist", StatusCode::io, "none", [] { LatentReader(test::folder + "/none"); });
    const std::string gone = test::folder + "/unfinished.safetensors";
    LatentWriter(stream, gone).write(moments);
    test::result("nothing remains of an unfinished file", !std::ifstream(gone).good());
    test::throws("a note with a zero", StatusCode::invalid_argument, "note", [&] {
        LatentWriter(stream, gone, {0, 0, {"a\0b", 3}});
    });
}

} // namespace

void test::streams()
{
    run("objects", objects);
    run("errors", errors);
    run("clips", clips);
    run("options", options);
    run("snapshots", snapshots);
    run("latent files", latent_files);
}
