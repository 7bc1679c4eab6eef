"""The inputs of saved graphs that follow from the size of a frame: lists of whole numbers, which their descriptions tell."""

import numpy as np
import onnx

ATTENTION_BYTES = 64 << 20  # of scores at a time; more are not faster


def size_lists(path, height, width, frames=1):
    """For frames of that size, and so many of them in attention, the array of each such input of the graph."""
    graph = onnx.load(str(path), load_external_data=False).graph
    lists = {i.name: i.doc_string for i in graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.INT64}

    def number(text):
        if text.startswith("any divisor of "):
            first, second = text.removeprefix("any divisor of ").split(" * ")
            pixels = number(first) * number(second)
            most = ATTENTION_BYTES // 4 // (pixels * frames)
            return max((n for n in range(1, pixels + 1) if pixels % n == 0 and n <= most), default=1)
        side, _, divisor = text.partition("/")
        return {"H": height, "W": width}[side] // int(divisor) if divisor else int(text)

    return {name: np.array([number(text) for text in doc.strip("[]").split(", ")], np.int64) for name, doc in lists.items()}
