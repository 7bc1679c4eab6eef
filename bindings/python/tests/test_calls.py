# SPDX-License-Identifier: MIT OR Apache-2.0
"""Calls and what happens around them: Ctrl-C, threads, forks, the interpreter's end, logs, the garbage collector."""

import copy
import ctypes
import gc
import importlib.metadata
import logging
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

import wfvae
from wfvae import _abi, _calls, _runtime

TIME = 60
WINDOWS = sys.platform == "win32"
# Signals that end nothing if a test has a handler for them.
OTHER = signal.SIGBREAK if WINDOWS else signal.SIGUSR1
ALARM = signal.SIGBREAK if WINDOWS else signal.SIGALRM


@pytest.fixture(scope="module")
def long_video():
    return np.zeros((401, 128, 128, 3), np.uint8)


def send(number):
    """Sends a signal to this process. On Windows os.kill() would end it; there a thread raises signals, as the console's does on Ctrl-C."""
    if WINDOWS:
        signal.raise_signal(number)
    else:
        os.kill(os.getpid(), number)


def send_alarm_after(delay):
    if WINDOWS:
        threading.Timer(delay, send, (ALARM,)).start()
    else:
        signal.setitimer(signal.ITIMER_REAL, delay)


def interrupt_after(delay):
    """Sends SIGINT, and tells when."""
    times = []

    def interrupt():
        times.append(time.monotonic())
        send(signal.SIGINT)

    threading.Timer(delay, interrupt).start()
    return times


def test_ctrl_c_ends_a_long_call(model, long_video, video):
    latencies = []
    with model.stream(128, 128) as stream:
        for delay in 0.05, 0.1, 0.2:
            stream.reset()
            times = interrupt_after(delay)
            with pytest.raises(KeyboardInterrupt):
                stream.encode(long_video)
            latencies.append(time.monotonic() - times[0])
            with pytest.raises((wfvae.CancelledError, wfvae.NeedsResetError)):
                stream.encode(long_video[:1])
            with pytest.raises((wfvae.CancelledError, wfvae.NeedsResetError)):
                stream.encode(long_video[:1])
        stream.reset()
        assert len(stream.encode(long_video[:5])) == 2
    print("latencies", latencies)
    # The best of three: other programs may keep both CPUs busy.
    assert min(latencies) < 0.05 + max(_calls.WAIT_S, 0)
    times = interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        model.encode(long_video)
    assert time.monotonic() - times[0] < 1
    model.encode(video)


def test_signal_handlers_that_do_not_raise_do_not_end_calls(model, long_video):
    seen = []
    before = signal.signal(OTHER, lambda *_: seen.append(time.monotonic()))
    try:
        threading.Timer(0.05, send, (OTHER,)).start()
        z = model.encode(long_video[:81])
        ended = time.monotonic()
    finally:
        signal.signal(OTHER, before)
    assert len(z) == 21 and len(seen) == 1 and seen[0] < ended


def test_interrupts_at_any_moment(model):
    """A signal at a random moment of each round: none is lost, none hangs, no result is wrong."""
    frame = np.full((1, 16, 16, 3), 9, np.uint8)
    delays = np.random.default_rng(7).uniform(1e-5, 4e-3, 200)

    def handler(*_):
        raise KeyboardInterrupt

    before = signal.signal(ALARM, handler)
    # A signal while the collector calls a destructor would be lost: that is Python's.
    gc.collect()
    gc.disable()
    try:
        with model.stream(16, 16) as stream:
            expected = stream.encode(frame)
            done = 0
            for delay in delays:
                with pytest.raises(KeyboardInterrupt):
                    send_alarm_after(delay)
                    end = time.monotonic() + TIME
                    while time.monotonic() < end:
                        stream.reset()
                        assert np.array_equal(stream.encode(frame), expected)
                        done += 1
                stream.reset()
                assert np.array_equal(stream.encode(frame), expected)
            assert done > 3
    finally:
        gc.enable()
        signal.signal(ALARM, before)
    # Workers are used again.
    assert sum(t.name == "wfvae" for t in threading.enumerate()) < 10


