"""llama_cpp_check.py - converts checkpoints with kvass and opens them with llama.cpp.

    python llama_cpp_check.py --kvass ../../build/tools/kvass [--text FILE] MODEL...

For each MODEL, converted to GGUF in f32 (a .gguf is taken as it is): how far llama.cpp's logits are
from kvass's over random ids, in standard deviations, and how often both have the same top. With a
tokenizer: the same ids for a text, and greedy text of 64 tokens after ten prompts, in a table: equal,
or the first step that differs, with the margin of kvass's token over llama.cpp's in the logits of
both and in those of the same weights as f32 (which neither rounds activations for), and the
distances between these three, all in standard deviations of kvass's logits. It is a near-tie when
neither engine prefers its token by more than the largest distance between the two.
--text: perplexity of both over it, in windows of --ctx tokens of which the second half counts.
Keys and values are f32 in both.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import llama_cpp
import llama_cpp.llama_cpp as low
import numpy as np

PROMPTS = ["Once upon a time", "One day, a little girl named Lily", "The cat and the dog",
           "Tom was very sad because", "In the forest there lived", "\"Hello,\" said the bird",
           "The sun was shining and", "Mom told Ben that he", "There was a big red ball",
           "The moral of the story is"]
SAMPLE = "Once upon a time, 1234 DON'T caf\u00e9 \u4f60\u597d \U0001f600\n\n  it's x**2; I'LL go."
N_IDS, N_GREEDY = 64, 64


def kvass(args, *words, **more):
    return subprocess.run([args.kvass, *map(str, words)], check=True, capture_output=True, **more)


_params = low.llama_model_default_params


def plain_params():
    """No weights in layouts of their own: those for AMX need what a virtual machine may lack."""
    params = _params()
    params.use_extra_bufts = False
    return params


low.llama_model_default_params = plain_params


def open_llama(path, n_ctx, all_logits=True):
    return llama_cpp.Llama(str(path), n_ctx=n_ctx, n_batch=n_ctx, n_ubatch=n_ctx, n_threads=1,
                           n_threads_batch=1, logits_all=all_logits, verbose=False,
                           type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)


def kvass_logits(args, path, ids, tmp, *more):
    out = tmp / "logits.f32"
    kvass(args, "logits", "-m", path, "-t", 1, "--kv-type", "f32", "--all", "-o", out, *more,
          "--tokens", ",".join(map(str, ids)))
    return np.fromfile(out, np.float32).reshape(len(ids), -1)


def llama_logits(llama, ids):
    llama.reset()
    llama.eval([int(i) for i in ids])
    return np.array(llama.scores[:len(ids)])


def compare_logits(args, path, source, info, tmp):
    ids = np.random.default_rng(7).integers(3, info["n_vocab"], min(N_IDS, info["n_ctx"]))
    # llama.cpp's contexts are multiples of 256, which decides between lists of factors of a rotation
    more = ("-c", 256) if info["positions"] == "rope" else ()
    ours = kvass_logits(args, source, ids, tmp, *more)
    theirs = llama_logits(open_llama(path, len(ids)), ids)
    far = np.abs(ours - theirs).max(axis=1) / ours.std(axis=1)
    top = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
    return f"logits within {far.max():.1e} (median {np.median(far):.1e}), same top {100 * top:.0f} %"


def greedy(llama, ids, n):
    llama.reset()
    llama.eval(ids)
    out, ends = [], {llama.token_eos()}
    while len(out) < n:
        best = int(np.argmax(llama.scores[llama.n_tokens - 1]))
        if best in ends:
            break
        out.append(best)
        llama.eval([best])
    return out


def step_logits(llama, ids, more):
    """llama.cpp's, a prompt at once and then token by token, as greedy() has them."""
    llama.reset()
    llama.eval(ids)
    for token in more:
        llama.eval([token])
    return np.array(llama.scores[llama.n_tokens - 1])


def compare_step(args, source, exact, ids, more, pair, llama, tmp):
    """A step at which the two part: the margins of our token over llama.cpp's in our logits, in
    theirs, and in those of the same weights as f32 (each in standard deviations of our logits), and
    how far the engines' logits are from each other and from those: root mean square, largest."""
    ours = kvass_logits(args, source, ids + more, tmp, "--path", "decode")[-1].astype(np.float64)
    theirs = step_logits(llama, ids, more).astype(np.float64)
    plain = kvass_logits(args, exact, ids + more, tmp)[-1].astype(np.float64)
    unit = ours.std()
    margins = [(row[pair[0]] - row[pair[1]]) / unit for row in (ours, theirs, plain)]
    far = [(np.sqrt(np.mean((a - b) ** 2)) / unit, np.abs(a - b).max() / unit)
           for a, b in ((ours, theirs), (ours, plain), (theirs, plain))]
    # each prefers its token by less than the largest distance between the two
    near = max(margins[0], -margins[1]) < far[0][1]
    return margins, far, near


