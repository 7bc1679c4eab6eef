/* libwfvae for C++17: RAII over wfvae.h, in this header alone. Link the library as from C.
 *
 * A Model holds the weights, a Stream encodes and decodes one clip at a time. A clip, to latents and back:
 *
 *     #include <wfvae.hpp>
 *     #include <cstdio>
 *
 *     std::vector<std::uint8_t> reconstruct(const std::vector<std::uint8_t> &video,    // RGB, [T, height, width, 3]
 *                                           std::uint32_t width, std::uint32_t height)
 *     try {
 *         const wfvae::Model model = wfvae::Model::built_in();
 *         wfvae::Stream stream(model, {width, height});
 *         const wfvae::ConstClip clip(wfvae::PixelFormat::rgb8, video, width, height);
 *         const std::vector<float> latents = stream.encode_clip(clip);
 *         return stream.decode_clip(latents, clip.n_frames());
 *     } catch (const wfvae::Error &error) {
 *         std::fprintf(stderr, "%s\n", error.what());
 *         return {};
 *     }
 *
 * wfvae.h is the reference for everything that is the same here: what the calls do, their ranges and statuses, the
 * order of latents, fork(), files and network. This is what C++ adds:
 *
 * Errors. A call that fails throws Error, which has the status and the library's text. Memory that this header itself
 * cannot allocate is std::bad_alloc. Destructors and moves never throw. The header needs exceptions, but no RTTI.
 *
 * Ownership. Model, Stream, Snapshot, LatentWriter and LatentReader own what they opened; they can be moved but not
 * copied. An object that was default-constructed or moved from is empty: it converts to false, may be assigned to and
 * destroyed, and every other use throws Error. They may be destroyed in any order.
 *
 * Memory. Frames, clips and buffers are views: they own no pixels and no latents. Calls that take a Buffer or a Frame
 * for their result write there and allocate nothing in this header. Calls that return std::vector allocate it.
 *
 * Threads. As in C: a Model, a Snapshot and a LatentReader may be used by several threads at once. A Stream and a
 * LatentWriter serve one thread at a time; a second call meanwhile throws Error with StatusCode::busy. Only cancel(),
 * progress() and cancel_token() may be called while another thread is in a call. As with all C++ objects, no thread may
 * use one while another moves it, assigns to it or destroys it; a CancelToken may be used even then.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef WFVAE_HPP
#define WFVAE_HPP

/* Microsoft's compiler tells its standard in _MSVC_LANG only, unless /Zc:__cplusplus is given. */
#if __cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L)
#error "wfvae.hpp needs C++17: compile with -std=c++17 (/std:c++17) or newer"
#endif

#include <wfvae.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace wfvae {

// ---- enumerations; wfvae.h describes the values ----

/// wfvae_status: why a call failed. A newer library may give values that are not listed here. It is not named Status,
/// which is a macro of Xlib.
enum class StatusCode : std::int32_t {
    ok = WFVAE_STATUS_OK,
    invalid_argument = WFVAE_STATUS_INVALID_ARGUMENT,
    invalid_size = WFVAE_STATUS_INVALID_SIZE,
    capacity = WFVAE_STATUS_CAPACITY,
    invalid_state = WFVAE_STATUS_INVALID_STATE,
    busy = WFVAE_STATUS_BUSY,
    needs_reset = WFVAE_STATUS_NEEDS_RESET,
    forked = WFVAE_STATUS_FORKED,
    io = WFVAE_STATUS_IO,
    config = WFVAE_STATUS_CONFIG,
    checkpoint = WFVAE_STATUS_CHECKPOINT,
    unsupported_model = WFVAE_STATUS_UNSUPPORTED_MODEL,
    latent_file = WFVAE_STATUS_LATENT_FILE,
    runtime_missing = WFVAE_STATUS_RUNTIME_MISSING,
    runtime_too_old = WFVAE_STATUS_RUNTIME_TOO_OLD,
    provider = WFVAE_STATUS_PROVIDER,
    runtime = WFVAE_STATUS_RUNTIME,
    not_finite = WFVAE_STATUS_NOT_FINITE,
    cancelled = WFVAE_STATUS_CANCELLED,
    out_of_memory = WFVAE_STATUS_OUT_OF_MEMORY,
    internal = WFVAE_STATUS_INTERNAL,
};

/// wfvae_pixel_format: how the pixels of a frame are stored.
enum class PixelFormat : std::uint32_t {
    rgb8 = WFVAE_PIXEL_FORMAT_RGB8,
    rgba8 = WFVAE_PIXEL_FORMAT_RGBA8,
    rgbp8 = WFVAE_PIXEL_FORMAT_RGBP8,
    gbrp8 = WFVAE_PIXEL_FORMAT_GBRP8,
    rgbp16 = WFVAE_PIXEL_FORMAT_RGBP16,
    gbrp16 = WFVAE_PIXEL_FORMAT_GBRP16,
    rgbp_f32 = WFVAE_PIXEL_FORMAT_RGBP_F32,
    gbrp_f32 = WFVAE_PIXEL_FORMAT_GBRP_F32,
    bgr8 = WFVAE_PIXEL_FORMAT_BGR8,
    bgra8 = WFVAE_PIXEL_FORMAT_BGRA8,
    rgb16 = WFVAE_PIXEL_FORMAT_RGB16,
    rgba16 = WFVAE_PIXEL_FORMAT_RGBA16,
    rgb_f16 = WFVAE_PIXEL_FORMAT_RGB_F16,
    rgba_f16 = WFVAE_PIXEL_FORMAT_RGBA_F16,
    rgb_f32 = WFVAE_PIXEL_FORMAT_RGB_F32,
    rgba_f32 = WFVAE_PIXEL_FORMAT_RGBA_F32,
    rgbp_f16 = WFVAE_PIXEL_FORMAT_RGBP_F16,
    rgbp_bf16 = WFVAE_PIXEL_FORMAT_RGBP_BF16,
    gray8 = WFVAE_PIXEL_FORMAT_GRAY8,
    gray16 = WFVAE_PIXEL_FORMAT_GRAY16,
    yuv420p8 = WFVAE_PIXEL_FORMAT_YUV420P8,
    yuv420p16 = WFVAE_PIXEL_FORMAT_YUV420P16,
    yuv422p8 = WFVAE_PIXEL_FORMAT_YUV422P8,
    yuv422p16 = WFVAE_PIXEL_FORMAT_YUV422P16,
    yuv444p8 = WFVAE_PIXEL_FORMAT_YUV444P8,
    yuv444p16 = WFVAE_PIXEL_FORMAT_YUV444P16,
    yuv411p8 = WFVAE_PIXEL_FORMAT_YUV411P8,
    nv12 = WFVAE_PIXEL_FORMAT_NV12,
    p010 = WFVAE_PIXEL_FORMAT_P010,
};

/// wfvae_range: the range of float frames.
enum class Range : std::uint32_t {
    unit = WFVAE_RANGE_UNIT,
    signed_unit = WFVAE_RANGE_SIGNED,
};

/// wfvae_matrix: the matrix of YUV and grey frames.
enum class Matrix : std::uint32_t {
    automatic = WFVAE_MATRIX_AUTO,
    bt601 = WFVAE_MATRIX_BT601,
    bt709 = WFVAE_MATRIX_BT709,
    bt2020 = WFVAE_MATRIX_BT2020,
};

/// wfvae_yuv_range: the range of YUV and grey frames.
enum class YuvRange : std::uint32_t {
    limited = WFVAE_YUV_RANGE_LIMITED,
    full = WFVAE_YUV_RANGE_FULL,
};

/// wfvae_siting: where the chroma samples of YUV frames are.
enum class Siting : std::uint32_t {
    left = WFVAE_SITING_LEFT,
    centre = WFVAE_SITING_CENTRE,
    top_left = WFVAE_SITING_TOP_LEFT,
};

/// wfvae_memory_kind: where frames or latents are.
enum class MemoryKind : std::uint32_t {
    cpu = WFVAE_MEMORY_KIND_CPU,
    cuda = WFVAE_MEMORY_KIND_CUDA,
};

/// wfvae_direction: what a stream can do. Combine directions with |.
enum class Direction : std::uint32_t {
    all = 0,
    encode = WFVAE_DIRECTION_ENCODE,
    decode = WFVAE_DIRECTION_DECODE,
};

[[nodiscard]] constexpr Direction operator|(Direction a, Direction b) noexcept
{
    return static_cast<Direction>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}

/// wfvae_provider: where the network runs.
enum class Provider : std::uint32_t {
    automatic = WFVAE_PROVIDER_AUTO,
    cpu = WFVAE_PROVIDER_CPU,
    cuda = WFVAE_PROVIDER_CUDA,
};

/// wfvae_log_level: how severe a message is.
enum class LogLevel : std::uint32_t {
    standard = WFVAE_LOG_LEVEL_DEFAULT,
    error = WFVAE_LOG_LEVEL_ERROR,
    warn = WFVAE_LOG_LEVEL_WARN,
    info = WFVAE_LOG_LEVEL_INFO,
    debug = WFVAE_LOG_LEVEL_DEBUG,
    trace = WFVAE_LOG_LEVEL_TRACE,
};

/// wfvae_latent_type: how the values of latents are stored.
enum class LatentType : std::uint32_t {
    f32 = WFVAE_LATENT_TYPE_F32,
    f16 = WFVAE_LATENT_TYPE_F16,
};

/// wfvae_posterior: which latent the encoder writes.
enum class Posterior : std::uint32_t {
    mean = WFVAE_POSTERIOR_MEAN,
    sample = WFVAE_POSTERIOR_SAMPLE,
    moments = WFVAE_POSTERIOR_MOMENTS,
};

/// wfvae_cache_type: how streams store their causal caches.
enum class CacheType : std::uint32_t {
    f32 = WFVAE_CACHE_TYPE_F32,
    f16 = WFVAE_CACHE_TYPE_F16,
};

