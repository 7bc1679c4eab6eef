"""Measures the CPU's peak: the best of the runtime's own 3x3 convolutions, in GFLOP/s. Arguments: threads,
and seconds for each of them.
"""
import os
import sys
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # The import starts it.
import onnxruntime

import peer

# Channels and side: of the layers that a model of base width 192 has, each 10.9 GFLOP.
SHAPES = [(192, 128), (384, 64), (768, 32)]


def graph(channels, side):
    random = np.random.default_rng(0)
    weights = random.standard_normal((channels, channels, 3, 3), np.float32) / channels
    bias = random.standard_normal(channels, np.float32)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side]) for name in "xy"]
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
    body = helper.make_graph([node], "peak", ports[:1], ports[1:], constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def main():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[1])
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    peer.say(event="loaded", load_seconds=0)
    found = {}
    for channels, side in SHAPES:
        session = onnxruntime.InferenceSession(graph(channels, side), options, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(1).standard_normal((1, channels, side, side), np.float32)
        times = []
        end = time.perf_counter() + float(sys.argv[2])
        while time.perf_counter() < end or len(times) < 10:
            start = time.perf_counter()
            session.run(None, {"x": x})
            times.append(time.perf_counter() - start)
        found[f"{channels}x{side}x{side}"] = 2 * 9 * channels**2 * side**2 / min(times) / 1e9
    peer.finish(dict(gflops=found, onnxruntime=onnxruntime.__version__, onnx=onnx.__version__))


if __name__ == "__main__":
    main()
