"""gguf_compare.py - a GGUF file through kvass and through transformers, which widens its weights to
float32: ids of prompts, greedy text token by token, perplexity of a text.

    gguf_compare.py --kvass BUILD/tools/kvass --text FILE [--bytes 20000] MODEL.gguf
"""
import argparse
import json
import math
import os
import subprocess

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little",
    "def fibonacci(n):\n",
    "The three laws of motion say that",
    "Dear Sir or Madam,\n\nI am writing to",
    "Q: What is 12 times 12?\nA:",
    "In 1969, the first human being",
    "Here is a recipe for bread. First,",
    "She opened the old door and saw",
    "Water boils at 100 degrees because",
]


def kvass(arguments):
    out = subprocess.run(arguments, check=True, capture_output=True)
    return json.loads(out.stdout)


def greedy(model, ids, n, stop):
    """n ids by argmax, and the gap between the two best logits at each step."""
    out, gaps, past, step = [], [], None, torch.tensor([ids])
    with torch.no_grad():
        while len(out) < n:
            r = model(step, past_key_values=past, use_cache=True)
            past, best = r.past_key_values, r.logits[0, -1].topk(2)
            out.append(int(best.indices[0]))
            gaps.append(float(best.values[0] - best.values[1]))
            if out[-1] in stop:
                break
            step = torch.tensor([[out[-1]]])
    return out, gaps


def compare_text(a, model, tokenizer):
    for prompt in PROMPTS:
        mine = kvass([a.kvass, "generate", "-m", a.model, "--temp", "0", "-n", str(a.n), "-t", "1",
                      "--kv-type", "f32", "--json", "-p", prompt])
        ids = tokenizer(prompt)["input_ids"]
        want, gaps = greedy(model, ids, a.n, set(mine_eos(a)))
        got = mine["tokens"]
        same = next((i for i, (x, y) in enumerate(zip(got, want)) if x != y), min(len(got), len(want)))
        word = "same" if same == len(want) or same == len(got) else \
            f"differ at {same}: {got[same]} and {want[same]}, gap {gaps[same]:.4f}"
        print(f"{prompt[:30]!r:36} {len(ids):3} ids, {len(got)} and {len(want)} tokens: {word}")


def mine_eos(a):
    return kvass([a.kvass, "inspect", "--json", a.model]).get("eos", [])


def compare_ppl(a, model, tokenizer):
    with open(a.text, "rb") as f:
        text = f.read(a.bytes).decode("utf-8", "ignore")
    path = "/tmp/gguf_compare.%d.txt" % os.getpid()
    with open(path, "w", encoding="utf-8", newline="") as f:
        f.write(text)
    mine = kvass([a.kvass, "eval", "-m", a.model, "-f", path, "-c", str(a.context), "-t", "1",
                  "--kv-type", "f32", "--json"])
    os.remove(path)
    ids = tokenizer(text)["input_ids"]
    bos = a.bos
    window = a.context + 1 - (bos >= 0)  # the last position fed predicts one more
    nats, n = 0.0, 0
    with torch.no_grad():
        for at in range(0, len(ids), window):
            part = ([bos] if bos >= 0 else []) + ids[at:at + window]
            if len(part) > 1:
                logits = model(torch.tensor([part])).logits[0, :-1]
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(part[1:]),
                                                         reduction="sum")
                nats, n = nats + float(loss), n + len(part) - 1
    print(f"kvass {mine['ppl']:.6f} over {mine['tokens_scored']} tokens, "
          f"transformers {math.exp(nats / n):.6f} over {n}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kvass", required=True)
    p.add_argument("--text")
    p.add_argument("--bytes", type=int, default=20000)
    p.add_argument("--context", type=int, default=1024)
    p.add_argument("--bos", type=int, default=-1, help="what kvass eval begins a window with")
    p.add_argument("-n", type=int, default=64, help="tokens of each prompt; 0 leaves them out")
    p.add_argument("model")
    a = p.parse_args()
    torch.set_num_threads(1)
    folder, name = os.path.split(os.path.abspath(a.model))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    if a.n > 0:
        compare_text(a, model, tokenizer)
    if a.text:
        compare_ppl(a, model, tokenizer)


if __name__ == "__main__":
    main()