/// wfvae_convolution: how 3x3 convolutions are computed.
enum class Convolution : std::uint32_t {
    exact = WFVAE_CONVOLUTION_EXACT,
    fast = WFVAE_CONVOLUTION_FAST,
    direct = WFVAE_CONVOLUTION_DIRECT,
    stacked = WFVAE_CONVOLUTION_STACKED,
    volume = WFVAE_CONVOLUTION_VOLUME,
};

/// wfvae_layout: the memory layout of frames between the layers.
enum class Layout : std::uint32_t {
    automatic = WFVAE_LAYOUT_AUTO,
    planes = WFVAE_LAYOUT_PLANES,
    channels_last = WFVAE_LAYOUT_CHANNELS_LAST,
};

/// wfvae_precision: the type in which one direction of the network computes.
enum class Precision : std::uint32_t {
    f32 = WFVAE_PRECISION_F32,
    tf32 = WFVAE_PRECISION_TF32,
    f16 = WFVAE_PRECISION_F16,
    bf16 = WFVAE_PRECISION_BF16,
};

/// wfvae_tiling: whether frames are processed in tiles.
enum class Tiling : std::uint32_t {
    off = WFVAE_TILING_OFF,
    exact = WFVAE_TILING_EXACT,
    blended = WFVAE_TILING_BLENDED,
};

/// wfvae_graphs: which graphs Model::save_onnx() writes.
enum class Graphs : std::uint32_t {
    steps = WFVAE_GRAPHS_STEPS,
    clip = WFVAE_GRAPHS_CLIP,
};

// ---- results that are the same as in C ----

/// What a model is and what it runs on. Its strings stay valid until the process ends.
using ModelInfo = wfvae_model_info;

/// Sizes and counters of a stream.
using StreamInfo = wfvae_info;

/// The memory that a stream takes, in bytes, and how it is tiled.
using MemoryEstimate = wfvae_memory;

/// How far a stream's running call is: steps_done of steps_total; 0 of 0 if no call is running.
using Progress = wfvae_progress;

// ---- errors ----

/// What a failed call throws. what() is the library's text: what is wrong, and what to do about it. It is a copy, so it
/// stays valid whatever is called afterwards.
class Error : public std::runtime_error {
public:
    Error(StatusCode status, const std::string &text) : std::runtime_error(text), status_(status) {}

    [[nodiscard]] StatusCode status() const noexcept { return status_; }

private:
    StatusCode status_;
};

/// A short English text for a status. Any value is allowed. A static string.
[[nodiscard]] inline const char *status_text(StatusCode status) noexcept
{
    return wfvae_status_str(static_cast<std::int32_t>(status));
}

/// The release of the loaded library, such as "0.1.0". A static string.
[[nodiscard]] inline const char *version() noexcept
{
    return wfvae_version();
}

/// The WFVAE_API_VERSION of the loaded library.
[[nodiscard]] inline std::uint32_t api_version() noexcept
{
    return wfvae_api_version();
}

namespace detail {

[[noreturn]] inline void fail(StatusCode status, const std::string &text)
{
    throw Error(status, text);
}

/// Throws the error of a call of this thread. No other call of the library may lie between.
inline void expect_ok(wfvae_status status)
{
    if (status != WFVAE_STATUS_OK) {
        const char *text = wfvae_last_error(nullptr);
        fail(static_cast<StatusCode>(status), *text ? text : wfvae_status_str(status));
    }
}

/// A handle that must not be empty.
template <class Pointer>
auto *used(const Pointer &pointer, const char *what)
{
    if (!pointer)
        fail(StatusCode::invalid_state, std::string(what) + " is empty: it was never opened, or it was moved from");
    return &*pointer;
}

/// The text for C, in which a zero would be the end.
inline const char *c_text(const std::string &text, const char *what)
{
    if (text.find('\0') != std::string::npos)
        fail(StatusCode::invalid_argument, std::string(what) + " contains a zero character");
    return text.c_str();
}

inline const char *c_text_or_null(const std::string &text, const char *what)
{
    return text.empty() ? nullptr : c_text(text, what);
}

/// The most frames or latents that C takes in one call.
inline constexpr std::size_t most_per_call = 65536;

template <class Enum>
constexpr std::uint32_t value(Enum e) noexcept
{
    return static_cast<std::uint32_t>(e);
}

template <class Struct>
Struct sized() noexcept
{
    Struct s{};
    s.struct_size = sizeof(Struct);
    return s;
}

/// What the elements of memory are, as far as latents and frames need to know.
enum class Element { byte, two_bytes, float32, other };

/// T: void for memory of unknown elements.
template <class T>
constexpr Element element_of() noexcept
{
    if constexpr (std::is_void_v<T>)
        return Element::byte;
    else
        return sizeof(T) == 1             ? Element::byte
               : std::is_same_v<T, float> ? Element::float32
               : sizeof(T) == 2           ? Element::two_bytes
                                          : Element::other;
}

template <class T, class = void>
struct ElementsOf {
    using type = void;
};

/// The type of a container's elements, const if they are: std::vector, std::array, std::span, a C array and whatever
/// else std::data() and std::size() know.
template <class C>
struct ElementsOf<C, std::void_t<decltype(std::data(std::declval<C &>())), decltype(std::size(std::declval<C &>()))>> {
    using type = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>;
};

/// Those of a temporary are const if it owns them: what is written to them would be lost.
template <class C>
using elements_of =
    typename ElementsOf<std::conditional_t<std::is_lvalue_reference_v<C>, std::remove_reference_t<C>, const C>>::type;

} // namespace detail

// ---- memory of the caller ----

template <bool Const>
class BasicFrame;

namespace detail {

template <class T>
struct IsFrame : std::is_same<T, wfvae_frame> {};

template <bool Const>
struct IsFrame<BasicFrame<Const>> : std::true_type {};

/// Elements that memory may consist of: plain values, which are neither pointers nor frames. Nor double, which neither
/// pixels nor latents are.
template <class T>
inline constexpr bool is_plain =
    std::conjunction_v<std::negation<std::is_void<T>>, std::is_trivially_copyable<T>, std::negation<std::is_pointer<T>>,
                       std::negation<std::is_same<std::remove_cv_t<T>, double>>,
                       std::negation<IsFrame<std::remove_cv_t<T>>>>;

template <class T, bool Const>
inline constexpr bool fits_buffer = is_plain<T> && (Const || !std::is_const_v<T>);

/// What a pointer to memory may point to.
template <class T, bool Const>
inline constexpr bool fits_pointer = fits_buffer<T, Const> || std::is_same_v<T, void> ||
                                     (Const && std::is_same_v<T, const void>);

/// The element of latents that are returned in vectors.
template <class T>
constexpr Element latent_element() noexcept
{
    static_assert(is_plain<T> && (sizeof(T) == 2 || std::is_same_v<T, float>),
                  "latents are float, or a type of 2 bytes that holds IEEE halves");
    return element_of<T>();
}

} // namespace detail

/// A view of memory with pixels, latents or bytes: Buffer if it is written to, ConstBuffer if it is read only.
///
/// Converts from std::vector, std::array, C arrays, std::span and the like, of plain values of any type but double. Can
/// also be made of a pointer and the number of elements, or of a void pointer and the number of bytes.
///
/// Latents are float, or with LatentType::f16 any type of 2 bytes that holds IEEE halves, such as std::uint16_t. Pixels
/// are the elements of their format, or whole pixels of at least 4 bytes, such as structs. Bytes are accepted for all.
///
/// Ownership: none; the memory must stay valid as long as the view. A view of a temporary is for arguments only.
/// Thread-safety: as for a pointer.
template <bool Const>
class BasicBuffer {
public:
    using Void = std::conditional_t<Const, const void, void>;

    /// No memory.
    constexpr BasicBuffer() noexcept = default;

    template <class T, std::enable_if_t<detail::fits_pointer<T, Const>, int> = 0>
    constexpr BasicBuffer(T *elements, std::size_t n) noexcept
        : address_(elements), bytes_(n), element_(detail::element_of<std::remove_cv_t<T>>())
    {
        if constexpr (!std::is_void_v<T>)
            bytes_ *= sizeof(T);
    }

    template <class C, std::enable_if_t<detail::fits_buffer<detail::elements_of<C>, Const>, int> = 0>
    constexpr BasicBuffer(C &&container) noexcept : BasicBuffer(std::data(container), std::size(container))
    {
    }

    /// From Buffer to ConstBuffer.
    template <bool Other, std::enable_if_t<Const && !Other, int> = 0>
    constexpr BasicBuffer(const BasicBuffer<Other> &other) noexcept
        : address_(other.address()), bytes_(other.bytes()), element_(other.element())
    {
    }

    [[nodiscard]] constexpr Void *address() const noexcept { return address_; }
    [[nodiscard]] constexpr std::size_t bytes() const noexcept { return bytes_; }
    [[nodiscard]] constexpr detail::Element element() const noexcept { return element_; }

private:
    Void *address_ = nullptr;
    std::size_t bytes_ = 0;
    detail::Element element_ = detail::Element::byte;
};

using Buffer = BasicBuffer<false>;
using ConstBuffer = BasicBuffer<true>;