def test_an_interrupt_at_every_step(model):
    """Python calls signal handlers when a function is entered and when one of C has returned. None of them leaves a handle in use."""
    frame = np.zeros((1, 16, 16, 3), np.uint8)
    package = os.path.dirname(wfvae.__file__)
    left = 0

    def profile(of, event, _):
        nonlocal left
        if event in ("call", "c_return") and of.f_code.co_filename.startswith(package):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    with model.stream(16, 16) as stream:
        stream.encode(frame)
        # So that it runs in this thread.
        stream._paces["wfvae_encode_frames"] = 1e-4
        used = []

        def uses():
            _ = stream.info
            stream.encode(frame)
            used.append(stream.fork())
            used[0].close()

        for step in range(1, 1000):
            stream.reset()
            used.clear()
            left = step
            try:
                sys.setprofile(profile)
                uses()
            except KeyboardInterrupt:
                pass
            finally:
                sys.setprofile(None)
            assert stream._handle.users == 0
            stream.reset()
            assert len(stream.encode(frame)) == 1
            for other in used:
                other.close()
                assert other._handle.pointer is None and other._handle.users == 0 and not other._handle._waiting
            if left > 0:
                break
        assert 50 < step < 999


def test_ctrl_c_while_a_model_is_opened(monkeypatch):
    """Opening cannot be cancelled: the interrupt goes on without it, and the model is closed when it is there."""
    real, closed = _abi.library.model_open, []

    def slow(*arguments):
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(_abi.library, "model_open", slow)
    monkeypatch.setattr(_abi.library, "model_close", lambda pointer, close=_abi.library.model_close: (closed.append(pointer), close(pointer)))
    times = interrupt_after(0.1)
    with pytest.raises(KeyboardInterrupt):
        wfvae.Model()
    assert time.monotonic() - times[0] < 0.15
    monkeypatch.setattr(_abi.library, "model_open", real)
    # These wait for the one before.
    threads = [threading.Thread(target=lambda: wfvae.Model().close()) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIME)
    gc.collect()
    assert len(closed) == 4


def test_an_interrupt_during_a_short_call(model):
    """It runs in the main thread itself: the interrupt comes right after it, and the lost result is not forgotten."""
    frame = np.zeros((1, 16, 16, 3), np.uint8)
    with model.stream(16, 16) as stream:
        stream._paces["wfvae_encode_frames"] = 1e-4
        real = _abi.library.encode_frames

        def interrupted(*arguments):
            signal.raise_signal(signal.SIGINT)
            return real(*arguments)

        interrupted.__name__ = real.__name__
        _abi.library.encode_frames = interrupted
        try:
            with pytest.raises(KeyboardInterrupt):
                stream.encode(frame)
        finally:
            _abi.library.encode_frames = real
        with pytest.raises((wfvae.CancelledError, wfvae.NeedsResetError)):
            stream.encode(frame)
        stream.reset()
        assert len(stream.encode(frame)) == 1


def test_without_threads(model, video, latents, monkeypatch):
    """As in exit handlers: Python 3.12 starts no threads there."""

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(_calls._process, "idle", [])
    assert np.array_equal(model.encode(video), latents)


def test_cancel_and_progress_from_another_thread(model, long_video):
    with model.stream(128, 128) as stream:
        seen = []

        def watch():
            end = time.monotonic() + TIME
            while time.monotonic() < end:
                seen.append(stream.progress)
                if seen[-1].done > 20:
                    break
                time.sleep(0.001)
            stream.cancel()

        thread = threading.Thread(target=watch)
        thread.start()
        with pytest.raises(wfvae.CancelledError):
            stream.encode(long_video)
        thread.join()
        assert seen[-1].done > 20 and seen[-1].total > 100
        assert all(a.done <= b.done for a, b in zip(seen, seen[1:]))
        assert stream.info.needs_reset
        stream.reset()
        stream.cancel()
        with pytest.raises(wfvae.CancelledError):
            stream.encode(long_video[:1])


