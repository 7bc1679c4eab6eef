// SPDX-License-Identifier: MIT OR Apache-2.0
// What the C++ tests share: one line per result, counts for the end, and test data.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <wfvae.hpp>

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

namespace test {

inline int passed = 0, failed = 0;
inline std::string golden; // the folder of the golden models
inline std::string folder; // a temporary one

inline void result(const std::string &name, bool ok)
{
    std::printf("%s %s\n", ok ? "ok" : "FAILED", name.c_str());
    (ok ? passed : failed)++;
}

/// Runs one test. An exception that it lets through is a failure.
template <class Test>
void run(const char *name, Test test)
{
    try {
        test();
    } catch (const std::exception &error) {
        std::printf("   %s\n", error.what());
        result(std::string(name) + ": no exception", false);
    }
}

/// The call must throw wfvae::Error with this status, and a text that contains `text`.
template <class Call>
void throws(const std::string &name, wfvae::StatusCode status, const std::string &text, Call call)
{
    try {
        call();
        std::printf("   nothing was thrown\n");
    } catch (const wfvae::Error &error) {
        if (error.status() == status && std::string(error.what()).find(text) != std::string::npos) {
            result(name, true);
            return;
        }
        std::printf("   %d: %s\n", static_cast<int>(error.status()), error.what());
    }
    result(name, false);
}

/// RGB8 frames without gaps, [n, height, width, 3].
inline std::vector<std::uint8_t> video(std::size_t n, std::uint32_t width, std::uint32_t height)
{
    std::vector<std::uint8_t> pixels(n * height * width * 3);
    for (std::size_t i = 0; i < pixels.size(); i++)
        pixels[i] = static_cast<std::uint8_t>((i * 7 + i / (3 * width) * 5 + i * i % 31) % 251);
    return pixels;
}

void views();
void streams();
void threads();

} // namespace test

#endif