namespace detail {

/// How a pixel format lays out memory.
struct Format {
    std::uint32_t element;      // bytes of an element
    bool is_float;              // whether elements are float32
    std::uint32_t samples;      // elements per pixel of the first plane's rows
    std::uint32_t planes;       // without alpha
    std::uint32_t chroma_x = 1; // pixels per sample of the other planes, horizontally
    std::uint32_t chroma_y = 1; // and vertically
    std::uint32_t pairs = 1;    // elements per sample of the other planes
};

inline Format format_of(PixelFormat format)
{
    switch (format) {
    case PixelFormat::rgb8:
    case PixelFormat::bgr8: return {1, false, 3, 1};
    case PixelFormat::rgba8:
    case PixelFormat::bgra8: return {1, false, 4, 1};
    case PixelFormat::rgb16:
    case PixelFormat::rgb_f16: return {2, false, 3, 1};
    case PixelFormat::rgba16:
    case PixelFormat::rgba_f16: return {2, false, 4, 1};
    case PixelFormat::rgb_f32: return {4, true, 3, 1};
    case PixelFormat::rgba_f32: return {4, true, 4, 1};
    case PixelFormat::rgbp8:
    case PixelFormat::gbrp8:
    case PixelFormat::yuv444p8: return {1, false, 1, 3};
    case PixelFormat::rgbp16:
    case PixelFormat::gbrp16:
    case PixelFormat::rgbp_f16:
    case PixelFormat::rgbp_bf16:
    case PixelFormat::yuv444p16: return {2, false, 1, 3};
    case PixelFormat::rgbp_f32:
    case PixelFormat::gbrp_f32: return {4, true, 1, 3};
    case PixelFormat::gray8: return {1, false, 1, 1};
    case PixelFormat::gray16: return {2, false, 1, 1};
    case PixelFormat::yuv420p8: return {1, false, 1, 3, 2, 2};
    case PixelFormat::yuv420p16: return {2, false, 1, 3, 2, 2};
    case PixelFormat::yuv422p8: return {1, false, 1, 3, 2, 1};
    case PixelFormat::yuv422p16: return {2, false, 1, 3, 2, 1};
    case PixelFormat::yuv411p8: return {1, false, 1, 3, 4, 1};
    case PixelFormat::nv12: return {1, false, 1, 2, 2, 2, 2};
    case PixelFormat::p010: return {2, false, 1, 2, 2, 2, 2};
    }
    fail(StatusCode::invalid_argument, "there is no pixel format " + std::to_string(value(format)));
}

/// Bytes of a row of a plane without gaps.
constexpr std::size_t row_bytes(const Format &format, std::size_t plane, std::uint32_t width) noexcept
{
    if (plane == 0)
        return std::size_t{width} * format.samples * format.element;
    return (std::size_t{width} + format.chroma_x - 1) / format.chroma_x * format.pairs * format.element;
}

constexpr std::size_t rows(const Format &format, std::size_t plane, std::uint32_t height) noexcept
{
    return plane == 0 ? height : (std::size_t{height} + format.chroma_y - 1) / format.chroma_y;
}

inline std::string size_text(std::uint32_t width, std::uint32_t height)
{
    return std::to_string(width) + "x" + std::to_string(height);
}

[[noreturn]] inline void wrong_elements(PixelFormat format, const Format &facts)
{
    const char *type = facts.is_float ? "float" : facts.element == 1 ? "std::uint8_t" : "std::uint16_t";
    fail(StatusCode::invalid_argument,
         "the elements of pixel format " + std::to_string(value(format)) + " are " + type);
}

/// Elements of another type would be read as more pixels than they are, with values that they are not.
inline void check_elements(PixelFormat format, Element element)
{
    const Format facts = format_of(format);
    if ((element == Element::float32 && !facts.is_float) || (element == Element::two_bytes && facts.element != 2))
        wrong_elements(format, facts);
}

/// Larger frames are refused here too, so that no size overflows.
inline void check_size(std::uint32_t width, std::uint32_t height)
{
    constexpr std::uint32_t most = 32768;
    if (width == 0 || height == 0 || width > most || height > most)
        fail(StatusCode::invalid_size, "a frame of " + size_text(width, height) + ": width and height are 1 to 32768");
}

/// Refuses rows so far apart that no memory holds them, so that no sum overflows.
inline void check_stride(std::ptrdiff_t stride)
{
    if (stride / (PTRDIFF_MAX >> 18) != 0)
        fail(StatusCode::invalid_argument, "a stride of " + std::to_string(stride) + " bytes is beyond any memory");
}

/// Where the planes of a frame are in one block of memory: plane after plane.
struct Planes {
    std::array<std::ptrdiff_t, 4> offsets{};
    std::array<std::ptrdiff_t, 4> strides{};
    std::size_t bytes = 0; // up to the end of the last row
};

inline Planes planes_of(PixelFormat pixel_format, std::uint32_t width, std::uint32_t height, std::ptrdiff_t stride)
{
    const Format format = format_of(pixel_format);
    check_size(width, height);
    const auto row = static_cast<std::ptrdiff_t>(row_bytes(format, 0, width));
    const std::ptrdiff_t step = stride == 0 ? row : stride;
    check_stride(step);
    if ((step < 0 ? -step : step) < row)
        fail(StatusCode::invalid_argument, "a stride of " + std::to_string(stride) + " bytes: a row of " +
                                               std::to_string(width) + " pixels takes " + std::to_string(row));
    if (step < 0 && format.planes > 1)
        fail(StatusCode::invalid_argument, "a negative stride for several planes: use bottom_up() or of_planes()");

    Planes planes;
    std::ptrdiff_t next = 0;
    for (std::size_t i = 0; i < format.planes; i++) {
        const auto least = static_cast<std::ptrdiff_t>(row_bytes(format, i, width));
        std::ptrdiff_t own = i == 0 ? step : least;
        if (i > 0 && stride != 0) {
            const auto ratio = static_cast<std::ptrdiff_t>(format.chroma_x);
            own = step * static_cast<std::ptrdiff_t>(format.pairs);
            if (own % (ratio * static_cast<std::ptrdiff_t>(format.element)) != 0 || own / ratio < least)
                fail(StatusCode::invalid_argument, "a stride of " + std::to_string(stride) +
                                                       " bytes leaves the other planes no whole rows: use of_planes()");
            own /= ratio;
        }
        const auto n_rows = static_cast<std::ptrdiff_t>(rows(format, i, height));
        planes.offsets[i] = next;
        planes.strides[i] = own;
        planes.bytes = static_cast<std::size_t>(next + (n_rows - 1) * (own < 0 ? 0 : own) + least);
        next += n_rows * own;
    }
    return planes;
}

} // namespace detail

/// Bytes of a frame without gaps: its planes one after another, each without padding. Throws Error with
/// StatusCode::invalid_argument or _invalid_size.
[[nodiscard]] inline std::size_t frame_bytes(PixelFormat format, std::uint32_t width, std::uint32_t height)
{
    return detail::planes_of(format, width, height, 0).bytes;
}

/// One plane of a frame: Plane if it is written to, ConstPlane if it is read only.
template <bool Const>
struct BasicPlane {
    /// The first sample of the first row.
    std::conditional_t<Const, const void, void> *address = nullptr;
    /// Bytes from one row to the next; negative for pictures that are stored bottom up.
    std::ptrdiff_t stride = 0;
    /// Bytes from one sample of a row to the next; 0: as the format says. wfvae_frame.pixel_steps says more.
    std::ptrdiff_t step = 0;
};

using Plane = BasicPlane<false>;
using ConstPlane = BasicPlane<true>;

/// One picture in the caller's memory: Frame for decode calls, which write to it, ConstFrame for encode calls, which
/// read it. A Frame converts to a ConstFrame.
///
///     using namespace wfvae;
///     ConstFrame in(PixelFormat::bgra8, pixels, width, height, stride);      // the first row is the top one
///     ConstFrame engine = in.bottom_up();                                    // the first row is the lowest one
///     Frame out(PixelFormat::rgb8, vector, width, height);                   // checks the vector's size
///     Frame nv12 = Frame::of_planes(PixelFormat::nv12, {{y, y_stride}, {uv, uv_stride}}, width, height);
///     Frame rgbp = Frame::of_planes(PixelFormat::rgbp_f32, {{r, s}, {g, s}, {b, s}}, width, height);
///
/// Ownership: none; the memory must stay valid as long as the frame is used. Thread-safety: as for a pointer.
/// Errors: Error with StatusCode::invalid_argument or _invalid_size, before the library is called.
template <bool Const>
class BasicFrame {
public:
    using Void = std::conditional_t<Const, const void, void>;

    /// A frame in one block of memory, which holds its planes one after another.
    ///
    /// pixels: the first row; points to void or to elements that a buffer may have. The size of its memory is trusted.
    /// stride: bytes from one row of the first plane to the next; 0: rows have no gaps. Other planes have the same
    /// stride, or half or a quarter of it if their rows have half or a quarter of the samples. For formats of one plane
    /// it may be negative: then the first row has the highest address.
    template <class T, std::enable_if_t<detail::fits_pointer<T, Const>, int> = 0>
    BasicFrame(PixelFormat format, T *const &pixels, std::uint32_t width, std::uint32_t height,
               std::ptrdiff_t stride = 0) // a reference, so that arrays are memory of known size
        : BasicFrame(format, pixels, detail::element_of<std::remove_cv_t<T>>(), width, height,
                     detail::planes_of(format, width, height, stride))
    {
    }

    /// The same in memory of known size, which must hold the frame; stride must not be negative.
    BasicFrame(PixelFormat format, BasicBuffer<Const> memory, std::uint32_t width, std::uint32_t height,
               std::ptrdiff_t stride = 0)
        : BasicFrame(format, memory.address(), memory.element(), width, height,
                     checked(format, memory, width, height, stride))
    {
    }

    /// A frame whose planes are anywhere: as many as the format has, in its order. One more is alpha,
    /// unless the format is packed RGB.
    [[nodiscard]] static BasicFrame of_planes(PixelFormat format, std::initializer_list<BasicPlane<Const>> planes,
                                              std::uint32_t width, std::uint32_t height)
    {
        const detail::Format facts = detail::format_of(format);
        const bool alpha = facts.samples == 1 && planes.size() == facts.planes + 1;
        if (planes.size() != facts.planes && !alpha)
            detail::fail(StatusCode::invalid_argument,
                         std::to_string(planes.size()) + " planes for a format of " + std::to_string(facts.planes));
        BasicFrame frame(format, width, height);
        std::size_t i = 0;
        for (const BasicPlane<Const> &plane : planes)
            frame.set(alpha && i == facts.planes ? 3 : i++, plane);
        return frame;
    }

