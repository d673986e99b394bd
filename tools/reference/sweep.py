"""sweep.py - many random networks of every family through the kvass command, against transformers.

  python sweep.py --kvass build/tools/kvass [--count 4] [--seed 1] [FAMILY...]

Every network is drawn at random (dims, heads, biases, tying, windows, rotations, caps, stored type,
generation of configuration), saved, and run in float64 by transformers. One line each: how far each
path of `kvass logits` is off at the worst of 300 positions, in standard deviations of the logits
there; --count networks a family. Exits 1 when a line exceeds --bound in the f32 store.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import torch
from transformers.utils import logging

import families
import golden

PATHS = ("prefill", "decode", "none")
COLUMNS = [(path, "f32") for path in PATHS] + [(path, "f16") for path in PATHS[:2]]
N_TOKENS = 300


def kvass_logits(kvass, folder, ids, path, store):
    command = [kvass, "logits", "-m", str(folder), "--tokens", ",".join(map(str, ids)), "--path", path,
               "--kv-type", store, "-c", str(len(ids)), "-t", "1", "--all", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()}")
    out = json.loads(done.stdout)
    assert out["tokens"] == ids.tolist()
    return np.array(out["logits"], np.float64)


def one(kvass, family, seed):
    """(label, distance of each column)"""
    rng = np.random.default_rng([seed, zlib.crc32(family.encode())])
    label, config, options = families.draw(family, rng)
    ids = golden.random_ids(rng, config.vocab_size, N_TOKENS)
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp) / "model"
        stored = families.save(folder, config, options, seed)
        model = families.load(folder, torch.float64, options, stored)
        want = families.run(model, ids)[0]
        far = [golden.worst(kvass_logits(kvass, folder, ids, path, store), want)
               for path, store in COLUMNS]
    return f"{label} {str(options['dtype'])[6:]}", far


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--kvass", required=True)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bound", type=float, default=2e-4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print("seed   " + "".join(f"{path + ' ' + store:>13}" for path, store in COLUMNS))
    n_bad, n_all, worst = 0, 0, {}
    for family in args.families or families.DRAWS:
        for seed in range(args.seed, args.seed + args.count):
            try:
                label, far = one(args.kvass, family, seed)
            except RuntimeError as error:
                label, far = f"{family}: {error}", [np.inf] * len(COLUMNS)
            bad = not all(f <= args.bound for f, (_, store) in zip(far, COLUMNS) if store == "f32")
            n_bad, n_all = n_bad + bad, n_all + 1
            worst[family] = np.maximum(worst.get(family, 0), far)
            print(f"{seed:<7}" + "".join(f"{f:13.1e}" for f in far) + f"  {label}"
                  + "  TOO FAR" * bad, flush=True)
    print("\nworst" + "".join(f"{path + ' ' + store:>15}" for path, store in COLUMNS))
    for family, far in worst.items():
        print(f"{family:<12}" + "".join(f"{f:13.1e}  " for f in far))
    print(f"{n_all - n_bad} within {args.bound:g}, {n_bad} not")
    sys.exit(n_bad > 0)


if __name__ == "__main__":
    main()
