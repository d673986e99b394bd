"""llama2c.py - llama2.c model and tokenizer files: read, write, quantize.

Model files name their tensors by order alone. Here they go by their Hugging Face names; llama2.c
rotates neighbouring pairs (2i, 2i+1) of a head, so rows of wq and wk are reordered on the way.
  v0  7 int32 (dim, ffn_dim, n_layers, n_heads, n_kv_heads, n_vocab, n_ctx), n_vocab negative when
      the head is not tied; floats, two tables of rotations [n_ctx, head_dim / 2] before the head
  v1  "24ka", version, the same ints, one byte "tied", zeros up to 256; floats, all norms first
  v2  as v1, with int32 group after "tied"; norms in float, then each matrix as int8 values followed
      by float scales, one for every `group` values
"""
import struct

import numpy as np

MAGIC = 0x616B3432
ATTN_NORM, MLP_NORM = "input_layernorm", "post_attention_layernorm"
ATTN = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
MLP = ["mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"]  # the file's w1, w2, w3
EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def names(n_layers, version, tied):
    """Tensor names in the file's order; None stands for v0's tables."""
    each = lambda part: [f"model.layers.{l}.{part}.weight" for l in range(n_layers)]
    matrices = [n for part in ATTN for n in each(part)]
    mlp = [n for part in MLP for n in each(part)]
    head = [] if tied else [HEAD]
    if version == 0:
        return [EMBED, *each(ATTN_NORM), *matrices, *each(MLP_NORM), *mlp, NORM, None, *head]
    return [*each(ATTN_NORM), *each(MLP_NORM), NORM, EMBED, *matrices, *mlp, *head]