    /// Whatever the C struct describes.
    explicit BasicFrame(const wfvae_frame &frame) noexcept : frame_(frame) {}

    /// From Frame to ConstFrame.
    template <bool Other, std::enable_if_t<Const && !Other, int> = 0>
    BasicFrame(const BasicFrame<Other> &other) noexcept : frame_(other.c())
    {
    }

    /// The same memory, whose first row is the lowest of the picture, as engines and BMP files have it.
    [[nodiscard]] BasicFrame bottom_up() const
    {
        const detail::Format facts = detail::format_of(format());
        BasicFrame frame = *this;
        for (std::size_t i = 0; i < 4; i++) {
            if (!frame_.planes[i])
                continue;
            detail::check_stride(frame_.strides[i]);
            // Alpha has the size of the first plane.
            const auto n = static_cast<std::ptrdiff_t>(detail::rows(facts, i == 3 ? 0 : i, frame_.height));
            if (n > 0)
                frame.frame_.planes[i] = static_cast<char *>(frame_.planes[i]) + (n - 1) * frame_.strides[i];
            frame.frame_.strides[i] = -frame_.strides[i];
        }
        return frame;
    }

    /// Significant bits of a 16-bit format, 9 to 16.
    [[nodiscard]] BasicFrame with_bit_depth(std::uint32_t bits) const noexcept
    {
        BasicFrame frame = *this;
        frame.frame_.bit_depth = bits;
        return frame;
    }

    /// The range of a float format.
    [[nodiscard]] BasicFrame with_range(Range range) const noexcept
    {
        BasicFrame frame = *this;
        frame.frame_.range = detail::value(range);
        return frame;
    }

    /// How a YUV or grey format means colour.
    [[nodiscard]] BasicFrame with_colour(Matrix matrix, YuvRange range = YuvRange::limited,
                                         Siting siting = Siting::left) const noexcept
    {
        BasicFrame frame = *this;
        frame.frame_.matrix = detail::value(matrix);
        frame.frame_.yuv_range = detail::value(range);
        frame.frame_.siting = detail::value(siting);
        return frame;
    }

    /// With a plane of alpha, of the frame's full size. Not for packed RGB.
    [[nodiscard]] BasicFrame with_alpha(BasicPlane<Const> alpha) const noexcept
    {
        BasicFrame frame = *this;
        frame.set(3, alpha);
        return frame;
    }

    [[nodiscard]] PixelFormat format() const noexcept { return static_cast<PixelFormat>(frame_.format); }
    [[nodiscard]] std::uint32_t width() const noexcept { return frame_.width; }
    [[nodiscard]] std::uint32_t height() const noexcept { return frame_.height; }

    /// The C struct.
    [[nodiscard]] const wfvae_frame &c() const noexcept { return frame_; }

private:
    BasicFrame(PixelFormat format, std::uint32_t width, std::uint32_t height)
        : frame_(detail::sized<wfvae_frame>())
    {
        detail::check_size(width, height);
        frame_.format = detail::value(format);
        frame_.width = width;
        frame_.height = height;
    }

    BasicFrame(PixelFormat format, Void *pixels, detail::Element element, std::uint32_t width, std::uint32_t height,
               const detail::Planes &planes)
        : BasicFrame(format, width, height)
    {
        detail::check_elements(format, element);
        if (!pixels)
            detail::fail(StatusCode::invalid_argument, "a frame at a null pointer");
        using Byte = std::conditional_t<Const, const char, char>;
        for (std::size_t i = 0; i < 4; i++)
            if (planes.strides[i] != 0)
                set(i, {static_cast<Byte *>(pixels) + planes.offsets[i], planes.strides[i]});
    }

    static detail::Planes checked(PixelFormat format, BasicBuffer<Const> memory, std::uint32_t width,
                                  std::uint32_t height, std::ptrdiff_t stride)
    {
        if (stride < 0)
            detail::fail(StatusCode::invalid_argument,
                         "a negative stride needs a pointer to the top row, or bottom_up()");
        const detail::Planes planes = detail::planes_of(format, width, height, stride);
        if (memory.bytes() < planes.bytes)
            detail::fail(StatusCode::invalid_argument, "memory of " + std::to_string(memory.bytes()) +
                                                           " bytes for a frame of " + detail::size_text(width, height) +
                                                           ", which takes " + std::to_string(planes.bytes));
        return planes;
    }

    void set(std::size_t i, const BasicPlane<Const> &plane) noexcept
    {
        // C has one struct for both. Encode calls only read.
        frame_.planes[i] = const_cast<void *>(plane.address);
        frame_.strides[i] = plane.stride;
        frame_.pixel_steps[i] = plane.step;
    }

    wfvae_frame frame_;
};

using Frame = BasicFrame<false>;
using ConstFrame = BasicFrame<true>;

/// Converts a picture from any format to any other of the same size, as encoding reads frames and decoding writes them.
/// Needs no model. The memory of the two must not overlap. Thread-safety: safe. Errors: throws Error.
inline void convert(const ConstFrame &from, const Frame &to)
{
    wfvae_frame c = to.c();
    detail::expect_ok(wfvae_convert_frame(&from.c(), &c));
}

// Arrays of frames go to C as they are.
static_assert(sizeof(Frame) == sizeof(wfvae_frame) && std::is_standard_layout_v<Frame>);
static_assert(sizeof(ConstFrame) == sizeof(wfvae_frame) && std::is_standard_layout_v<ConstFrame>);

namespace detail {

/// Frames that are written to serve for reading as well.
template <class T, bool Const>
inline constexpr bool fits_frames = std::is_same_v<std::remove_const_t<T>, BasicFrame<false>> ||
                                    (Const && std::is_same_v<std::remove_const_t<T>, BasicFrame<true>>);

} // namespace detail

/// A view of frames in order of time, for arguments: FrameSpan or ConstFrameSpan. Converts from one frame, and from
/// std::vector, std::array, std::span and the like of frames.
///
/// Ownership: none; the frames and their memory must stay valid as long as the view. Thread-safety: as for a pointer.
template <bool Const>
class BasicFrameSpan {
public:
    /// No frames.
    constexpr BasicFrameSpan() noexcept = default;

    template <class T, std::enable_if_t<detail::fits_frames<T, Const>, int> = 0>
    BasicFrameSpan(T *frames, std::size_t n) noexcept : frames_(n ? &frames->c() : nullptr), n_(n)
    {
    }

    template <class T, std::enable_if_t<detail::fits_frames<T, Const>, int> = 0>
    BasicFrameSpan(const T &frame) noexcept : BasicFrameSpan(&frame, 1)
    {
    }

    template <class C, std::enable_if_t<detail::fits_frames<detail::elements_of<C>, Const>, int> = 0>
    BasicFrameSpan(C &&container) noexcept : BasicFrameSpan(std::data(container), std::size(container))
    {
    }

    [[nodiscard]] const wfvae_frame *c() const noexcept { return frames_; }
    [[nodiscard]] std::size_t size() const noexcept { return n_; }

private:
    const wfvae_frame *frames_ = nullptr;
    std::size_t n_ = 0;
};

using FrameSpan = BasicFrameSpan<false>;
using ConstFrameSpan = BasicFrameSpan<true>;

/// Many frames at equal distances in memory, without a struct for each: Clip for decode calls, ConstClip for encode
/// calls.
///
///     using namespace wfvae;
///     ConstClip thwc(PixelFormat::rgb8, video, width, height);               // [T, H, W, 3] without gaps
///     ConstClip every_second(first_frame, n_frames, 2 * frame_stride);
///     Frame first = Frame::of_planes(PixelFormat::rgbp_f32, {{r, stride}, {g, stride}, {b, stride}}, width, height);
///     Clip cthw(first, n_frames, frame_stride);                              // [C, T, H, W]
///
/// Ownership: none; the memory must stay valid as long as the clip is used. Thread-safety: as for a pointer.
/// Errors: Error with StatusCode::invalid_argument or _invalid_size, before the library is called.
template <bool Const>
class BasicClip {
public:
    /// frame_stride: bytes from a plane of one frame to the same plane of the next; may be negative.
    BasicClip(const BasicFrame<Const> &first, std::size_t n_frames, std::ptrdiff_t frame_stride) noexcept
        : BasicClip(first, n_frames, {frame_stride, frame_stride, frame_stride, frame_stride})
    {
    }

    /// One distance for each plane.
    BasicClip(const BasicFrame<Const> &first, std::size_t n_frames,
              const std::array<std::ptrdiff_t, 4> &frame_strides) noexcept
        : first_(first), n_frames_(n_frames), strides_(frame_strides)
    {
    }

    /// All frames of a block of memory that holds nothing else and has no gaps. One frame at least.
    BasicClip(PixelFormat format, BasicBuffer<Const> memory, std::uint32_t width, std::uint32_t height)
        : BasicClip(BasicFrame<Const>(format, memory, width, height), count(format, memory, width, height),
                    static_cast<std::ptrdiff_t>(frame_bytes(format, width, height)))
    {
    }

    /// From Clip to ConstClip.
    template <bool Other, std::enable_if_t<Const && !Other, int> = 0>
    BasicClip(const BasicClip<Other> &other) noexcept
        : BasicClip(other.first(), other.n_frames(), other.frame_strides())
    {
    }

    [[nodiscard]] const BasicFrame<Const> &first() const noexcept { return first_; }
    [[nodiscard]] std::size_t n_frames() const noexcept { return n_frames_; }
    [[nodiscard]] const std::array<std::ptrdiff_t, 4> &frame_strides() const noexcept { return strides_; }

