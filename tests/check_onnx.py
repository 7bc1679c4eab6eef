"""Checks saved graphs with ONNX's own checker and shape inference, and runs a step.

    check_onnx.py FOLDER...

Each folder holds what wfvae_model_save_onnx() wrote.
"""

import os
import pathlib
import sys

import numpy as np
import onnx

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # The import starts it.
import onnxruntime  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools/bench"))
import sizes  # noqa: E402

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def check(path):
    # By path, so that the external weights are checked as well.
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names), "two nodes have one name"
    return model


def run(path, model):
    """A saved step runs by itself, on zeros of the smallest size; the CPU cannot do bfloat16."""
    if any(weight.data_type == onnx.TensorProto.BFLOAT16 for weight in model.graph.initializer):
        return "not run: bfloat16"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def side(dim):
        if not isinstance(dim, str):
            return dim
        if "/" in dim:
            # "H/4" of a 32x32 picture.
            return 32 // int(dim.split("/")[1])
        # The weights of an interpolation; and of graphs that take a whole clip: 5 frames, 2 latents, and the frames of the n-th interpolation of these.
        return {"N.weights": 9, "T.video": 5, "T.latents": 2}.get(dim) or 1 + 2 ** (1 + int(dim.split(".")[-1]))

    inputs = sizes.size_lists(path, 32, 32, 2)
    for i in session.get_inputs():
        if i.name not in inputs:
            inputs[i.name] = np.zeros([side(d) for d in i.shape], TYPES[i.type])
    outputs = session.run(None, inputs)
    assert all(np.isfinite(o).all() for o in outputs)
    return "runs"


def main():
    passed = 0
    for folder in map(pathlib.Path, sys.argv[1:]):
        paths = sorted(folder.glob("*.onnx"))
        assert {p.name.split(".")[0] for p in paths} == {"encoder", "decoder"}, f"{folder}: {paths}"
        for path in paths:
            model = check(path)
            ran = run(path, model)
            passed += 1
            print(f"ok {folder.name}/{path.name}: {len(model.graph.node)} nodes, {ran}")
    print(f"{passed} passed, 0 failed")


if __name__ == "__main__":
    main()
