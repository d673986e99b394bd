"""stories.py - what llama2.c checkpoints say, by the float64 oracle.

  python stories.py greedy MODEL.bin TOKENIZER.bin          200 greedy steps from an empty prompt
  python stories.py eval MODEL.bin TOKENIZER.bin TEXT       bits per byte of TEXT's held-out stories
"""
import math
import sys

import numpy as np

import llama2c
import oracle

HELD_OUT, SHORTEST, LONGEST = 94000, 400, 800


def greedy(model, n_steps):
    """The ids fed: BOS and what followed, n_steps + 1 of them unless the text ended."""
    ids = [1]
    for _ in range(n_steps):
        logits, _ = model.step(ids[-1:])
        ids.append(int(logits[0].argmax()))
        if ids[-1] in (1, 2):
            break
    return ids


def held_out(text):
    """Stories at the end of `text` (bytes): cut at every newline that has no newline beside it, the
    first piece dropped, pieces of at least 400 bytes kept, 800 bytes of each."""
    text = text[-HELD_OUT:]
    cuts = [i for i in range(len(text))
            if text[i:i + 1] == b"\n" and text[i - 1:i] != b"\n" and text[i + 1:i + 2] != b"\n"]
    pieces = [text[a + 1:b] for a, b in zip(cuts, cuts[1:] + [len(text)])]
    return [p[:LONGEST] for p in pieces if len(p) >= SHORTEST]


def nats(model, ids):
    logits, _ = model.step(ids[:-1])
    top = logits.max(1)
    norm = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return float((norm - logits[np.arange(len(ids) - 1), ids[1:]]).sum())


def main(what, model_path, tokenizer_path, text_path=None):
    config, weights = llama2c.read_model(model_path)
    tokenizer = llama2c.Tokenizer(tokenizer_path)
    if what == "greedy":
        ids = greedy(oracle.Llama(config, weights), 200)
        sys.stdout.buffer.write(tokenizer.decode(ids[1:]))
        return
    stories = held_out(open(text_path, "rb").read())
    encoded = [tokenizer.encode(s) for s in stories]
    total = sum(nats(oracle.Llama(config, weights), ids) for ids in encoded)
    n_bytes, n_tokens = sum(map(len, stories)), sum(len(ids) - 1 for ids in encoded)
    print(f"{len(stories)} stories, {n_bytes} bytes, {n_tokens} tokens, {total:.4f} nats, "
          f"perplexity {math.exp(total / n_tokens):.6f}, "
          f"bits per byte {total / n_bytes / math.log(2):.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