    /// The C struct, which is valid as long as this clip.
    [[nodiscard]] wfvae_frames c() const noexcept
    {
        auto frames = detail::sized<wfvae_frames>();
        frames.first = &first_.c();
        frames.n_frames = n_frames_;
        std::copy(strides_.begin(), strides_.end(), frames.frame_strides);
        return frames;
    }

private:
    static std::size_t count(PixelFormat format, BasicBuffer<Const> memory, std::uint32_t width, std::uint32_t height)
    {
        const std::size_t bytes = frame_bytes(format, width, height);
        if (memory.bytes() % bytes != 0)
            detail::fail(StatusCode::invalid_argument,
                         "memory of " + std::to_string(memory.bytes()) + " bytes is not a whole number of frames of " +
                             detail::size_text(width, height) + ", which take " + std::to_string(bytes));
        return memory.bytes() / bytes;
    }

    BasicFrame<Const> first_;
    std::size_t n_frames_;
    std::array<std::ptrdiff_t, 4> strides_;
};

using Clip = BasicClip<false>;
using ConstClip = BasicClip<true>;

// ---- model ----

/// Receives log messages; text is UTF-8 without a line end, and valid during the call only.
///
/// Called from any thread that is inside a call on the model or its streams, possibly from several at once; at
/// LogLevel::trace also from ONNX Runtime's threads. It must not call this library. What it throws is dropped, because
/// exceptions cannot pass through the library.
using LogFunction = std::function<void(LogLevel level, std::string_view text)>;

/// How to open a model: wfvae_model_options, which says more about each field.
struct ModelOptions {
    /// Path of the ONNX Runtime library; empty: wherever the library finds one.
    std::string runtime_path{};
    Provider provider = Provider::automatic;
    /// Device index of the provider.
    std::uint32_t device = 0;
    /// Threads that work on one call; 0: one for each CPU.
    std::uint32_t n_threads = 0;
    /// Read and check all weights now.
    bool check_finite = false;
    /// Empty: no messages. Copied; lives as long as the model and its streams.
    LogFunction log{};
    LogLevel log_level = LogLevel::standard;
    CacheType cache_type = CacheType::f32;
    /// Maximum bytes of the attention score matrix; 0: 64 MiB.
    std::uint64_t attention_bytes = 0;
    Convolution convolution = Convolution::exact;
    Layout layout = Layout::automatic;
    Precision encode_precision = Precision::f32;
    Precision decode_precision = Precision::f32;
    /// Options of ONNX Runtime's CUDA provider, "name=value", separated by commas.
    std::string provider_options{};
};

/// How to create a stream: wfvae_options, which says more about each field.
struct StreamOptions {
    /// Size of the frames in pixels, 1 to 32768; multiples of the model's spatial_compression, unless padding is set.
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    /// Direction::all: what the model has.
    Direction directions = Direction::all;
    /// Allow any width and height.
    bool padding = false;
    LatentType latent_type = LatentType::f32;
    Posterior posterior = Posterior::mean;
    /// The seed of the noise of Posterior::sample.
    std::uint64_t seed = 0;
    /// Latents are (z - shift) * scale.
    bool scaled = false;
    /// Carry the alpha of input frames to the output frames.
    bool alpha = false;
    Tiling tiling = Tiling::off;
    std::uint32_t tile_width = 0;
    std::uint32_t tile_height = 0;
    std::uint32_t tile_overlap = 0;
    /// Let LatentReader::check_stream() accept latents of other encoders.
    bool any_encoder = false;
    /// Above 0: each encode call and each decode call takes one whole clip of at most this many frames.
    std::uint64_t clip_frames = 0;
    /// Above 0: the most bytes that the stream may take.
    std::uint64_t memory_limit = 0;
    /// Where the planes of frames are. Views take addresses of a CUDA device's memory as they take others.
    MemoryKind frame_memory = MemoryKind::cpu;
    /// Where latents are.
    MemoryKind latent_memory = MemoryKind::cpu;
    /// The CUDA stream in which the program works on its frames and latents in a device's memory; null: the default stream.
    void *cuda_stream = nullptr;
};

namespace detail {

/// The callback that C calls.
inline void log(void *user, std::uint32_t level, const char *text) noexcept
{
    try {
        (*static_cast<const LogFunction *>(user))(static_cast<LogLevel>(level), text);
    } catch (...) {
        // Nobody is left to tell.
    }
}

inline wfvae_options c_options(const StreamOptions &options) noexcept
{
    auto c = sized<wfvae_options>();
    c.width = options.width;
    c.height = options.height;
    c.directions = value(options.directions);
    c.padding = options.padding;
    c.latent_type = value(options.latent_type);
    c.posterior = value(options.posterior);
    c.seed = options.seed;
    c.scaled = options.scaled;
    c.tiling = value(options.tiling);
    c.tile_width = options.tile_width;
    c.tile_height = options.tile_height;
    c.tile_overlap = options.tile_overlap;
    c.any_encoder = options.any_encoder;
    c.clip_frames = options.clip_frames;
    c.memory_limit = options.memory_limit;
    c.alpha = options.alpha;
    c.frame_memory = value(options.frame_memory);
    c.latent_memory = value(options.latent_memory);
    c.cuda_stream = options.cuda_stream;
    return c;
}

} // namespace detail

/// An open model: a checkpoint that was checked, and the sessions that run it. Any number of streams share it.
///
/// Ownership: move-only. Its streams keep what they need, so it may be destroyed before them.
/// Thread-safety: safe; several threads may use it at once. Errors: all calls throw Error.
class Model {
public:
    /// Empty.
    Model() noexcept = default;

    /// Opens a checkpoint: a folder or a file, in UTF-8. wfvae_model_open() lists what is found there.
    explicit Model(const std::string &path, const ModelOptions &options = {})
        : Model(options, detail::c_text(path, "the model's path"))
    {
    }

    /// Opens the model built into the library.
    [[nodiscard]] static Model built_in(const ModelOptions &options = {}) { return Model(options, nullptr); }

    /// Use built_in().
    explicit Model(std::nullptr_t, const ModelOptions & = {}) = delete;

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    /// What the model is and what it runs on.
    [[nodiscard]] ModelInfo info() const
    {
        auto info = detail::sized<ModelInfo>();
        detail::expect_ok(wfvae_model_get_info(used(), &info));
        return info;
    }

    /// Whether streams of the model can do this: a checkpoint may hold only the encoder or only the decoder.
    [[nodiscard]] bool has(Direction directions) const
    {
        const std::uint32_t wanted = detail::value(directions);
        return (info().directions & wanted) == wanted;
    }

    /// Latents of a whole clip of n_frames frames.
    [[nodiscard]] std::uint64_t latents_for_frames(std::uint64_t n_frames) const
    {
        return wfvae_latents_for_frames(used(), n_frames);
    }

    /// Frames of a whole clip of n_latents latents.
    [[nodiscard]] std::uint64_t frames_for_latents(std::uint64_t n_latents) const
    {
        return wfvae_frames_for_latents(used(), n_latents);
    }

    /// How much memory a stream with these options would take.
    [[nodiscard]] MemoryEstimate estimate(const StreamOptions &options) const
    {
        auto memory = detail::sized<MemoryEstimate>();
        const wfvae_options c = detail::c_options(options);
        detail::expect_ok(wfvae_estimate(used(), &c, &memory));
        return memory;
    }

    /// Writes the model's ONNX graphs and their weights to a folder, which must exist.
    void save_onnx(const std::string &folder, Graphs graphs = Graphs::steps) const
    {
        wfvae_model *model = used();
        detail::expect_ok(
            wfvae_model_save_onnx(model, detail::c_text(folder, "the folder's path"), detail::value(graphs)));
    }

    /// The C handle, which stays owned by this object; null if it is empty.
    [[nodiscard]] wfvae_model *get() const noexcept { return handle_.get(); }

private:
    friend class Stream;
    friend class LatentReader;

    using Log = std::shared_ptr<const LogFunction>;

    /// Keeps the log function until the model is closed.
    struct Close {
        Log log;
        void operator()(wfvae_model *model) const noexcept { wfvae_model_close(model); }
    };

    /// path: null for the built-in model.
    Model(const ModelOptions &options, const char *path)
    {
        auto c = detail::sized<wfvae_model_options>();
        Log log = options.log ? std::make_shared<const LogFunction>(options.log) : nullptr;
        c.runtime_path = detail::c_text_or_null(options.runtime_path, "ModelOptions.runtime_path");
        c.provider = detail::value(options.provider);
        c.device = options.device;
        c.n_threads = options.n_threads;
        c.check_finite = options.check_finite;
        if (log) {
            c.log_callback = detail::log;
            c.log_user = const_cast<LogFunction *>(log.get()); // log() makes it const again
        }
        c.log_level = detail::value(options.log_level);
        c.cache_type = detail::value(options.cache_type);
        c.attention_bytes = options.attention_bytes;
        c.convolution = detail::value(options.convolution);
        c.layout = detail::value(options.layout);
        c.encode_precision = detail::value(options.encode_precision);
        c.decode_precision = detail::value(options.decode_precision);
        c.provider_options = detail::c_text_or_null(options.provider_options, "ModelOptions.provider_options");
        wfvae_model *model = nullptr;
        detail::expect_ok(wfvae_model_open(path, &c, &model));
        handle_ = {model, Close{std::move(log)}};
    }

    wfvae_model *used() const { return detail::used(handle_, "wfvae::Model"); }

    std::unique_ptr<wfvae_model, Close> handle_;
};

// ---- snapshot ----

/// A stream's state at one point of its clip. Made by Stream::snapshot(), or from bytes.
///
/// Ownership: move-only; independent of its stream. Thread-safety: safe; it never changes, and several streams may be
/// restored to it at the same time. Errors: all calls throw Error.
class Snapshot {
public:
    /// Empty.
    Snapshot() noexcept = default;

    /// Reads the bytes that write() or bytes() gave, in this or another process. Refuses any other bytes.
    explicit Snapshot(ConstBuffer bytes)
    {
        wfvae_snapshot *snapshot = nullptr;
        detail::expect_ok(wfvae_snapshot_read(bytes.address(), bytes.bytes(), &snapshot));
        handle_.reset(snapshot);
    }

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    /// The number of bytes that write() writes.
    [[nodiscard]] std::size_t size() const { return wfvae_snapshot_size(used()); }