def shape(name, c):
    dim, head_dim = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
    kv_dim, ffn_dim = head_dim * c["num_key_value_heads"], c["intermediate_size"]
    if name is None:
        return (2, c["max_position_embeddings"], head_dim // 2)
    if "norm" in name:
        return (dim,)
    if name in (EMBED, HEAD):
        return (c["vocab_size"], dim)
    if "k_proj" in name or "v_proj" in name:
        return (kv_dim, dim)
    if "mlp" in name:
        return (dim, ffn_dim) if "down" in name else (ffn_dim, dim)
    return (dim, dim)


def swap_pairs(name, w, c, to_file):
    """Rows of a head: halves (i, i + head_dim/2) <-> neighbours (2i, 2i+1)."""
    if name is None or not ("q_proj" in name or "k_proj" in name):
        return w
    half = c["hidden_size"] // c["num_attention_heads"] // 2
    split = (-1, 2, half, w.shape[1]) if to_file else (-1, half, 2, w.shape[1])
    return w.reshape(split).swapaxes(1, 2).reshape(w.shape)


def quantize(w, group):
    """int8 values and float32 scales, one for every `group` values in a row."""
    w = np.asarray(w, np.float32).reshape(-1, group)
    scale = (np.abs(w).max(1) / np.float32(127)).astype(np.float32)
    return np.round(w / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8), scale


def write_model(path, config, weights, version, group=64):
    """Returns the weights as a reader of the file sees them."""
    tied = HEAD not in weights
    n_vocab = config["vocab_size"] * (-1 if version == 0 and not tied else 1)
    dims = [config[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers",
                                "num_attention_heads", "num_key_value_heads")]
    ints = struct.pack("<7i", *dims, n_vocab, config["max_position_embeddings"])
    if version > 0:
        ints = struct.pack("<Ii", MAGIC, version) + ints + bytes([tied])
        ints = (ints + (struct.pack("<i", group) if version == 2 else b"")).ljust(256, b"\0")
    seen = {}
    with open(path, "wb") as f:
        f.write(ints)
        for name in names(config["num_hidden_layers"], version, tied):
            if name is None:  # the tables; readers recompute them
                f.write(np.zeros(shape(name, config), "<f4").tobytes())
                continue
            w = swap_pairs(name, np.asarray(weights[name], np.float32), config, True)
            if version == 2 and w.ndim == 2:
                q, scale = quantize(w, group)
                f.write(q.tobytes() + scale.astype("<f4").tobytes())
                w = (q * scale[:, None].astype(np.float64)).reshape(w.shape)
            else:
                f.write(w.astype("<f4").tobytes())
            seen[name] = swap_pairs(name, w, config, False)
    return seen


def read_model(path):
    """(config, weights) of a v0, v1 or v2 file."""
    data = open(path, "rb").read()
    version, at, group = 0, 0, 0
    if struct.unpack_from("<I", data)[0] == MAGIC:
        version, at = struct.unpack_from("<i", data, 4)[0], 8
    ints = struct.unpack_from("<7i", data, at)
    dim, ffn_dim, n_layers, n_heads, n_kv_heads, n_vocab, n_ctx = ints
    tied = n_vocab > 0 if version == 0 else data[at + 28] != 0
    group = struct.unpack_from("<i", data, at + 29)[0] if version == 2 else 0
    at = 28 if version == 0 else 256
    config = {"hidden_size": dim, "intermediate_size": ffn_dim, "num_hidden_layers": n_layers,
              "num_attention_heads": n_heads, "num_key_value_heads": n_kv_heads,
              "vocab_size": abs(n_vocab), "max_position_embeddings": n_ctx, "rms_norm_eps": 1e-5}
    weights = {}
    for name in names(n_layers, version, tied):
        dims = shape(name, config)
        n = int(np.prod(dims))
        if version == 2 and len(dims) == 2:
            q = np.frombuffer(data, np.int8, n, at).reshape(-1, group)
            scale = np.frombuffer(data, "<f4", n // group, at + n)
            w, at = q * scale[:, None].astype(np.float64), at + n + 4 * (n // group)
        else:
            w, at = np.frombuffer(data, "<f4", n, at), at + 4 * n
        if name is not None:
            weights[name] = swap_pairs(name, w.reshape(dims), config, False)
    assert at == len(data), f"{path}: {len(data)} bytes, expected {at}"
    return config, weights


class Tokenizer:
    """tokenizer.bin: ids 0 <unk>, 1 BOS, 2 EOS, 3.. the 256 bytes, then pieces with scores."""

    def __init__(self, path):
        data = open(path, "rb").read()
        self.pieces, self.scores, at = [], [], 4
        while at < len(data):
            score, n = struct.unpack_from("<fi", data, at)
            self.scores.append(score)
            self.pieces.append(data[at + 8:at + 8 + n])
            at += 8 + n
        self.ids = {}
        for i, piece in enumerate(self.pieces):
            self.ids.setdefault(piece, i)

    def encode(self, text):
        """text: bytes. BOS, a space and the text's characters; then, until no two neighbours make a
        piece, the pair with the highest score (the first of equals) becomes one."""
        ids = [1]
        for char in (" " + text.decode("utf-8", "surrogateescape")) if text else "":
            piece = char.encode("utf-8", "surrogateescape")
            ids += [self.ids[piece]] if piece in self.ids else [b + 3 for b in piece]
        while True:
            best = None
            for i in range(1, len(ids) - 1):
                pair = self.ids.get(self.pieces[ids[i]] + self.pieces[ids[i + 1]])
                if pair is not None and (best is None or self.scores[pair] > self.scores[best[0]]):
                    best = pair, i
            if best is None:
                return ids
            ids[best[1]:best[1] + 2] = [best[0]]

    def decode(self, ids):
        """The text after BOS: its first piece loses a leading space."""
        out, before = b"", 1
        for i in ids:
            piece = self.pieces[i]
            if len(piece) == 6 and piece[:3] == b"<0x":
                piece = bytes([int(piece[3:5], 16)])
            out += piece[1:] if before == 1 and piece[:1] == b" " else piece
            before = i
        return out
