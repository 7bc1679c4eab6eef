// Reconstructs frames as an editor or an engine holds them: BGRA, the lowest row first, with alpha, one at a time.
//
//     bgra WIDTH HEIGHT [MODEL] < in.raw > out.raw
//
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <wfvae.hpp>

#include "system.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// What a plug-in keeps for a clip: each frame that comes in may give some that go out.
class Reconstruction {
public:
    Reconstruction(const wfvae::Model &model, std::uint32_t width, std::uint32_t height)
        : width_(width), height_(height), stream_(model, options(width, height)), latent_(stream_.encoded_values())
    {
        // One latent gives at most one group of frames, and the flush the frames that were held back.
        const wfvae::ModelInfo info = model.info();
        const std::size_t most = std::max(info.temporal_compression, info.decode_delay);
        pixels_.resize(most * frame_bytes());
        for (std::size_t i = 0; i < most; i++)
            frames_.push_back(
                wfvae::Frame(wfvae::PixelFormat::bgra8, &pixels_[i * frame_bytes()], width, height).bottom_up());
    }

    std::size_t frame_bytes() const { return wfvae::frame_bytes(wfvae::PixelFormat::bgra8, width_, height_); }
    const std::vector<std::uint8_t> &pixels() const { return pixels_; }

    /// Takes a frame and returns how many are ready in pixels().
    std::size_t push(const std::vector<std::uint8_t> &pixels)
    {
        const wfvae::ConstFrame frame(wfvae::PixelFormat::bgra8, pixels, width_, height_);
        return decode(stream_.encode(frame.bottom_up(), latent_));
    }

    /// The clip's end, in two steps: the last group, then what was held back.
    std::size_t finish_encoding()
    {
        stream_.set_frame_count(stream_.info().frames_in);
        return decode(stream_.encode_flush(latent_));
    }
    std::size_t finish_decoding() { return stream_.decode_flush(frames_); }

private:
    static wfvae::StreamOptions options(std::uint32_t width, std::uint32_t height)
    {
        wfvae::StreamOptions options{width, height};
        options.padding = true;
        options.alpha = true;
        return options;
    }

    std::size_t decode(std::size_t latents) { return latents == 0 ? 0 : stream_.decode(latent_, frames_); }

    std::uint32_t width_, height_;
    wfvae::Stream stream_;
    std::vector<float> latent_;
    std::vector<std::uint8_t> pixels_;
    std::vector<wfvae::Frame> frames_;
};

void reconstruct(const wfvae::Model &model, std::uint32_t width, std::uint32_t height)
{
    Reconstruction clip(model, width, height);
    std::vector<std::uint8_t> in(clip.frame_bytes());
    const auto write = [&](std::size_t frames) {
        if (std::fwrite(clip.pixels().data(), in.size(), frames, stdout) != frames)
            throw std::runtime_error("the output cannot be written");
    };

    std::size_t size;
    while ((size = std::fread(in.data(), 1, in.size(), stdin)) == in.size())
        write(clip.push(in));
    if (std::ferror(stdin))
        throw std::runtime_error("the input cannot be read");
    write(clip.finish_encoding());
    write(clip.finish_decoding());
    if (std::fflush(stdout) != 0)
        throw std::runtime_error("the output cannot be written");
    if (size != 0)
        throw std::runtime_error("the input ends inside a frame");
}

/// A width or height; the library checks the range.
std::uint32_t number(const char *text)
{
    char *end = nullptr;
    const unsigned long long value = std::strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value > UINT32_MAX)
        throw std::runtime_error(std::string(text) + " is not a number of pixels");
    return static_cast<std::uint32_t>(value);
}

} // namespace

int main(int argc, char **argv)
try {
    system_start(&argc, &argv);
    const bool help = argc == 2 && std::string(argv[1]) == "-h";
    if (argc < 3 || argc > 4) {
        std::fprintf(help ? stdout : stderr, "usage: bgra WIDTH HEIGHT [MODEL] < in.raw > out.raw\n"
                                             "MODEL: a checkpoint; without it, the built-in model\n");
        return help ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    const std::uint32_t width = number(argv[1]), height = number(argv[2]);
    const wfvae::Model model = argc == 4 ? wfvae::Model(argv[3]) : wfvae::Model::built_in();
    reconstruct(model, width, height);
    return EXIT_SUCCESS;
} catch (const std::exception &error) { // wfvae::Error is one
    std::fprintf(stderr, "bgra: %s\n", error.what());
    return EXIT_FAILURE;
}