    /// Writes the snapshot to memory of at least size() bytes. Returns the number of bytes written.
    std::size_t write(Buffer bytes) const
    {
        std::size_t written = 0;
        detail::expect_ok(wfvae_snapshot_write(used(), bytes.address(), bytes.bytes(), &written));
        return written;
    }

    /// The snapshot as bytes.
    [[nodiscard]] std::vector<std::uint8_t> bytes() const
    {
        std::vector<std::uint8_t> bytes(size());
        bytes.resize(write(bytes));
        return bytes;
    }

    /// The C handle, which stays owned by this object; null if it is empty.
    [[nodiscard]] wfvae_snapshot *get() const noexcept { return handle_.get(); }

private:
    friend class Stream;

    struct Destroy {
        void operator()(wfvae_snapshot *snapshot) const noexcept { wfvae_snapshot_destroy(snapshot); }
    };

    explicit Snapshot(wfvae_snapshot *snapshot) noexcept : handle_(snapshot) {}

    wfvae_snapshot *used() const { return detail::used(handle_, "wfvae::Snapshot"); }

    std::unique_ptr<wfvae_snapshot, Destroy> handle_;
};

// ---- stream ----

namespace detail {

/// What the latents of a call are.
struct Latents {
    std::uint64_t bytes = 0; // of one latent
    LatentType type = LatentType::f32;

    [[nodiscard]] std::size_t element() const noexcept { return type == LatentType::f16 ? 2 : 4; }
    [[nodiscard]] std::size_t values() const noexcept { return static_cast<std::size_t>(bytes) / element(); }

    void check_type(Element element, const char *call) const
    {
        if (element == Element::byte || element == (type == LatentType::f16 ? Element::two_bytes : Element::float32))
            return;
        fail(StatusCode::invalid_argument,
             std::string(call) + (type == LatentType::f16
                                      ? ": the latents are float16: use std::uint16_t or another type of 2 bytes"
                                      : ": the latents are float32: use float"));
    }

    /// The number of whole latents that fit.
    template <bool Const>
    [[nodiscard]] std::size_t room(BasicBuffer<Const> buffer, const char *call) const
    {
        check_type(buffer.element(), call);
        return bytes == 0 ? 0 : static_cast<std::size_t>(buffer.bytes() / bytes);
    }

    /// The number of latents, with nothing left over.
    [[nodiscard]] std::size_t count(ConstBuffer buffer, const char *call) const
    {
        const std::size_t n = room(buffer, call);
        if (n * bytes != buffer.bytes())
            fail(StatusCode::invalid_argument, std::string(call) + ": " + std::to_string(buffer.bytes()) +
                                                   " bytes are not a whole number of latents of " +
                                                   std::to_string(bytes));
        return n;
    }
};

/// What never changes in a stream, and is the same in its forks.
struct StreamFacts {
    std::shared_ptr<const LogFunction> log; // outlives the handle
    std::uint32_t width = 0, height = 0;
    Latents encoded, decoded;
    std::size_t decode_delay = 0;
};

/// What a stream and its tokens share.
struct StreamState : StreamFacts {
    wfvae_stream *handle = nullptr;

    StreamState() = default;
    explicit StreamState(const StreamFacts &facts) : StreamFacts(facts) {}
    StreamState(const StreamState &) = delete;
    StreamState &operator=(const StreamState &) = delete;
    ~StreamState() { wfvae_destroy(handle); }
};

inline Progress progress(const wfvae_stream *stream)
{
    auto progress = sized<Progress>();
    expect_ok(wfvae_get_progress(stream, &progress));
    return progress;
}

} // namespace detail

/// Cancels the calls of a stream from other threads, and tells how far they are.
///
/// Ownership: copyable; does not keep the stream. If the stream is gone, nothing happens: a token may outlive it, and
/// may be used while the stream is moved or destroyed. A stream that is destroyed during cancel() or progress() is
/// freed when that returns.
/// Thread-safety: safe. Copy it for each thread; assigning to one that another thread uses is not safe.
class CancelToken {
public:
    /// Belongs to no stream.
    CancelToken() noexcept = default;

    /// Stops the call that another thread is running on the stream; it throws Error with StatusCode::cancelled, usually
    /// within milliseconds. If no call is running, the next one throws it. Lasts until Stream::reset() or restore().
    ///
    /// Returns whether there is a stream to cancel.
    bool cancel() const noexcept
    {
        const auto state = state_.lock();
        return state && wfvae_cancel(state->handle) == WFVAE_STATUS_OK;
    }

    /// How far the stream's running call is; 0 of 0 if there is none.
    [[nodiscard]] Progress progress() const
    {
        const auto state = state_.lock();
        return state ? detail::progress(state->handle) : detail::sized<Progress>();
    }

private:
    friend class Stream;

    explicit CancelToken(std::weak_ptr<detail::StreamState> state) noexcept : state_(std::move(state)) {}

    std::weak_ptr<detail::StreamState> state_;
};

/// A stream: encodes frames to latents and decodes latents to frames, one clip at a time.
///
/// A clip may be passed in any number of calls: encode() and decode() as often as you like, then set_frame_count(),
/// encode_flush(), decode() of its latent, and decode_flush(). encode_clip() and decode_clip() do it for a whole clip
/// at once. reset() starts the next clip.
///
/// Latents are [n, channels, latent_height, latent_width] without gaps, of StreamOptions.latent_type.
///
/// Ownership: move-only; keeps what it needs of its model. Thread-safety: one thread at a time; only cancel(),
/// progress() and cancel_token() may be called while another thread is in a call. Errors: all calls throw Error. After
/// a failure inside the network, info().needs_reset is 1, and reset() or restore() must follow.
class Stream {
public:
    /// Empty.
    Stream() noexcept = default;

    /// Creates a stream. The first one of a direction loads its weights.
    Stream(const Model &model, const StreamOptions &options) : state_(std::make_shared<detail::StreamState>())
    {
        const wfvae_options c = detail::c_options(options);
        state_->log = model.handle_.get_deleter().log;
        detail::expect_ok(wfvae_create(model.used(), &c, &state_->handle));
        const StreamInfo sizes = info();
        state_->width = sizes.width;
        state_->height = sizes.height;
        state_->encoded = {sizes.encoded_size, options.latent_type};
        state_->decoded = {sizes.latent_size, options.latent_type};
        state_->decode_delay = model.info().decode_delay;
    }

    Stream(Stream &&) noexcept = default;
    Stream &operator=(Stream &&) noexcept = default;

    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // -- encoding --

    /// Encodes frames and writes the latents that they complete. Returns the number of latents written.
    std::size_t encode(ConstFrameSpan frames, Buffer latents)
    {
        detail::StreamState &state = used();
        std::size_t written = 0;
        detail::expect_ok(wfvae_encode_chunk(state.handle, frames.c(), frames.size(), latents.address(),
                                             state.encoded.room(latents, "encode"), &written));
        return written;
    }

    /// The same for frames at equal distances.
    std::size_t encode(const ConstClip &clip, Buffer latents)
    {
        detail::StreamState &state = used();
        const wfvae_frames frames = clip.c();
        std::size_t written = 0;
        detail::expect_ok(wfvae_encode_frames(state.handle, &frames, latents.address(),
                                              state.encoded.room(latents, "encode"), &written));
        return written;
    }

    /// The same, which returns the latents: T is float, or std::uint16_t for LatentType::f16.
    template <class T = float>
    [[nodiscard]] std::vector<T> encode(ConstFrameSpan frames)
    {
        return encoded<T>(completed_by(frames.size()), [&](Buffer latents) { return encode(frames, latents); });
    }

    template <class T = float>
    [[nodiscard]] std::vector<T> encode(const ConstClip &clip)
    {
        return encoded<T>(completed_by(clip.n_frames()), [&](Buffer latents) { return encode(clip, latents); });
    }

    /// Ends the clip for encoding: writes the latent of an incomplete last group. Returns the number of latents
    /// written, 0 or 1.
    std::size_t encode_flush(Buffer latents)
    {
        detail::StreamState &state = used();
        std::size_t written = 0;
        detail::expect_ok(
            wfvae_encode_flush(state.handle, latents.address(), state.encoded.room(latents, "encode_flush"), &written));
        return written;
    }

    /// The same, which returns the latent, if there is one.
    template <class T = float>
    [[nodiscard]] std::vector<T> encode_flush()
    {
        return encoded<T>(encode_flush_count(), [&](Buffer latents) { return encode_flush(latents); });
    }

    /// encode() and encode_flush() of a whole clip, or of the rest of one, of 1 to 65536 frames. Returns its latents.
    template <class T = float>
    [[nodiscard]] std::vector<T> encode_clip(const ConstClip &clip)
    {
        return with_flush<T>(completed_by(clip.n_frames()), [&](Buffer latents) { return encode(clip, latents); });
    }

    template <class T = float>
    [[nodiscard]] std::vector<T> encode_clip(ConstFrameSpan frames)
    {
        return with_flush<T>(completed_by(frames.size()), [&](Buffer latents) { return encode(frames, latents); });
    }

    // -- decoding --

    /// Decodes latents and writes the frames that are final. Returns the number of frames written.
    std::size_t decode(ConstBuffer latents, FrameSpan frames)
    {
        detail::StreamState &state = used();
        std::size_t written = 0;
        detail::expect_ok(wfvae_decode_chunk(state.handle, latents.address(), state.decoded.count(latents, "decode"),
                                             mutable_frames(frames), frames.size(), &written));
        return written;
    }

    /// The same into memory at equal distances.
    std::size_t decode(ConstBuffer latents, const Clip &clip)
    {
        detail::StreamState &state = used();
        const wfvae_frames frames = clip.c();
        std::size_t written = 0;
        detail::expect_ok(wfvae_decode_frames(state.handle, latents.address(), state.decoded.count(latents, "decode"),
                                              &frames, &written));
        return written;
    }

