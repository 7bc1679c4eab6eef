// SPDX-License-Identifier: MIT OR Apache-2.0
// Buffers, frames and clips, and what the types promise at compile time. No model is opened.
#include "check.hpp"

#include <array>
#include <utility>
#if __cplusplus >= 202002L
#include <span>
#endif

using namespace wfvae;

namespace {

struct Bgra {
    std::uint8_t b, g, r, a;
};

template <class T>
constexpr bool moves_only = std::is_nothrow_move_constructible_v<T> &&std::is_nothrow_move_assignable_v<T>
                                &&std::is_nothrow_default_constructible_v<T> && !std::is_copy_constructible_v<T> &&
                            !std::is_copy_assignable_v<T>;

static_assert(moves_only<Model> && moves_only<Stream> && moves_only<Snapshot> && moves_only<LatentWriter> &&
              moves_only<LatentReader>);
static_assert(std::is_nothrow_move_constructible_v<CancelToken> && std::is_copy_constructible_v<CancelToken>);
static_assert(std::is_base_of_v<std::runtime_error, Error> && std::is_nothrow_copy_constructible_v<Error>);
// A handle must not become a number by accident, nor a path or bytes a handle.
static_assert(!std::is_convertible_v<Model, int> && !std::is_convertible_v<std::string, Model> &&
              !std::is_convertible_v<std::vector<std::uint8_t>, Snapshot>);
static_assert(!std::is_constructible_v<Model, std::nullptr_t>);

// What converts to a buffer, and what must not.
static_assert(std::is_convertible_v<std::vector<float> &, Buffer> && std::is_convertible_v<float (&)[4], Buffer>);
static_assert(std::is_convertible_v<std::array<std::uint16_t, 4> &, Buffer> &&
              std::is_convertible_v<std::vector<Bgra> &, Buffer>);
static_assert(std::is_convertible_v<const std::vector<float> &, ConstBuffer> &&
              !std::is_convertible_v<const std::vector<float> &, Buffer>);
static_assert(std::is_convertible_v<Buffer, ConstBuffer> && !std::is_convertible_v<ConstBuffer, Buffer>);
static_assert(!std::is_convertible_v<std::vector<std::string> &, ConstBuffer> &&
              !std::is_convertible_v<std::vector<float *> &, ConstBuffer> &&
              !std::is_convertible_v<std::vector<bool> &, ConstBuffer> &&
              !std::is_convertible_v<std::vector<double> &, ConstBuffer> &&
              !std::is_convertible_v<std::vector<Frame> &, ConstBuffer> && !std::is_convertible_v<int, ConstBuffer>);
// What is written to a temporary would be lost. Pointers are those of memory, not of objects.
static_assert(!std::is_convertible_v<std::vector<float>, Buffer> &&
              std::is_convertible_v<std::vector<float>, ConstBuffer>);
static_assert(std::is_constructible_v<ConstBuffer, const void *, std::size_t> &&
              std::is_constructible_v<Buffer, float *, std::size_t> &&
              !std::is_constructible_v<Buffer, const void *, std::size_t> &&
              !std::is_constructible_v<ConstBuffer, std::string *, std::size_t> &&
              !std::is_constructible_v<ConstBuffer, float **, std::size_t> &&
              !std::is_constructible_v<ConstFrame, PixelFormat, std::vector<float> *, std::uint32_t, std::uint32_t>);

// Frames to read from cannot be written to.
static_assert(std::is_convertible_v<Frame, ConstFrame> && !std::is_convertible_v<ConstFrame, Frame>);
static_assert(std::is_convertible_v<Clip, ConstClip> && !std::is_convertible_v<ConstClip, Clip>);
static_assert(std::is_convertible_v<std::vector<Frame> &, FrameSpan> &&
              std::is_convertible_v<const std::vector<Frame> &, ConstFrameSpan> &&
              std::is_convertible_v<std::vector<ConstFrame> &, ConstFrameSpan> &&
              !std::is_convertible_v<std::vector<ConstFrame> &, FrameSpan> &&
              std::is_convertible_v<std::array<Frame, 3> &, FrameSpan> && std::is_convertible_v<Frame &, FrameSpan> &&
              !std::is_convertible_v<Clip &, FrameSpan> && !std::is_convertible_v<std::vector<int> &, FrameSpan>);
static_assert(!std::is_constructible_v<Frame, PixelFormat, const void *, std::uint32_t, std::uint32_t>);
#if __cplusplus >= 202002L
static_assert(std::is_convertible_v<std::span<float>, Buffer> &&
              std::is_convertible_v<std::span<const float>, ConstBuffer> &&
              !std::is_convertible_v<std::span<const float>, Buffer> &&
              std::is_convertible_v<std::span<std::byte, 4>, Buffer> &&
              std::is_convertible_v<std::span<Frame>, FrameSpan>);
#endif

void buffers()
{
    std::vector<float> values(6);
    const std::array<std::uint16_t, 3> halves{};
    Bgra pixels[2] = {};
    const Buffer buffer = values;
    const ConstBuffer from_array = halves, from_pixels = pixels, empty;
    test::result("buffer of a vector", buffer.address() == values.data() && buffer.bytes() == 24);
    test::result("buffer of an array", from_array.address() == halves.data() && from_array.bytes() == 6);
    test::result("buffer of structs", from_pixels.address() == pixels && from_pixels.bytes() == 8);
    test::result("no buffer", !empty.address() && !empty.bytes());
    test::result("buffer of elements", Buffer(values.data() + 2, 3).bytes() == 12);
    test::result("buffer of bytes", Buffer(static_cast<void *>(values.data()), 3).bytes() == 3);
}

void frames()
{
    std::vector<std::uint8_t> pixels(4 * 5 * 3 + 8);
    std::uint8_t *const p = pixels.data();
    const Frame bgra(PixelFormat::bgra8, pixels, 5, 3);
    test::result("packed", bgra.c().planes[0] == p && bgra.c().strides[0] == 20 && bgra.c().width == 5 &&
                               bgra.c().height == 3 && bgra.c().format == WFVAE_PIXEL_FORMAT_BGRA8 &&
                               bgra.c().struct_size == sizeof(wfvae_frame) && !bgra.c().planes[1]);
    const Frame flipped = bgra.bottom_up();
    test::result("bottom up", flipped.c().planes[0] == p + 40 && flipped.c().strides[0] == -20);
    test::result("twice bottom up", !std::memcmp(&flipped.bottom_up().c(), &bgra.c(), sizeof(wfvae_frame)));
    const Frame negative(PixelFormat::bgra8, static_cast<void *>(p + 48), 5, 3, -24);
    test::result("a negative stride", negative.c().planes[0] == p + 48 && negative.c().strides[0] == -24);
    test::result("a stride", Frame(PixelFormat::bgra8, pixels, 5, 3, 24).c().strides[0] == 24);
    test::throws("a stride beyond the memory", StatusCode::invalid_argument,
                 "memory of 68 bytes for a frame of 5x3, which takes 70",
                 [&] { Frame(PixelFormat::bgra8, pixels, 5, 3, 25); });
    test::throws("one byte too few", StatusCode::invalid_argument,
                 "memory of 67 bytes for a frame of 5x3, which takes 68",
                 [&] { Frame(PixelFormat::bgra8, Buffer(p, 67), 5, 3, 24); });
    test::throws("a small stride", StatusCode::invalid_argument, "a stride of 19 bytes: a row of 5 pixels takes 20",
                 [&] { Frame(PixelFormat::bgra8, pixels, 5, 3, 19); });
    test::throws("a small negative stride", StatusCode::invalid_argument, "a stride of -19 bytes",
                 [&] { Frame(PixelFormat::bgra8, static_cast<void *>(p), 5, 3, -19); });
    for (const std::ptrdiff_t stride : {PTRDIFF_MAX, PTRDIFF_MIN, PTRDIFF_MAX / 2})
        test::throws("a stride beyond all memory", StatusCode::invalid_argument, "a stride of",
                     [&] { Frame(PixelFormat::bgra8, static_cast<void *>(p), 5, 3, stride); });
    test::throws("a negative stride without a pointer", StatusCode::invalid_argument, "needs a pointer",
                 [&] { Frame(PixelFormat::bgra8, pixels, 5, 3, -20); });
    test::throws("memory too small", StatusCode::invalid_argument,
                 "memory of 68 bytes for a frame of 5x4, which takes 80",
                 [&] { ConstFrame(PixelFormat::bgra8, pixels, 5, 4); });
    test::throws("no memory", StatusCode::invalid_argument, "null pointer",
                 [&] { Frame(PixelFormat::bgra8, static_cast<void *>(nullptr), 5, 3); });
    std::uint8_t array[2][30] = {};
    test::result("an array", ConstFrame(PixelFormat::bgr8, array[0], 5, 2).c().planes[0] == array[0]);
    test::throws("an array too small", StatusCode::invalid_argument, "memory of 30 bytes for a frame of 5x3",
                 [&] { Frame(PixelFormat::bgr8, array[1], 5, 3); });
    std::vector<float> floats(60);
    std::vector<std::uint16_t> shorts(60);
    std::vector<Bgra> structs(15);
    test::throws("floats for bytes", StatusCode::invalid_argument, "the elements of pixel format 1 are std::uint8_t",
                 [&] { Frame(PixelFormat::rgb8, floats, 5, 3); });
    test::throws("a pointer to floats for bytes", StatusCode::invalid_argument, "are std::uint8_t",
                 [&] { Frame(PixelFormat::rgb8, floats.data(), 5, 3); });
    test::throws("a clip of floats for bytes", StatusCode::invalid_argument, "are std::uint8_t",
                 [&] { ConstClip(PixelFormat::rgb8, floats, 5, 4); });
    test::throws("16 bits for bytes", StatusCode::invalid_argument, "are std::uint8_t",
                 [&] { Frame(PixelFormat::nv12, shorts, 5, 3); });
    test::throws("16 bits for floats", StatusCode::invalid_argument, "are float",
                 [&] { Frame(PixelFormat::rgb_f32, shorts, 2, 2); });
    test::throws("floats for 16 bits", StatusCode::invalid_argument, "are std::uint16_t",
                 [&] { Frame(PixelFormat::p010, floats, 5, 3); });
    test::result("elements that fit", Frame(PixelFormat::rgb_f32, floats, 5, 3).width() == 5 &&
                                          Frame(PixelFormat::rgb_f16, shorts, 5, 3).width() == 5 &&
                                          Frame(PixelFormat::bgra8, structs, 5, 3).width() == 5);
    for (const std::ptrdiff_t stride : {PTRDIFF_MAX, PTRDIFF_MIN})
        test::throws("turning a stride beyond all memory", StatusCode::invalid_argument, "beyond any memory", [&] {
            (void)Frame::of_planes(PixelFormat::rgb8, {{p, stride}}, 5, 3).bottom_up();
        });
    test::throws("no width", StatusCode::invalid_size, "0x3", [&] { Frame(PixelFormat::bgra8, pixels, 0, 3); });
    test::throws("a width that overflows", StatusCode::invalid_size, "4294967295x4294967295",
                 [&] { Frame(PixelFormat::bgra8, pixels, 4294967295U, 4294967295U); });
    test::throws("no format", StatusCode::invalid_argument, "no pixel format 77",
                 [&] { Frame(static_cast<PixelFormat>(77), pixels, 5, 3); });

    const Frame i420(PixelFormat::yuv420p8, pixels, 5, 3);
    test::result("I420", i420.c().planes[1] == p + 15 && i420.c().planes[2] == p + 21 && i420.c().strides[1] == 3 &&
                             frame_bytes(PixelFormat::yuv420p8, 5, 3) == 27);
    const Frame padded(PixelFormat::yuv420p8, pixels, 5, 3, 8);
    test::result("I420 with a stride",
                 padded.c().planes[1] == p + 24 && padded.c().planes[2] == p + 32 && padded.c().strides[2] == 4);
    test::throws("I420 with half a stride too small", StatusCode::invalid_argument, "use of_planes()",
                 [&] { Frame(PixelFormat::yuv420p8, pixels, 5, 3, 5); });
    const Frame nv12 =
        Frame(PixelFormat::nv12, pixels, 5, 3, 8).with_colour(Matrix::bt709, YuvRange::full, Siting::centre);
    test::result("NV12", nv12.c().planes[1] == p + 24 && nv12.c().strides[1] == 8 && !nv12.c().planes[2] &&
                             nv12.c().matrix == WFVAE_MATRIX_BT709 && nv12.c().yuv_range == WFVAE_YUV_RANGE_FULL &&
                             nv12.c().siting == WFVAE_SITING_CENTRE);
    const Frame flipped_nv12 = nv12.bottom_up();
    test::result("NV12 bottom up", flipped_nv12.c().planes[0] == p + 16 && flipped_nv12.c().planes[1] == p + 32 &&
                                       flipped_nv12.c().strides[1] == -8);
    test::result("bytes of P010", frame_bytes(PixelFormat::p010, 5, 3) == 54);
    test::result("bytes of 4:1:1", frame_bytes(PixelFormat::yuv411p8, 5, 3) == 27);
    test::result("bytes of float", frame_bytes(PixelFormat::rgbp_f32, 5, 3) == 180);

    const Frame abgr =
        Frame::of_planes(PixelFormat::rgbp8, {{p + 3, 20, 4}, {p + 2, 20, 4}, {p + 1, 20, 4}, {p, 20, 4}}, 5, 3);
    test::result("planes with steps",
                 abgr.c().planes[3] == p && abgr.c().pixel_steps[2] == 4 && abgr.c().strides[3] == 20);
    test::throws("planes that lack", StatusCode::invalid_argument, "2 planes for a format of 3", [&] {
        (void)Frame::of_planes(PixelFormat::rgbp8, {{p, 5}, {p, 5}}, 5, 3);
    });
    test::throws("planes too many", StatusCode::invalid_argument, "2 planes for a format of 1", [&] {
        (void)Frame::of_planes(PixelFormat::rgb8, {{p, 15}, {p, 15}}, 5, 3);
    });
    const Frame deep = Frame(PixelFormat::gray16, pixels, 5, 3).with_bit_depth(10);
    const Frame wide = Frame(PixelFormat::rgb_f32, static_cast<void *>(p), 1, 1).with_range(Range::signed_unit);
    test::result("depth and range", deep.c().bit_depth == 10 && wide.c().range == WFVAE_RANGE_SIGNED);
    const ConstFrame seen = abgr;
    test::result("a frame to read",
                 seen.c().planes[0] == p + 3 && seen.width() == 5 && seen.format() == PixelFormat::rgbp8);
}

void clips()
{
    const std::vector<std::uint8_t> pixels(3 * 45);
    const ConstClip clip(PixelFormat::rgb8, pixels, 5, 3);
    test::result("clip of a vector",
                 clip.n_frames() == 3 && clip.c().frame_strides[0] == 45 && clip.c().first->planes[0] == pixels.data());
    test::throws("clip of a part of a frame", StatusCode::invalid_argument,
                 "135 bytes is not a whole number of frames of 5x4",
                 [&] { ConstClip(PixelFormat::rgb8, pixels, 5, 4); });
    test::throws("clip of nothing", StatusCode::invalid_argument, "memory of 0 bytes",
                 [&] { ConstClip(PixelFormat::rgb8, ConstBuffer(), 5, 3); });
    const ConstClip backwards(ConstFrame(PixelFormat::rgb8, pixels.data() + 90, 5, 3), 3, -45);
    const ConstClip copy = backwards; // a copy's struct points to its own frame
    test::result("clip backwards", copy.c().frame_strides[3] == -45 && copy.c().first == &copy.first().c());
}

} // namespace

void test::views()
{
    run("buffers", buffers);
    run("frames", frames);
    run("clips", clips);
}
