# SPDX-License-Identifier: MIT OR Apache-2.0
import numpy as np
import pytest

import wfvae


@pytest.fixture(scope="session")
def model():
    with wfvae.Model(threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def video():
    """[17, 32, 48, 3], uint8: a moving pattern."""
    t, y, x, c = np.meshgrid(np.arange(17), np.arange(32), np.arange(48), np.arange(3), indexing="ij")
    return (127 + 80 * np.sin(0.3 * x + 0.5 * t + c) * np.cos(0.2 * y)).astype(np.uint8)


@pytest.fixture(scope="session")
def latents(model, video):
    z = model.encode(video)
    z.flags.writeable = False
    return z


@pytest.fixture(scope="session")
def decoded(model, latents):
    """Of `latents`, float32."""
    return model.decode(latents, dtype="f32")
