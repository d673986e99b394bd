"""quants.py - writes tests/golden/quants.bin: blocks of every quantized type of GGUF and the values
that the `gguf` package gives for them.

The file: for each type its name in 8 bytes, u32 n_values, u32 n_bytes, the blocks, f32 values.
Blocks are random bytes, so that every bit of every field is tried; scales and offsets are halves of
all sizes, subnormal, zero and negative ones among them, but neither infinite nor NaN.
"""
import struct
import sys

import gguf
import numpy as np

# type, bytes of a block, where its halves are
TYPES = [("Q4_0", 18, [0]), ("Q4_1", 20, [0, 2]), ("Q5_0", 22, [0]), ("Q5_1", 24, [0, 2]),
         ("Q8_0", 34, [0]), ("Q2_K", 84, [80, 82]), ("Q3_K", 110, [108]), ("Q4_K", 144, [0, 2]),
         ("Q5_K", 176, [0, 2]), ("Q6_K", 210, [208])]
VALUES = 1024


def main(path):
    rng = np.random.default_rng(20240229)
    with open(path, "wb") as f:
        for name, size, halves in TYPES:
            kind = gguf.GGMLQuantizationType[name]
            n = VALUES // gguf.GGML_QUANT_SIZES[kind][0]
            blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
            for at in halves:
                half = rng.integers(0, 0x7c00, n, dtype=np.uint16)
                half |= rng.integers(0, 2, n, dtype=np.uint16) << np.uint16(15)
                half[:2] = 0, 0x8000
                blocks[:, at:at + 2] = half.view(np.uint8).reshape(n, 2)
            values = gguf.quants.dequantize(blocks, kind).astype(np.float32).ravel()
            f.write(struct.pack("<8sII", name.lower().encode(), values.size, blocks.size))
            f.write(blocks.tobytes() + values.tobytes())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/quants.bin")
