"""Times the plain graph of a whole clip, as save_onnx -w writes it, in ONNX Runtime. Two more arguments: the clip's
number of latents, and trilinear or nearest, the model's interpolation.

The runtime's own settings are as they come, but for the number of threads.
"""
import os
import time

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # The import starts it.
import onnxruntime

import peer
import sizes


def interpolation(n, mode):
    """Of n frames: the pair that makes each frame of the doubled rate, and its weights. The clip's first stays alone."""
    pairs = [(0, 0, 0, 1)]
    for now in range(1, n):
        if mode == "nearest":
            pairs += [(now, now, 0, 1)] * 2
        else:
            pairs += [(now, now, 0, 1)] if now == 1 else [(now - 1, now, 0.75, 0.25), (now - 1, now, 0.25, 0.75)]
    if mode == "trilinear" and n > 1:
        pairs.append((n - 1, n - 1, 0, 1))
    return [np.array(column, np.float32) for column in zip(*pairs)]


def main():
    a = peer.arguments("latents", "interpolation")
    start = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = a.threads
    session = onnxruntime.InferenceSession(a.model, options, providers=["CPUExecutionProvider"])
    peer.say(event="loaded", load_seconds=time.perf_counter() - start)

    # Ports tell the sizes: "H/8" is an eighth of the frames' height.
    def channels_and_divisor(port):
        return port.shape[1], int(port.shape[3].split("/")[1])

    main_port = next(i for i in session.get_inputs() if i.name in ("video", "latents"))
    out_port = session.get_outputs()[0]
    channels, divisor = channels_and_divisor(main_port)
    inputs = {main_port.name: peer.clip(a.input, channels, a.height // divisor, a.width // divisor)}
    inputs.update(sizes.size_lists(a.model, a.height, a.width, int(a.latents)))
    frames, names = inputs[main_port.name].shape[2], {i.name for i in session.get_inputs()}
    for n in range(9):
        columns = interpolation(frames, a.interpolation)
        ports = [f"{what}.{n}" for what in ("before", "now", "weight.before", "weight.now")]
        if ports[1] not in names:
            break
        inputs.update((name, column) for name, column in zip(ports, columns) if name in names)
        frames = len(columns[0])
    t = a.frames if out_port.name == "video" else int(a.latents)
    channels, divisor = channels_and_divisor(out_port)
    output = peer.shared((1, channels, t, a.height // divisor, a.width // divisor))

    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output(out_port.name, "cpu", 0, np.float32, output.shape, output.ctypes.data)
    result = peer.measure(lambda: session.run_with_iobinding(binding), a.repetitions, a.seconds)
    peer.save(a.output, output if out_port.name == "video" else output[:, : channels // 2])
    peer.finish(result)


if __name__ == "__main__":
    main()