def test_one_thread_at_a_time(model, long_video):
    with model.stream(128, 128) as stream:
        found = []

        def work():
            try:
                stream.encode(long_video)
            except wfvae.Error as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        while stream.progress == (0, 0):
            time.sleep(0.001)
        with pytest.raises(wfvae.BusyError):
            stream.encode(long_video[:1])
        with pytest.raises(wfvae.BusyError):
            _ = stream.info
        # Closing ends the other thread's call.
        stream.close()
        thread.join(TIME)
        assert not thread.is_alive() and isinstance(found[0], wfvae.CancelledError)
        assert stream._handle.pointer is None and stream._handle.users == 0


def test_closing_while_others_call(model):
    """Many threads use and close the same stream; each gets a result or an error."""
    frame = np.zeros((1, 16, 16, 3), np.uint8)
    for _ in range(20):
        stream = model.stream(16, 16)
        wrong = []
        start = threading.Barrier(4)

        def work(close):
            start.wait()
            for _ in range(20):
                try:
                    if close:
                        time.sleep(0.001)
                        stream.close()
                    stream.encode(frame)
                    _ = stream.progress, stream.info
                except (wfvae.StateError, wfvae.CancelledError):
                    pass
                except BaseException as error:
                    wrong.append(error)

        threads = [threading.Thread(target=work, args=(i == 0,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIME)
        assert not wrong and stream._handle.users == 0


def test_the_gil_is_free(model, long_video):
    """Python runs in other threads during a call."""
    count, end = 0, threading.Event()

    def work():
        model.encode(long_video[:101])
        end.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not end.is_set():
        count += 1
        time.sleep(0.001)
    thread.join()
    assert count > 20


def test_arrays_live_as_long_as_the_call(model, video, latents):
    """Nobody else holds the memory."""
    for _ in range(20):
        assert np.array_equal(model.encode(video.copy()), latents)
        gc.collect()


def test_streams_outlive_their_model(video, latents):
    stream = wfvae.Model(threads=1).stream(48, 32, directions="encode")
    gc.collect()
    assert len(stream.encode(video)) == 5
    references = sys.getrefcount(video)
    stream.reset()
    stream.encode(video)
    time.sleep(0.01)
    assert sys.getrefcount(video) == references


@pytest.mark.skipif(WINDOWS, reason="it reads /proc")
def test_no_memory_is_lost(model, video):
    def resident():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def work():
        with model.stream(48, 32) as stream:
            stream.snapshot()
            stream.fork()
            stream.decode(stream.encode(video))

    for _ in range(8):
        work()
    before = resident()
    for _ in range(20):
        work()
    # Each stream and each fork has 4 MB.
    assert resident() - before < 30e6


def child(action, queue):
    try:
        queue.put(action())
    except BaseException as error:
        traceback.print_exc()
        queue.put(error)


def run_in(method, action):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=child, args=(action, queue))
    process.start()
    found = queue.get(timeout=TIME)
    process.join(TIME)
    assert process.exitcode == 0
    return found


def encode_in_a_new_model():
    with wfvae.Model(threads=1) as model:
        return model.encode(np.full((5, 16, 16, 3), 99, np.uint8))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_other_processes(model, method):
    expected = encode_in_a_new_model()
    found = run_in(method, encode_in_a_new_model)
    assert np.array_equal(found, expected)


@pytest.mark.skipif(WINDOWS, reason="it has no fork")
def test_what_a_forked_child_inherits(model, latents, video, tmp_path):
    wfvae.save(tmp_path / "a.safetensors", latents, model)
    f = wfvae.open(tmp_path / "a.safetensors")
    stream = model.stream(48, 32)
    snapshot = stream.snapshot()

    def inherited():
        for use in (lambda: stream.encode(video), lambda: model.encode(video), stream.reset, lambda: stream.info, stream.cancel,
                    lambda: model.stream(8, 8), lambda: stream.restore(snapshot), stream.fork):  # fmt: skip
            try:
                use()
                return "no error"
            except wfvae.ForkedError as error:
                assert error.status == 106 and "in this process" in error.text, error.text
        # These work.
        assert model.info.latent_channels == 16 and model.latents_for_frames(5) == 2
        with wfvae.Model(threads=1).stream(48, 32) as own:
            own.restore(snapshot)
        stream.close()
        model_copy = bytes(snapshot)
        return f[:], len(model_copy)

    # Calls that the parent did not wait for never end in the child.
    late = _calls._Job(f._handle, print, (), None)
    late._done = threading.Lock()
    late._done.acquire()
    handles = f._handle, snapshot._handle, stream._handle
    for handle in handles:
        handle.late.add(late)
    found = run_in("fork", inherited)
    for handle in handles:
        handle.late.clear()
    assert np.array_equal(found[0], latents)
    # The parent goes on.
    assert np.array_equal(stream.encode(video), latents)


def test_handles_are_not_pickled(model, latents, tmp_path):
    wfvae.save(tmp_path / "a.safetensors", latents, model)
    for of, text in (model, "a model .* path"), (model.stream(48, 32), r"a stream .* snapshot\(\)"), (wfvae.open(tmp_path / "a.safetensors"), "a latent file .* path"):
        for use in pickle.dumps, copy.deepcopy:
            with pytest.raises(TypeError, match=text):
                use(of)


def script(text, *arguments, expected=0):
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    result = subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=TIME, env=environment)
    assert result.returncode == expected, f"{result.returncode}: {result.stderr}"
    return result.stdout + result.stderr


