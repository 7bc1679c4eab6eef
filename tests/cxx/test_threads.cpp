// SPDX-License-Identifier: MIT OR Apache-2.0
// Cancelling, progress, log functions, and several threads.
#include "check.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

using namespace wfvae;

namespace {

constexpr std::uint32_t width = 64, height = 48;

/// One frame, many times: a call that takes longer than any test waits.
struct Long {
    std::vector<std::uint8_t> pixels = test::video(1, width, height);
    ConstClip clip{ConstFrame(PixelFormat::rgb8, pixels, width, height), 60001, 0};
    std::vector<float> latents;

    explicit Long(const Stream &stream) : latents(stream.encode_count(clip.n_frames()) * stream.encoded_values()) {}

    /// The status that the call ends with.
    StatusCode encode(Stream &stream)
    {
        try {
            stream.encode(clip, latents);
            return StatusCode::ok;
        } catch (const Error &error) {
            return error.status();
        }
    }
};

void wait_for(const CancelToken &token, std::uint64_t steps)
{
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (token.progress().steps_done < steps) {
        if (std::chrono::steady_clock::now() > end) {
            test::result("a call that never began", false);
            return;
        }
        std::this_thread::yield();
    }
}

void cancel()
{
    const Model model = Model::built_in();
    Stream stream(model, {width, height});
    Long call(stream);
    const CancelToken token = stream.cancel_token();
    const Progress idle = token.progress();
    test::result("no progress without a call", idle.steps_done == 0 && idle.steps_total == 0);

    StatusCode status = StatusCode::ok;
    std::thread worker([&] { status = call.encode(stream); });
    wait_for(token, 2);
    const Progress running = token.progress();
    test::result("progress of a call", running.steps_done >= 2 && running.steps_total > running.steps_done &&
                                           stream.progress().steps_total == running.steps_total);
    test::throws("a second thread", StatusCode::busy, "another thread", [&] { (void)stream.info(); });
    const auto start = std::chrono::steady_clock::now();
    test::result("cancel finds the stream", token.cancel());
    worker.join();
    const auto took = std::chrono::steady_clock::now() - start;
    test::result("cancelled in another thread", status == StatusCode::cancelled && took < std::chrono::seconds(1));
    test::result("the stream keeps the text", stream.last_error().find("cancel") != std::string::npos);
    test::throws("after a cancelled call", StatusCode::needs_reset, "reset",
                 [&] { stream.encode(call.clip, call.latents); });

    stream.reset();
    stream.cancel();
    test::throws("cancelled before the call", StatusCode::cancelled, "cancel",
                 [&] { stream.encode(call.clip, call.latents); });
    stream.reset();
    const std::vector<std::uint8_t> video = test::video(5, width, height);
    const std::vector<float> again = stream.encode_clip(ConstClip(PixelFormat::rgb8, video, width, height));
    test::result("after reset it works", again.size() == 2 * stream.encoded_values());
}

void tokens()
{
    CancelToken token;
    test::result("a token of no stream", !token.cancel() && token.progress().steps_total == 0);
    Stream other;
    {
        const Model model = Model::built_in();
        Stream stream(model, {width, height});
        token = stream.cancel_token();
        other = std::move(stream);
    }
    test::result("a token follows a moved stream", token.cancel());
    test::throws("and cancels it", StatusCode::cancelled, "cancel", [&] {
        (void)other.encode_clip(
            ConstFrameSpan(ConstFrame(PixelFormat::rgb8, test::video(1, width, height), width, height)));
    });
    other = Stream();
    test::result("a token outlives its stream", !token.cancel() && token.progress().steps_total == 0);
    test::result("the token of no stream", !Stream().cancel_token().cancel());
}

/// Streams come and go while other threads cancel them and ask for progress.
void races()
{
    const Model model = Model::built_in();
    const std::vector<std::uint8_t> pixels = test::video(5, 16, 16);
    const ConstClip clip(PixelFormat::rgb8, pixels, 16, 16);
    std::mutex mutex;
    CancelToken shared;
    std::atomic<bool> stop{false};
    std::vector<std::thread> others;
    for (int i = 0; i < 2; i++)
        others.emplace_back([&] {
            while (!stop) {
                CancelToken token;
                {
                    const std::lock_guard<std::mutex> lock(mutex);
                    token = shared;
                }
                (void)token.progress();
                (void)token.cancel();
                std::this_thread::yield();
            }
        });
    int whole = 0, cancelled = 0, others_failed = 0;
    for (int i = 0; i < 200 || (cancelled == 0 && i < 20000); i++) {
        Stream stream(model, {16, 16});
        // The others keep the token of the stream before every second one.
        if (i % 2 == 0) {
            const std::lock_guard<std::mutex> lock(mutex);
            shared = stream.cancel_token();
        }
        Stream moved = std::move(stream);
        try {
            (void)moved.encode_clip(clip);
            whole++;
        } catch (const Error &error) {
            (error.status() == StatusCode::cancelled ? cancelled : others_failed)++;
        }
    }
    stop = true;
    for (std::thread &thread : others)
        thread.join();
    std::printf("   %d whole, %d cancelled\n", whole, cancelled);
    test::result("cancels of streams that come and go", others_failed == 0 && whole > 0 && cancelled > 0);
}

void two_threads()
{
    const Model model = Model::built_in();
    const std::vector<std::uint8_t> pixels = test::video(9, 40, 24);
    const ConstClip clip(PixelFormat::rgb8, pixels, 40, 24);
    const auto reconstruct = [&] {
        Stream stream(model, {40, 24});
        return stream.decode_clip(stream.encode_clip(clip), 9);
    };
    const std::vector<std::uint8_t> alone = reconstruct();
    std::vector<std::uint8_t> results[2];
    std::thread other([&] { results[0] = reconstruct(); });
    results[1] = reconstruct();
    other.join();
    test::result("two threads", alone.size() == pixels.size() && results[0] == alone && results[1] == alone);

    // An error's text is the thread's own.
    std::string text;
    std::thread fails([&] {
        try {
            Stream(model, {7, 8});
        } catch (const Error &error) {
            text = error.what();
        }
    });
    test::throws("an error in this thread", StatusCode::invalid_size, "9", [&] { Stream(model, {9, 8}); });
    fails.join();
    test::result("and another one in that", text.find('7') != std::string::npos);
}

void logs()
{
    // The function is copied, and lives as long as the last stream: under ASan, a use after that would show.
    auto messages = std::make_shared<std::vector<std::string>>();
    auto mutex = std::make_shared<std::mutex>();
    Stream stream;
    {
        ModelOptions options;
        options.log_level = LogLevel::trace;
        options.log = [messages, mutex](LogLevel level, std::string_view message) {
            const std::lock_guard<std::mutex> lock(*mutex);
            if (level >= LogLevel::error && level <= LogLevel::trace)
                messages->emplace_back(message);
            throw std::string("exceptions must not reach the library");
        };
        Model model = Model::built_in(options);
        options.log = nullptr;
        const Model moved = std::move(model);
        stream = Stream(moved, {32, 24});
    }
    const bool named = std::any_of(messages->begin(), messages->end(), [](const std::string &message) {
        return message.find("built-in model") != std::string::npos;
    });
    test::result("messages", named);
    Stream fork = stream.fork();
    stream = Stream();
    const std::size_t before = messages->size();
    const std::vector<std::uint8_t> pixels = test::video(5, 32, 24);
    (void)fork.decode_clip(fork.encode_clip(ConstClip(PixelFormat::rgb8, pixels, 32, 24)));
    test::result("the function outlives its model", messages.use_count() == 2 && messages->size() >= before);
    fork = Stream();
    test::result("but not the last stream", messages.use_count() == 1);
}

} // namespace

void test::threads()
{
    run("cancel", cancel);
    run("tokens", tokens);
    run("races", races);
    run("two threads", two_threads);
    run("logs", logs);
}
