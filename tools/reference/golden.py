"""golden.py - the file that holds reference logits: written here, read by tests/golden.

Little-endian, nothing between the parts:
  magic "KVGOLD1\n"; int32 n_tokens, n_vocab, n_cols, n_layers, dim, n_marks
  int32   ids[n_tokens], marks[n_marks]
  float32 logits[n_tokens, n_cols]          column c is vocabulary entry c * (n_vocab / n_cols)
  float32 residual[n_layers, n_marks, dim]  what layer l leaves behind at position marks[i]
"""
import numpy as np

MAGIC = b"KVGOLD1\n"
N_TOKENS = 200
MARKS = [0, 31, 32, 199]


def random_ids(rng, n_vocab, n=N_TOKENS):
    return rng.integers(0, n_vocab, n).astype(np.int32)


def write(path, ids, logits, residual, n_vocab, marks=MARKS):
    """ids[n], logits[n, n_cols], residual[n_layers, n, dim]"""
    residual = np.asarray(residual)[:, marks]
    head = [len(ids), n_vocab, logits.shape[1], len(residual), residual.shape[2], len(marks)]
    with open(path, "wb") as f:
        f.write(MAGIC)
        for part in (head, ids, marks):
            f.write(np.asarray(part, "<i4").tobytes())
        for part in (logits, residual):
            f.write(np.asarray(part, "<f4").tobytes())


def read(path):
    """(ids, logits, n_vocab)"""
    with open(path, "rb") as f:
        assert f.read(8) == MAGIC, path
        n, n_vocab, n_cols, _, _, n_marks = np.frombuffer(f.read(24), "<i4")
        ids = np.frombuffer(f.read(4 * n), "<i4")
        f.read(4 * n_marks)
        logits = np.frombuffer(f.read(4 * n * n_cols), "<f4").reshape(n, n_cols)
    return ids, logits, int(n_vocab)


def worst(got, want):
    """The largest difference at any position, in standard deviations of that position's logits."""
    return float((np.abs(got - want).max(axis=1) / want.std(axis=1)).max())
