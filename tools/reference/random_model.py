"""random_model.py - a llama2.c file (v0) of random weights, for measuring what attention takes.

    python3 tools/reference/random_model.py OUT.bin [dim ffn_dim n_layers n_heads n_kv_heads n_ctx]

By default nearly all work at a long context is attention: 2 layers of 4 heads of 64, an MLP and a
vocabulary of 64. Needs nothing but Python; the same file every time.
"""
import array
import random
import struct
import sys

N_VOCAB = 64


def main():
    sizes = [int(a) for a in sys.argv[2:]] or [256, 64, 2, 4, 4, 32832]
    dim, ffn_dim, n_layers, n_heads, n_kv_heads, n_ctx = sizes
    head_dim = dim // n_heads
    kv_dim = head_dim * n_kv_heads
    rng = random.Random(1)

    def normal(n, scale):
        return array.array("f", (rng.gauss(0, scale) for _ in range(n)))

    def ones(n):
        return array.array("f", [1.0]) * n

    layers = range(n_layers)
    parts = [normal(N_VOCAB * dim, 1.0)]
    parts += [ones(dim) for _ in layers]
    for n_out in (dim, kv_dim, kv_dim, dim):  # wq wk wv wo
        parts += [normal(n_out * dim, dim**-0.5) for _ in layers]
    parts += [ones(dim) for _ in layers]
    for _ in ("w1", "w2", "w3"):
        parts += [normal(ffn_dim * dim, dim**-0.5) for _ in layers]
    parts += [ones(dim), array.array("f", [0.0]) * (n_ctx * head_dim)]  # kvass makes its own tables
    with open(sys.argv[1], "wb") as out:
        out.write(struct.pack("<7i", dim, ffn_dim, n_layers, n_heads, n_kv_heads, N_VOCAB, n_ctx))
        for part in parts:
            if sys.byteorder == "big":
                part.byteswap()
            part.tofile(out)


if __name__ == "__main__":
    main()
