"""sweep.py - many random networks through the kvass command, against transformers.

  python sweep.py --kvass build/tools/kvass [--count 40] [--seed 1] [--family llama|gpt2]

Every network is drawn at random (dims, heads, biases, tying, rotations, stored type), saved, and
run in float64 by transformers. One line each: its dims, and how far each path of `kvass logits` is
off at the worst of 200 positions, in standard deviations of the logits there. Exits 1 when a line
exceeds --bound in the f32 store.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

import golden
import make_goldens as goldens

PATHS = ("prefill", "decode", "none")


def draw_llama(rng):
    pick = lambda *choices: choices[rng.integers(len(choices))]
    kv = pick(1, 2, 3, 4)
    heads, head_dim = kv * pick(1, 2, 3, 4), pick(2, 4, 6, 8, 10, 16, 20, 32, 34, 64)
    fits = rng.random() < 0.5
    dim = heads * (head_dim if fits else pick(1, 3, 5, 8, 11, 24))  # transformers wants a multiple
    rope = pick(None, None, {"rope_type": "linear", "factor": pick(1.5, 4.0)},
                {**goldens.LLAMA3, "factor": pick(2.0, 8.0, 32.0)})
    more = {} if fits else {"head_dim": head_dim}
    config = goldens.llama(
        dim, heads, kv, pick(5, 32, 64, 88, 131, 172), pick(33, 64, 97, 300), pick(1, 2, 3, 5),
        tied=rng.random() < 0.5, theta=pick(1e4, 5e5, 1e6, 321.5), rope=rope,
        attention_bias=bool(rng.random() < 0.3), mlp_bias=bool(rng.random() < 0.3),
        rms_norm_eps=pick(1e-6, 1e-5, 1e-3), **more)
    label = (f"llama dim {dim} heads {heads}/{kv}x{head_dim} ffn {config.intermediate_size} "
             f"layers {config.num_hidden_layers} theta {config.rope_parameters['rope_theta']:g}"
             + (f" {rope['rope_type']}" if rope else "") + " bias" * config.attention_bias
             + " mlp-bias" * config.mlp_bias + " tied" * config.tie_word_embeddings)
    options = {"old": bool(rng.random() < 0.3)}
    options["dtype"] = pick(torch.float32, torch.float32, torch.bfloat16, torch.float16)
    return label, config, options


def draw_gpt2(rng):
    pick = lambda *choices: choices[rng.integers(len(choices))]
    heads = pick(1, 2, 3, 5, 8)
    config = goldens.gpt2(heads * pick(1, 3, 6, 8, 16, 33), heads, pick(33, 64, 97, 300),
                          pick(1, 2, 3, 5), inner=pick(None, 7, 64, 130),
                          layer_norm_epsilon=pick(1e-6, 1e-5, 1e-3))
    label = f"gpt2 dim {config.n_embd} heads {heads} ffn {config.n_inner} layers {config.n_layer}"
    options = {"bare": bool(rng.random() < 0.3)}
    options["dtype"] = pick(torch.float32, torch.float32, torch.bfloat16, torch.float16)
    return label, config, options


def kvass_logits(kvass, folder, ids, path, store):
    command = [kvass, "logits", "-m", str(folder), "--tokens", ",".join(map(str, ids)),
               "--path", path, "--kv-type", store, "--all", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()}")
    out = json.loads(done.stdout)
    assert out["tokens"] == ids.tolist()
    return np.array(out["logits"], np.float64)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kvass", required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=("llama", "gpt2"))
    parser.add_argument("--bound", type=float, default=2e-4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    columns = [(path, "f32") for path in PATHS] + [(path, "f16") for path in PATHS[:2]]
    print("seed   " + "".join(f"{path + ' ' + store:>13}" for path, store in columns))
    n_bad = 0
    for seed in range(args.seed, args.seed + args.count):
        rng = np.random.default_rng(seed)
        family = args.family or ("gpt2" if seed % 4 == 0 else "llama")
        label, config, options = (draw_llama if family == "llama" else draw_gpt2)(rng)
        ids = golden.random_ids(rng, config.vocab_size)
        with tempfile.TemporaryDirectory() as tmp:
            folder = pathlib.Path(tmp) / "model"
            goldens.save(folder, config, options, seed)
            want = goldens.run(goldens.load(folder, torch.float64), ids)[0]
            far = [golden.worst(kvass_logits(args.kvass, folder, ids, path, store), want)
                   for path, store in columns]
        bad = not all(f <= args.bound for f, (_, store) in zip(far, columns) if store == "f32")
        n_bad += bad
        print(f"{seed:<7}" + "".join(f"{f:13.1e}" for f in far) + f"  {label} "
              + str(options["dtype"])[6:] + ("  TOO FAR" if bad else ""), flush=True)
    print(f"{args.count - n_bad} within {args.bound:g}, {n_bad} not")
    sys.exit(n_bad > 0)


if __name__ == "__main__":
    main()