    /// The same, which returns the frames without gaps: T is the type of the format's elements, std::uint8_t, float,
    /// or std::uint16_t for the others.
    template <class T = std::uint8_t>
    [[nodiscard]] std::vector<T> decode(ConstBuffer latents, PixelFormat format = PixelFormat::rgb8)
    {
        const std::size_t n = decode_count(used().decoded.count(latents, "decode"));
        std::vector<T> frames;
        grow(frames, format, n, [&](const auto &to) { return decode(latents, to); });
        return frames;
    }

    /// Ends the clip for decoding: writes the frames that were held back. Returns their number.
    std::size_t decode_flush(FrameSpan frames)
    {
        std::size_t written = 0;
        detail::expect_ok(wfvae_decode_flush(used().handle, mutable_frames(frames), frames.size(), &written));
        return written;
    }

    /// The same into memory at equal distances.
    std::size_t decode_flush(const Clip &clip)
    {
        const wfvae_frames frames = clip.c();
        std::size_t written = 0;
        detail::expect_ok(wfvae_decode_flush_frames(used().handle, &frames, &written));
        return written;
    }

    /// The same, which returns the frames as decode() does.
    template <class T = std::uint8_t>
    [[nodiscard]] std::vector<T> decode_flush(PixelFormat format = PixelFormat::rgb8)
    {
        std::vector<T> frames;
        flush_to(frames, format);
        return frames;
    }

    /// set_frame_count(), decode() and decode_flush() of a whole clip, or of the rest of one, of 1 to 65536 latents.
    /// Returns its frames.
    ///
    /// n_frames: the clip's length; UINT64_MAX: all frames of the latents, also those that completed the last group.
    template <class T = std::uint8_t>
    [[nodiscard]] std::vector<T> decode_clip(ConstBuffer latents, std::uint64_t n_frames = UINT64_MAX,
                                             PixelFormat format = PixelFormat::rgb8)
    {
        detail::StreamState &state = used();
        const std::size_t n_latents = state.decoded.count(latents, "decode_clip"), values = frame_values<T>(format);
        set_frame_count(n_frames); // what follows depends on it; wrong arguments have thrown before
        const std::size_t n = decode_count(n_latents);
        std::vector<T> frames;
        frames.reserve((n + state.decode_delay) * values);
        grow(frames, format, n, [&](const auto &to) { return decode(latents, to); });
        flush_to(frames, format);
        return frames;
    }

    // -- the clip --

    /// Starts a new clip in both directions.
    void reset() { detail::expect_ok(wfvae_reset(used().handle)); }

    /// Tells the decoder how many frames the clip has; UINT64_MAX: no limit. Call it before decoding the last latents;
    /// an Error if it is too late.
    void set_frame_count(std::uint64_t n_frames) { detail::expect_ok(wfvae_set_frame_count(used().handle, n_frames)); }

    /// Gives the samples of the next clip the noise of another seed than StreamOptions.seed, so that clips of one stream
    /// have noise of their own. An Error in the middle of a clip, and if the posterior is not a sample. A reset keeps it.
    /// A LatentWriter writes the seed that is set when it is made.
    void set_seed(std::uint64_t seed) { detail::expect_ok(wfvae_set_seed(used().handle, seed)); }

    /// Latents that encode() would write for n_frames more frames.
    [[nodiscard]] std::size_t encode_count(std::size_t n_frames) const
    {
        std::size_t count = 0;
        detail::expect_ok(wfvae_encode_count(used().handle, n_frames, &count));
        return count;
    }

    /// Latents that encode_flush() would write: 0 or 1.
    [[nodiscard]] std::size_t encode_flush_count() const
    {
        std::size_t count = 0;
        detail::expect_ok(wfvae_encode_flush_count(used().handle, &count));
        return count;
    }

    /// Frames that decode() would write for n_latents more latents.
    [[nodiscard]] std::size_t decode_count(std::size_t n_latents) const
    {
        std::size_t count = 0;
        detail::expect_ok(wfvae_decode_count(used().handle, n_latents, &count));
        return count;
    }

    /// Frames that decode_flush() would write.
    [[nodiscard]] std::size_t decode_flush_count() const
    {
        std::size_t count = 0;
        detail::expect_ok(wfvae_decode_flush_count(used().handle, &count));
        return count;
    }

    /// Sizes and counters.
    [[nodiscard]] StreamInfo info() const
    {
        auto info = detail::sized<StreamInfo>();
        detail::expect_ok(wfvae_get_info(used().handle, &info));
        return info;
    }

    /// Values of one latent that encode() writes, to size memory. Never busy.
    [[nodiscard]] std::size_t encoded_values() const { return used().encoded.values(); }

    /// Values of one latent that decode() reads. Never busy.
    [[nodiscard]] std::size_t latent_values() const { return used().decoded.values(); }

    // -- copies of the state --

    /// Takes a snapshot, to return to later.
    [[nodiscard]] Snapshot snapshot() const
    {
        wfvae_snapshot *snapshot = nullptr;
        detail::expect_ok(wfvae_snapshot_create(used().handle, &snapshot));
        return Snapshot(snapshot);
    }

    /// Returns to a snapshot, in both directions.
    void restore(const Snapshot &snapshot)
    {
        detail::expect_ok(wfvae_snapshot_restore(used().handle, snapshot.used()));
    }

    /// A second stream of the same model and options, at the same point of the clip.
    [[nodiscard]] Stream fork() const
    {
        const detail::StreamState &own = used();
        const detail::StreamFacts &facts = own;
        Stream stream;
        stream.state_ = std::make_shared<detail::StreamState>(facts);
        detail::expect_ok(wfvae_fork(own.handle, &stream.state_->handle));
        return stream;
    }

    // -- for other threads --

    /// As CancelToken::cancel(), for threads that know that the stream exists and stays where it is.
    void cancel() const { detail::expect_ok(wfvae_cancel(used().handle)); }

    /// As CancelToken::progress(), likewise.
    [[nodiscard]] Progress progress() const { return detail::progress(used().handle); }

    /// A token that other threads keep, and that may outlive the stream.
    [[nodiscard]] CancelToken cancel_token() const noexcept { return CancelToken(state_); }

    /// The text of the stream's last error, whichever thread it happened in; empty after none. Exceptions have it too.
    [[nodiscard]] std::string last_error() const { return wfvae_last_error(used().handle); }

    /// The C handle, which stays owned by this object; null if it is empty.
    [[nodiscard]] wfvae_stream *get() const noexcept { return state_ ? state_->handle : nullptr; }

private:
    friend class LatentWriter;
    friend class LatentReader;

    detail::StreamState &used() const { return *detail::used(state_, "wfvae::Stream"); }

    /// C writes to the memory of the frames, and not to the structs.
    static wfvae_frame *mutable_frames(FrameSpan frames) noexcept { return const_cast<wfvae_frame *>(frames.c()); }

    template <class T>
    void check_latents() const
    {
        used().encoded.check_type(detail::latent_element<T>(), "encode");
    }

    /// The latents that a call with n_frames frames needs memory for: none if the call will refuse so many.
    [[nodiscard]] std::size_t completed_by(std::size_t n_frames) const
    {
        return n_frames > detail::most_per_call ? 0 : encode_count(n_frames);
    }

    /// Appends n latents, or fewer, that call writes.
    template <class T, class Call>
    void append(std::vector<T> &latents, std::size_t n, Call call)
    {
        const std::size_t values = encoded_values(), before = latents.size();
        latents.resize(before + n * values);
        latents.resize(before + call(Buffer(latents.data() + before, n * values)) * values);
    }

    template <class T, class Call>
    std::vector<T> encoded(std::size_t n, Call call)
    {
        check_latents<T>();
        std::vector<T> latents;
        append(latents, n, call);
        return latents;
    }

    template <class T, class Call>
    std::vector<T> with_flush(std::size_t n, Call call)
    {
        check_latents<T>();
        std::vector<T> latents;
        latents.reserve((n + 1) * encoded_values());
        append(latents, n, call);
        append(latents, encode_flush_count(), [&](Buffer last) { return encode_flush(last); });
        return latents;
    }

    /// Values of a frame without gaps, whose elements are T.
    template <class T>
    [[nodiscard]] std::size_t frame_values(PixelFormat format) const
    {
        static_assert(detail::is_plain<T>, "elements of frames are plain values");
        const detail::StreamState &state = used();
        const detail::Format facts = detail::format_of(format);
        if (sizeof(T) != facts.element || std::is_floating_point_v<T> != facts.is_float)
            detail::wrong_elements(format, facts);
        return frame_bytes(format, state.width, state.height) / sizeof(T);
    }

    /// Appends n frames, or fewer, that call writes to a Clip; for n of 0, which is no clip, to no frames.
    template <class T, class Call>
    void grow(std::vector<T> &frames, PixelFormat format, std::size_t n, Call call)
    {
        const detail::StreamState &state = used();
        const std::size_t values = frame_values<T>(format), before = frames.size();
        if (n == 0) {
            call(FrameSpan());
            return;
        }
        frames.resize(before + n * values);
        const Clip clip(format, Buffer(frames.data() + before, n * values), state.width, state.height);
        frames.resize(before + call(clip) * values);
    }

    template <class T>
    void flush_to(std::vector<T> &frames, PixelFormat format)
    {
        grow(frames, format, decode_flush_count(), [&](const auto &to) { return decode_flush(to); });
    }

    std::shared_ptr<detail::StreamState> state_;
};

// ---- latent files ----

/// Facts about the clip that its stream does not know: wfvae_latent_writer_options.
struct LatentWriterOptions {
    /// Frames per second, as fps_num / fps_den. Both 0: unknown.
    std::uint32_t fps_num = 0;
    std::uint32_t fps_den = 0;
    /// A text of your own, up to 65536 bytes of UTF-8. Empty: none.
    std::string note{};
};

