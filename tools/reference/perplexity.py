#!/usr/bin/env python3
"""perplexity.py - kvass eval beside llama.cpp's perplexity tool: the same text, the same chunks.

    tools/reference/perplexity.py --llama-perplexity PROGRAM --base BASE.gguf --text FILE TEST.gguf...
                                  [--chunk 512] [--chunks 8] [--threads 2]

Each TEST is compared with BASE by both: perplexity of either, mean and 99 % KL divergence, share of
the same likeliest token. A chunk's second half is scored, without a begin-of-text token, caches are
f32. llama.cpp keeps BASE's logits in 16 bits, which shows in the KL of very near models. Needs the
program, which is not part of kvass; KVASS_BUILD is the build folder (build).
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KVASS = os.path.join(os.environ.get("KVASS_BUILD", os.path.join(ROOT, "build")), "tools/kvass")
FIGURES = (("perplexity of base", r"Mean PPL\(base\)\s*:\s*([0-9.]+)"),
           ("perplexity", r"Mean PPL\(Q\)\s*:\s*([0-9.]+)"),
           ("mean KL", r"Mean\s+KLD:\s*([-0-9.]+)"), ("99 % KL", r"99\.0%\s+KLD:\s*([-0-9.]+)"),
           ("same top", r"Same top p:\s*([0-9.]+)"))


def theirs(opts, model, *flags):
    done = subprocess.run(
        [opts.llama_perplexity, "-m", model, "-f", opts.text, "-c", str(opts.chunk), "-t",
         str(opts.threads), "-b", str(opts.chunk), "-fa", "off", "-ctk", "f32", "-ctv", "f32",
         "--chunks", str(opts.chunks), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        sys.exit(f"{opts.llama_perplexity}: exit {done.returncode}: {done.stdout[-300:]}")
    return done.stdout


def ours(opts, model):
    """the same chunks: a window holds one token more than its context"""
    done = subprocess.run(
        [KVASS, "eval", "--json", "-q", "-m", model, "--reference", opts.base, "-f", opts.text,
         "--no-bos", "-c", str(opts.chunk - 1), "--tokens", str(opts.chunk * opts.chunks),
         "--score-from", str(opts.chunk // 2 + 1), "--kv-type", "f32", "-t", str(opts.threads)],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    d = json.loads(done.stdout)
    return [d["ppl"] / d["ppl_ratio"], d["ppl"], d["kld_mean"], d["kld_p99"], 100 * d["same_top"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--llama-perplexity", "--base", "--text"):
        parser.add_argument(name, required=True)
    for name, value in (("--chunk", 512), ("--chunks", 8), ("--threads", 2)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("models", nargs="+")
    opts = parser.parse_args()
    print("| model | figure | kvass | llama.cpp | kvass / llama.cpp |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="kvass-perplexity-") as folder:
        kept = os.path.join(folder, "base")
        theirs(opts, opts.base, "--save-all-logits", kept)
        for model in opts.models:
            text = theirs(opts, model, "--kl-divergence", "--kl-divergence-base", kept)
            for (name, pattern), mine in zip(FIGURES, ours(opts, model)):
                their = float(re.search(pattern, text).group(1))
                print(f"| {os.path.basename(model)} | {name} | {mine:.6g} | {their:.6g} | "
                      f"{mine / their:.4f} |", flush=True)


if __name__ == "__main__":
    main()