ENDS = {
    "nothing is closed": "",
    "a call is running in a daemon thread": """
import threading, time
def work():
    try: stream.encode(np.zeros((9999, 128, 128, 3), np.uint8))
    except wfvae.CancelledError: pass
threading.Thread(target=work, daemon=True).start()
while stream.progress == (0, 0): time.sleep(0.001)
""",
    "a model is being opened in a daemon thread": """
import threading, time
def work():
    try: [wfvae.Model(log_level=5).stream(64, 64) for _ in range(99)]
    except wfvae.StateError: pass
threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
""",
    "sys.exit": "import sys; stream.encode(np.zeros((5, 128, 128, 3), np.uint8)); sys.exit(0)",
    "os.fork": """
import os, sys
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
    "in a cycle": "class A: pass\na = A(); a.a = a; a.s = stream; a.m = model; del stream, model",
}


@pytest.mark.parametrize("name", [name for name in ENDS if name != "os.fork" or not WINDOWS])
def test_the_interpreters_end(name):
    start = time.monotonic()
    output = script(
        "import logging, numpy as np, wfvae\n"
        "import os; logging.basicConfig(level=1, filename=os.devnull)\n"
        "model = wfvae.Model(threads=2)\nstream = model.stream(128, 128)\nstream.encode(np.zeros((1, 128, 128, 3), np.uint8))\n" + ENDS[name]
    )
    assert time.monotonic() - start < 20 and "Traceback" not in output and "Fatal" not in output, output


@pytest.mark.skipif(WINDOWS, reason="Ctrl-C there is of a console, and is sent to all of its programs")
def test_ctrl_c_ends_a_program():
    process = subprocess.Popen(
        [sys.executable, "-c", "import numpy as np, wfvae; m = wfvae.Model(); print('ready', flush=True); m.encode(np.zeros((9999, 128, 128, 3), np.uint8))"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIME)
    assert "KeyboardInterrupt" in errors and process.returncode in (-signal.SIGINT, 130)


def test_logging(caplog):
    with caplog.at_level(logging.DEBUG, logger="wfvae"):
        with wfvae.Model() as model, model.stream(16, 16):
            pass
    assert any(r.name == "wfvae" for r in caplog.records)
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="wfvae"), wfvae.Model(log_level=0) as model, model.stream(16, 16):
        pass
    assert not caplog.records


def test_finding_onnxruntime(tmp_path, monkeypatch):
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    # The rules of both systems, on either.
    monkeypatch.setattr(sys, "platform", "linux")
    assert _runtime.in_package() is None
    for name in "libonnxruntime_providers_shared.so", "libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime.so.bak":
        (package / "capi" / name).touch()
    assert _runtime.in_package() == package / "capi" / "libonnxruntime.so.1.31.1"
    for name in "WFVAE_ONNXRUNTIME", "ORT_DYLIB_PATH":
        monkeypatch.delenv(name, raising=False)
    assert _runtime.runtime_path(None) == os.fsencode(package / "capi" / "libonnxruntime.so.1.31.1")
    assert _runtime.runtime_path("/a") == b"/a"
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        assert _runtime.in_package() is None
        for name in "onnxruntime.dll", "onnxruntime_providers_shared.dll":
            (package / "capi" / name).touch()
        assert _runtime.in_package() == package / "capi" / "onnxruntime.dll"
        windows.delenv("WFVAE_LIBRARY", raising=False)
        assert _abi.library_path().endswith("wfvae.dll")
        assert _abi.path_bytes("\u00e4") == b"\xc3\xa4"
        with pytest.raises(ValueError):
            _abi.path_bytes("\udc80")
    assert _runtime.in_package() == package / "capi" / "libonnxruntime.so.1.31.1"
    monkeypatch.setenv("ORT_DYLIB_PATH", "/b")
    assert _runtime.runtime_path(None) is None


def test_waits_of_a_limited_length(model, video, monkeypatch):
    """As on Windows, where nothing interrupts a wait for a lock."""
    with model.stream(48, 32) as stream:
        whole = stream.encode(video)
        stream.reset()
        monkeypatch.setattr(_calls, "WAIT_S", 0.0)
        assert np.array_equal(stream.encode(video), whole)


def test_it_finds_onnxruntime_by_itself():
    environment = {k: v for k, v in os.environ.items() if k not in ("WFVAE_ONNXRUNTIME", "ORT_DYLIB_PATH")}
    text = "import sys, wfvae; print(wfvae.Model().info.runtime_path, wfvae.Model().info.name); assert 'onnxruntime' not in sys.modules and 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=TIME, env=environment)
    name = "onnxruntime.dll" if WINDOWS else "libonnxruntime.so"
    assert result.returncode == 0 and str(pathlib.Path("onnxruntime/capi", name)) in result.stdout, result.stderr


def test_versions():
    assert wfvae.__version__ == "0.1.0" or wfvae.__version__
    try:
        assert importlib.metadata.version("wfvae") == wfvae.__version__
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("wfvae is not installed")


def best(call, number, repeat=7):
    """Seconds of one call."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        for _ in range(number):
            call()
        times.append((time.perf_counter() - start) / number)
    return min(times)


def test_overhead(model, monkeypatch):
    """Of the package alone: what a call takes beside bare ctypes, and with a function that does nothing. Limits are two to
    three times what the documentation says, as machines differ."""
    lib, pointer = _abi.library, model._handle.pointer
    trivial = best(lambda: model.latents_for_frames(17), 1000) - best(lambda: lib.latents_for_frames(pointer, 17), 1000)
    video = np.zeros((17, 16, 16, 3), np.uint8)
    out = np.empty((5, 16, 2, 2), np.float32)
    with model.stream(16, 16, directions="encode") as stream:
        progress = best(lambda: stream.progress, 1000)
        stream._paces["wfvae_encode_frames"] = 1e-6

        def nothing(*_):
            return 0

        nothing.__name__ = "wfvae_encode_frames"
        monkeypatch.setattr(lib, "encode_frames", nothing)
        whole = best(lambda: stream.encode(video, out=out), 50, 30)
    print(f"latents_for_frames {trivial * 1e6:.2f} us, progress {progress * 1e6:.2f} us, 17 frames {whole * 1e6:.1f} us")
    assert trivial < 4e-6 and progress < 10e-6
    assert whole < 80e-6