/// A latent file that is being written. finish() completes it and replaces the target; without that, nothing remains.
///
/// Ownership: move-only; independent of its stream. Thread-safety: one thread at a time. Errors: all calls throw Error.
class LatentWriter {
public:
    /// Empty.
    LatentWriter() noexcept = default;

    /// Starts a file for the latents that a stream encodes. path: UTF-8.
    LatentWriter(const Stream &stream, const std::string &path, const LatentWriterOptions &options = {})
        : latents_(stream.used().encoded)
    {
        auto c = detail::sized<wfvae_latent_writer_options>();
        c.fps_num = options.fps_num;
        c.fps_den = options.fps_den;
        c.note = detail::c_text_or_null(options.note, "LatentWriterOptions.note");
        wfvae_latent_writer *writer = nullptr;
        const char *c_path = detail::c_text(path, "the latent file's path");
        detail::expect_ok(wfvae_latent_writer_create(stream.get(), c_path, &c, &writer));
        handle_.reset(writer);
    }

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    /// Appends latents that the stream's encode() and encode_flush() gave; none is allowed.
    void write(ConstBuffer latents)
    {
        wfvae_latent_writer *writer = used();
        detail::expect_ok(wfvae_latent_writer_write(writer, latents.address(), latents_.count(latents, "write")));
    }

    /// Completes the file. n_frames: frames of the clip, StreamInfo.frames_in.
    void finish(std::uint64_t n_frames) { detail::expect_ok(wfvae_latent_writer_finish(used(), n_frames)); }

    /// The text of the writer's last error, whichever thread it happened in; empty after none. Exceptions have it too.
    [[nodiscard]] std::string last_error() const { return wfvae_latent_writer_last_error(used()); }

    /// The C handle, which stays owned by this object; null if it is empty.
    [[nodiscard]] wfvae_latent_writer *get() const noexcept { return handle_.get(); }

private:
    struct Destroy {
        void operator()(wfvae_latent_writer *writer) const noexcept { wfvae_latent_writer_destroy(writer); }
    };

    wfvae_latent_writer *used() const { return detail::used(handle_, "wfvae::LatentWriter"); }

    detail::Latents latents_;
    std::unique_ptr<wfvae_latent_writer, Destroy> handle_;
};

/// What a latent file holds: wfvae_latent_file_info, which says more about each field. A copy, so that it may outlive
/// the reader.
struct LatentFileInfo {
    std::uint64_t model_identity = 0;
    std::uint64_t encoder_identity = 0;
    std::uint64_t decoder_identity = 0;
    std::uint64_t n_frames = 0;
    std::uint64_t n_latents = 0;
    std::uint64_t seed = 0;
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    bool padded = false;
    std::uint32_t spatial_compression = 0;
    std::uint32_t temporal_compression = 0;
    std::uint32_t latent_channels = 0;
    std::uint32_t latent_width = 0;
    std::uint32_t latent_height = 0;
    Posterior posterior = Posterior::mean;
    LatentType latent_type = LatentType::f32;
    bool scaled = false;
    std::uint32_t fps_num = 0;
    std::uint32_t fps_den = 0;
    /// The model's scale and shift, latent_channels values each; empty if the model has no usable lists.
    std::vector<float> scale{};
    std::vector<float> shift{};
    std::string generator{};
    /// Do not trust its contents.
    std::string note{};

    /// The options of a stream that decodes the file's latents as LatentReader::read<float>() gives them.
    [[nodiscard]] StreamOptions decoding() const
    {
        StreamOptions options;
        options.width = width;
        options.height = height;
        options.directions = Direction::decode;
        options.padding = padded;
        options.scaled = scaled;
        return options;
    }
};

/// A latent file that is open for reading.
///
/// Ownership: move-only. Thread-safety: safe; several threads may use it at once. Errors: all calls throw Error.
class LatentReader {
public:
    /// All latents from the first one asked for.
    static constexpr std::size_t all = SIZE_MAX;

    /// Empty.
    LatentReader() noexcept = default;

    /// Opens a latent file and checks all of it except the latents' values. path: UTF-8.
    explicit LatentReader(const std::string &path)
    {
        wfvae_latent_reader *reader = nullptr;
        detail::expect_ok(wfvae_latent_reader_open(detail::c_text(path, "the latent file's path"), &reader));
        handle_.reset(reader);
    }

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    /// What the file holds.
    [[nodiscard]] LatentFileInfo info() const
    {
        const wfvae_latent_file_info c = c_info();
        LatentFileInfo info;
        info.model_identity = c.model_identity;
        info.encoder_identity = c.encoder_identity;
        info.decoder_identity = c.decoder_identity;
        info.n_frames = c.n_frames;
        info.n_latents = c.n_latents;
        info.seed = c.seed;
        info.width = c.width;
        info.height = c.height;
        info.padded = c.padded != 0;
        info.spatial_compression = c.spatial_compression;
        info.temporal_compression = c.temporal_compression;
        info.latent_channels = c.latent_channels;
        info.latent_width = c.latent_width;
        info.latent_height = c.latent_height;
        info.posterior = static_cast<Posterior>(c.posterior);
        info.latent_type = static_cast<LatentType>(c.latent_type);
        info.scaled = c.scaled != 0;
        info.fps_num = c.fps_num;
        info.fps_den = c.fps_den;
        if (c.scale && c.shift) {
            info.scale.assign(c.scale, c.scale + c.latent_channels);
            info.shift.assign(c.shift, c.shift + c.latent_channels);
        }
        info.generator = c.generator;
        info.note = c.note;
        return info;
    }

    /// Throws Error with StatusCode::latent_file unless the model's encoder made the latents.
    void check_model(const Model &model) const
    {
        const wfvae_latent_reader *reader = used();
        detail::expect_ok(wfvae_latent_reader_check_model(reader, model.used()));
    }

    /// Throws Error with StatusCode::latent_file unless the stream can decode the latents.
    void check_stream(const Stream &stream) const
    {
        const wfvae_latent_reader *reader = used();
        detail::expect_ok(wfvae_latent_reader_check_stream(reader, stream.used().handle));
    }

    /// Reads latents for decoding, from index start on, as many as memory holds; its elements are float, or of 2 bytes
    /// for float16. Of moments it reads the means.
    void read(std::uint64_t start, Buffer latents) const { read_to(wfvae_latent_reader_read, 1, start, latents); }

    /// The same, which returns the latents: T is float, or std::uint16_t for float16.
    template <class T = float>
    [[nodiscard]] std::vector<T> read(std::uint64_t start = 0, std::size_t n_latents = all) const
    {
        return read_vector<T>(wfvae_latent_reader_read, 1, start, n_latents);
    }

    /// Reads both moments from a file of Posterior::moments, as read() does; each latent has twice the channels.
    void read_moments(std::uint64_t start, Buffer latents) const
    {
        read_to(wfvae_latent_reader_read_moments, 2, start, latents);
    }

    template <class T = float>
    [[nodiscard]] std::vector<T> read_moments(std::uint64_t start = 0, std::size_t n_latents = all) const
    {
        return read_vector<T>(wfvae_latent_reader_read_moments, 2, start, n_latents);
    }

    /// The C handle, which stays owned by this object; null if it is empty.
    [[nodiscard]] wfvae_latent_reader *get() const noexcept { return handle_.get(); }

private:
    using Read = wfvae_status (*)(const wfvae_latent_reader *, std::uint64_t, std::size_t, std::uint32_t, void *);

    struct Close {
        void operator()(wfvae_latent_reader *reader) const noexcept { wfvae_latent_reader_close(reader); }
    };

    [[nodiscard]] wfvae_latent_file_info c_info() const
    {
        auto info = detail::sized<wfvae_latent_file_info>();
        detail::expect_ok(wfvae_latent_reader_get_info(used(), &info));
        return info;
    }

    /// parts: 1 for means or samples, 2 for both moments.
    static detail::Latents shape(const wfvae_latent_file_info &info, std::uint32_t parts,
                                 detail::Element element) noexcept
    {
        detail::Latents latents{0, element == detail::Element::two_bytes ? LatentType::f16 : LatentType::f32};
        latents.bytes = std::uint64_t{parts} * info.latent_channels * info.latent_height * info.latent_width;
        latents.bytes *= latents.element();
        return latents;
    }

    void read_to(Read call, std::uint32_t parts, std::uint64_t start, Buffer memory) const
    {
        const wfvae_latent_file_info info = c_info();
        if (memory.element() == detail::Element::byte)
            detail::fail(StatusCode::invalid_argument, "read: bytes do not say whether they shall be float or float16");
        const detail::Latents latents = shape(info, parts, memory.element());
        std::size_t n = latents.count(memory, "read");
        auto *to = static_cast<char *>(memory.address());
        // C takes so many per call. It refuses none at all, which is an error here too.
        do {
            const std::size_t now = n < detail::most_per_call ? n : detail::most_per_call;
            detail::expect_ok(call(used(), start, now, detail::value(latents.type), to));
            start += now;
            to += now * latents.bytes;
            n -= now;
        } while (n > 0);
    }

    template <class T>
    std::vector<T> read_vector(Read call, std::uint32_t parts, std::uint64_t start, std::size_t n) const
    {
        const wfvae_latent_file_info info = c_info();
        const std::uint64_t rest = start < info.n_latents ? info.n_latents - start : 0;
        if (rest == 0 || (n != all && n > rest))
            detail::fail(StatusCode::invalid_argument, "read: " + (n == all ? "all" : std::to_string(n)) +
                                                           " latents from latent " + std::to_string(start) +
                                                           " on, of a file with " + std::to_string(info.n_latents));
        const std::size_t count = n == all ? static_cast<std::size_t>(rest) : n;
        std::vector<T> latents(count * shape(info, parts, detail::latent_element<T>()).values());
        read_to(call, parts, start, latents);
        return latents;
    }

    wfvae_latent_reader *used() const { return detail::used(handle_, "wfvae::LatentReader"); }

    std::unique_ptr<wfvae_latent_reader, Close> handle_;
};

} // namespace wfvae

#endif // WFVAE_HPP
