"""Measures an exported folder or a running checkpoint: held-out bits per byte, recall, samples.

With --against-transformers the folder is also opened by transformers and the logits are compared.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import data
from model import Config, Network


def load(folder):
    """A train.py folder, in the bfloat16 values that export.py would write."""
    saved = torch.load(Path(folder) / "checkpoint.pt", map_location="cpu")
    net = Network(Config(**saved["config"]))
    net.load_state_dict({k: v.to(torch.bfloat16).float() for k, v in saved["state"].items()})
    return net.eval(), saved


@torch.no_grad()
def bits_per_byte(net, tokenizer, pieces):
    """Each piece alone, END first, all its tokens scored."""
    nats = 0.0
    for piece in pieces:
        ids = torch.tensor([tokenizer.encode(piece.decode("utf-8", "ignore")).ids])
        nats += F.cross_entropy(net.logits(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    return nats / np.log(2) / sum(len(p) for p in pieces)


@torch.no_grad()
def recall(net, tokenizer, prompts):
    """{distance: share of prompts whose answer is every time the likeliest next token}"""
    right = {}
    for line in Path(prompts).read_text().splitlines():
        prompt = json.loads(line)
        ids = tokenizer.encode(prompt["prompt"]).ids
        answer = tokenizer.encode(prompt["answer"]).ids[1:]
        if len(ids) + len(answer) > net.cfg.n_ctx:
            continue
        best = net.logits(torch.tensor([ids + answer]))[0, len(ids) - 1:-1].argmax(dim=-1)
        right.setdefault(prompt["distance"], []).append(best.tolist() == answer)
    return {distance: round(float(np.mean(r)), 3) for distance, r in right.items()}


@torch.no_grad()
def tell(net, tokenizer, prompt, seed, n_tokens=220, temperature=0.8, top_p=0.95):
    torch.manual_seed(seed)
    ids = tokenizer.encode(prompt).ids
    for _ in range(n_tokens):
        p, order = torch.softmax(net.logits(torch.tensor([ids]))[0, -1] / temperature, 0).sort(descending=True)
        p[p.cumsum(0) - p > top_p] = 0
        ids.append(order[torch.multinomial(p, 1)].item())
        if ids[-1] == 0:
            break
    return tokenizer.decode(ids)


def against_transformers(net, folder):
    from transformers import AutoModelForCausalLM
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.randint(1, net.cfg.n_vocab, (1, 300), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = net.logits(ids), theirs(ids).logits
    print(f"largest difference from transformers: {(a - b).abs().max() / a.std():.1e} of the logits' deviation")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="the folder that train.py wrote")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--heldout", help="heldout.txt of data.py")
    parser.add_argument("--recall", help="prompts that recall.py printed")
    parser.add_argument("--tell", type=int, default=0, help="how many stories to print")
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--against-transformers", metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net, saved = load(args.checkpoint)
    tokenizer = Tokenizer.from_file(args.tokenizer)
    print(f"step {saved['step']}, {saved['tokens']} tokens seen")
    if args.against_transformers:
        against_transformers(net, args.against_transformers)
    if args.heldout:
        pieces = data.evaluation_pieces(Path(args.heldout).read_bytes())
        print(f"held-out: {bits_per_byte(net, tokenizer, pieces):.4f} bits per byte, "
              f"{len(pieces)} stories, {sum(map(len, pieces))} bytes")
    if args.recall:
        print("recall by distance:", recall(net, tokenizer, args.recall))
    for seed in range(args.tell):
        print(f"--- seed {seed}\n{tell(net, tokenizer, args.prompt, seed)}")


if __name__ == "__main__":
    main()