def compare_greedy(args, source, exact, prompt, words, llama, tmp):
    """A line of the table: whether greedy text is the same, and why not."""
    ids = [int(i) for i in kvass(args, *words, prompt).stdout.split()]
    document = json.loads(kvass(args, "generate", "-m", source, "-t", 1, "--kv-type", "f32",
                                "--temp", 0, "-n", N_GREEDY, "--json", "-p", prompt).stdout)
    theirs, mine = greedy(llama, ids, N_GREEDY), document["tokens"]
    n = min(len(theirs), len(mine))
    at = next((i for i in range(n) if theirs[i] != mine[i]), None)
    if at is None:
        return True, f"{prompt[:32]:32}  equal, {n} tokens"
    margins, far, near = compare_step(args, source, exact, ids, mine[:at],
                                      (mine[at], theirs[at]), llama, tmp)
    figures = "  ".join(f"{m:+.4f}" for m in margins)
    distances = "  ".join(f"{rms:.4f} {largest:.4f}" for rms, largest in far)
    return near, (f"{prompt[:32]:32}  {'near-tie' if near else 'DIFFERENT'} at {at:2}  {figures}  "
                  f"{distances}")


def compare_text(args, path, source, tmp):
    llama = open_llama(path, 256)
    words = ("tokenize", "-m", path, "--ids", "--bos")
    ours = [int(i) for i in kvass(args, *words, SAMPLE).stdout.split()]
    same_ids = ours == llama.tokenize(SAMPLE.encode(), add_bos=True, special=False)
    exact = tmp / "exact.gguf"
    kvass(args, "convert", "--no-tokenizer", "--type", "f32", source, exact)
    yield f"sample's ids {'equal' if same_ids else 'DIFFER'}; greedy text:"
    yield (f"{'prompt':32}  step            margin: kvass, llama.cpp, f32   distance, rms and "
           "largest: kvass-llama.cpp, kvass-f32, llama.cpp-f32")
    n_fine = 0
    for prompt in PROMPTS:
        fine, line = compare_greedy(args, source, exact, prompt, words, llama, tmp)
        n_fine += fine
        yield line
    yield f"equal or parted by a near-tie: {n_fine} of {len(PROMPTS)}"


def perplexity(rows, ids):
    """Sum of -log p of ids[i + 1] by rows[i]."""
    rows = rows.astype(np.float64)
    top = rows.max(axis=1)
    log_sum = np.log(np.exp(rows - top[:, None]).sum(axis=1)) + top
    return (log_sum - rows[np.arange(len(ids)), ids]).sum()


def compare_perplexity(args, path, source, tmp):
    text = pathlib.Path(args.text).read_bytes()
    ids = [int(i) for i in kvass(args, "tokenize", "-m", path, "--ids", "-f", args.text).stdout.split()]
    llama = open_llama(path, args.ctx)
    sums, n = np.zeros(2), 0
    for start in range(0, len(ids) - args.ctx + 1, args.ctx):
        window, half = ids[start:start + args.ctx], args.ctx // 2
        for i, rows in enumerate((kvass_logits(args, source, window, tmp), llama_logits(llama, window))):
            sums[i] += perplexity(rows[half - 1:-1], window[half:])
        n += args.ctx - half
    ours, theirs = np.exp(sums / n)
    return (f"perplexity of {len(text)} bytes, {n} tokens: kvass {ours:.4f}, llama.cpp {theirs:.4f} "
            f"({100 * (ours / theirs - 1):+.2f} %)")


def check(args, model):
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        info = json.loads(kvass(args, "inspect", "--json", model).stdout)
        path = pathlib.Path(model)
        if path.suffix != ".gguf":
            path = tmp / "model.gguf"
            result = subprocess.run([args.kvass, "convert", "--type", args.type, str(model), str(path)],
                                    capture_output=True, text=True)
            if result.returncode:
                yield f"refused: {result.stderr.strip()}"
                return
        source = path if args.type != "f32" else model
        yield compare_logits(args, path, source, info, tmp)
        back = json.loads(kvass(args, "inspect", "--json", path).stdout)
        if back["tokenizer"]:
            yield from compare_text(args, path, source, tmp)
        if args.text:
            yield compare_perplexity(args, path, source, tmp)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--kvass", default="build/tools/kvass")
    parser.add_argument("--type", default="f32")
    parser.add_argument("--text")
    parser.add_argument("--ctx", type=int, default=512)
    args = parser.parse_args()
    for model in args.models:
        print(model, flush=True)
        for line in check(args, model):
            print("   ", line, flush=True)


if __name__ == "__main__":
    main()
