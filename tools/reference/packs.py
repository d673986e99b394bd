"""packs.py - writes tests/golden/packs.bin: values, and the blocks that the `gguf` package's
quantizers make of them.

The file: for each type its name in 8 bytes, u32 n_values, u32 n_bytes, f32 values, the blocks.
Blocks of normal values of all sizes, of ties, zeros, one value alone, and equal magnitudes of both
signs.
"""
import struct
import sys

import gguf
import numpy as np

TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]


def values():
    rng = np.random.default_rng(20240311)
    x = rng.normal(size=(40, 32)).astype(np.float32)
    x *= np.exp2(rng.integers(-12, 10, (40, 1))).astype(np.float32)
    x[0] = 0
    x[1] = 0.75
    x[2] = -0.75
    x[3, :] = 0
    x[3, 7] = -3
    x[4] = np.arange(-16, 16) / 2
    x[5] = np.where(np.arange(32) % 2, 1.5, -1.5)
    x[6] = np.where(np.arange(32) % 2, -1.5, 1.5)
    x[7] = np.arange(32) / 31 + 1000
    x[8] = np.linspace(-127, 127, 32)
    x[9] = -np.abs(x[9])
    x[10] = rng.normal(size=32) * 1e-7
    x[11] = (np.arange(32) - 15.5) * 8
    x[12] = rng.normal(size=32) * 60000 / 4
    return x.astype(np.float32).clip(-65000, 65000)


def main(path):
    x = values()
    with open(path, "wb") as f:
        for name in TYPES:
            blocks = np.ascontiguousarray(gguf.quants.quantize(x, gguf.GGMLQuantizationType[name]))
            blocks = blocks.view(np.uint8)
            f.write(struct.pack("<8sII", name.lower().encode(), x.size, blocks.size))
            f.write(x.tobytes() + blocks.tobytes())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/packs.bin")
