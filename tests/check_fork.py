"""Uses the library from Python's multiprocessing, by fork and by spawn, from a parent that has used a model before.

    check_fork.py LIBRARY
"""

import ctypes
import hashlib
import multiprocessing
import os
import signal
import sys
import time

SIDE, FRAMES, LATENTS = 64, 5, 2
FORKED = 106
TIME = 60
# Larger than the structs; what the library does not know is zero.
ROOM = 512


def load(path):
    library = ctypes.CDLL(path)
    library.wfvae_last_error.restype = ctypes.c_char_p
    return library


def zeroed(**fields):
    """A struct: its size, then numbers of 32 bits."""
    memory = (ctypes.c_uint32 * (ROOM // 4))()
    ctypes.c_size_t.from_buffer(memory).value = ROOM
    for place, value in fields.values():
        memory[place] = value
    return memory


class Model:
    """As a binding would have it: closed when it is forgotten, in whatever process that is."""

    def __init__(self, library):
        self.library, self.model, self.stream = library, ctypes.c_void_p(), ctypes.c_void_p()
        # n_threads follows a size, a pointer and two numbers; width and height follow the size.
        self.call("wfvae_model_open", None, zeroed(n_threads=(6, 2)), ctypes.byref(self.model))
        options = zeroed(width=(2, SIDE), height=(3, SIDE))
        self.call("wfvae_create", self.model, options, ctypes.byref(self.stream))

    def call(self, name, *arguments, expected=0):
        status = getattr(self.library, name)(*arguments)
        assert status == expected, f"{name}: {status}: {self.library.wfvae_last_error(None)}"

    def encode(self, expected=0):
        """A number for the latents of a clip."""
        pixels = (ctypes.c_uint8 * (3 * SIDE * SIDE))(*(i * i % 251 for i in range(3 * SIDE * SIDE)))
        frames = (ctypes.c_uint32 * (FRAMES * ROOM // 4))()
        for i in range(FRAMES):
            start = i * ROOM
            ctypes.c_size_t.from_buffer(frames, start).value = ROOM
            frames[start // 4 + 2] = 1  # WFVAE_PIXEL_FORMAT_RGB8
            frames[start // 4 + 3] = frames[start // 4 + 4] = SIDE
            # Behind the size and six numbers.
            ctypes.c_void_p.from_buffer(frames, start + 32).value = ctypes.addressof(pixels)
            ctypes.c_ssize_t.from_buffer(frames, start + 64).value = 3 * SIDE
        latents, written = (ctypes.c_float * (1 << 14))(), ctypes.c_size_t()
        count, room = ctypes.c_size_t(FRAMES), ctypes.c_size_t(LATENTS)
        self.call("wfvae_encode_chunk", self.stream, frames, count, latents, room, ctypes.byref(written), expected=expected)
        if expected == 0:
            assert written.value == LATENTS
            self.call("wfvae_reset", self.stream)
        return hashlib.sha256(latents).hexdigest()

    def close(self):
        self.library.wfvae_destroy(self.stream)
        self.library.wfvae_model_close(self.model)
        self.stream, self.model = ctypes.c_void_p(), ctypes.c_void_p()

    __del__ = close


def work(path):
    """In a worker."""
    return Model(load(path)).encode()


def in_child(name, action):
    """Runs it in a forked child that leaves as a Python program does, by sys.exit() and Python's end."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(TIME)
        try:
            action()
        except BaseException as error:
            print(f"{name}: {error!r}", flush=True)
            os._exit(1)
        # What os.fork() is in a script: it goes on to the end of the program.
        raise SystemExit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"{name}: status {status}"
    print(f"ok {name}")


def main():
    path = os.path.abspath(sys.argv[1])
    parent = Model(load(path))
    expected = parent.encode()
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            found = pool.map_async(work, [path] * 3).get(timeout=TIME)
        assert found == [expected] * 3, f"{method}: {found}, expected {expected}"
        process = context.Process(target=work, args=(path,))
        process.start()
        process.join(TIME)
        assert process.exitcode == 0, f"{method}: a process ended with {process.exitcode}"
        print(f"ok multiprocessing, {method}")

    in_child("a child that only exits", lambda: None)
    in_child("a child that uses its parent's stream", lambda: parent.encode(expected=FORKED))
    in_child("a child with a model of its own", lambda: work(path) == expected or sys.exit("other latents"))
    in_child("a child that forgets its parent's model", parent.close)
    assert parent.encode() == expected
    print("ok the parent goes on")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    if multiprocessing.parent_process() is None:
        print(f"fork: all passed in {time.monotonic() - started:.0f} s")
