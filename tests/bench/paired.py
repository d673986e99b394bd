#!/usr/bin/env python3
"""paired.py - kvass and its peers on the same weights, in turn, with the machine's limits beside.

    tests/bench/paired.py [--models DIR] [--threads 1,2] [--rounds 5] [--only WORD] [--json OUT]
                          [--llama-bench PROGRAM] [--ik-llama-bench PROGRAM]
                          [--llama-batched-bench PROGRAM] [--llama-completion PROGRAM]
                          [--llama2c-run PROGRAM] [--calm-run PROGRAM]

Each program can be named by a variable, too: LLAMA_BENCH, IK_LLAMA_BENCH, LLAMA_BATCHED_BENCH,
LLAMA_COMPLETION, LLAMA2C_RUN, CALM_RUN; KVASS_BUILD is the build folder (build). What is missing is
said. The checkpoints are written to DIR when they are not there; calm's own, DIR/110M-f16.calm and
DIR/15M-f16.calm, are its converter's to make. A round runs every program of a row once, so that a
slow phase of the machine hits all of them. A peer counts at its better setting. --only picks rows
whose name contains one of its words, parted by commas. Needs nothing but Python; builds nothing.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("KVASS_BUILD", os.path.join(ROOT, "build"))
KVASS = os.path.join(BUILD, "tools/kvass")
PEERS = ("llama-bench", "ik-llama-bench", "llama-batched-bench", "llama-completion", "llama2c-run",
         "calm-run")
TYPES = ("f32", "f16", "q8_0", "q4_0")
PROMPT = "abcdefgh" * 3 + "abcdefg"  # 32 tokens of these checkpoints
MISSING = float("nan")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=os.path.join(tempfile.gettempdir(), "kvass-bench"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", default="")
    for peer in PEERS:
        parser.add_argument("--" + peer, default=os.environ.get(peer.upper().replace("-", "_"), ""))
    return parser.parse_args()


def run(args, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), CALM_CPU="1")
    done = subprocess.run(args, capture_output=True, text=True, errors="replace", env=env,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        print(f"{args[0]}: exit {done.returncode}: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return None
    return done


def kvass(path, threads, *flags):
    done = run([KVASS, "bench", "-q", "-m", path, "-t", str(threads), "--reps", "1", "-o", "json",
                *flags], threads)
    return max(r["tok_s_median"] for r in json.loads(done.stdout)["rows"]) if done else MISSING


def llama_bench(program, path, threads, *flags):
    attention = "1" if "-ctk" in flags else "0,1"  # a quantized cache needs flash attention
    done = run([program, "-m", path, "-t", str(threads), "-fa", attention, "-r", "1", "-o", "json",
                *flags], threads)
    return max(r["avg_ts"] for r in json.loads(done.stdout)) if done else MISSING


def llama_batched(program, path, threads, n):
    done = run([program, "-m", path, "-t", str(threads), "-npp", "64", "-ntg", "64", "-npl", str(n),
                "-c", str(128 * n), "-fa", "on", "--output-format", "jsonl"], threads)
    lines = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")] if done else []
    return lines[-1]["speed_tg"] if lines else MISSING


def llama2c(program, path, vocab, threads):
    done = run([program, path, "-t", "0", "-n", "128", "-z", vocab], threads)
    found = re.search(r"tok/s: ([0-9.]+)", done.stderr) if done else None
    return float(found.group(1)) if found else MISSING


def calm(program, path, threads):
    done = run([program, path, "-t", "0", "-n", "128", "-i", ""], threads)
    found = re.search(r"throughput: ([0-9.]+) tok/s", done.stderr + done.stdout) if done else None
    return float(found.group(1)) if found else MISSING


def starts(args, threads):
    """how often a second the process could start, read its prompt, say one token and end"""
    start = time.monotonic()
    done = run(args, threads)
    return 1 / (time.monotonic() - start) if done else MISSING


def beside_busy(measure):
    """the same while another process is busy"""
    def beside():
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            return measure()
        finally:
            busy.kill()
            busy.wait()
    return beside


def first_token(opts, threads):
    """program: function, from process start to the first token of a prompt of 32"""
    path = os.path.join(opts.models, "15M-f32.gguf")
    programs = {"kvass": lambda: starts([KVASS, "generate", "-q", "-m", path, "-t", str(threads),
                                         "--temp", "0", "-n", "1", "-p", PROMPT], threads)}
    if opts.llama_completion:
        programs["llama-completion"] = lambda: starts(
            [opts.llama_completion, "-m", path, "-t", str(threads), "--temp", "0", "-n", "1",
             "-no-cnv", "-c", "64", "-p", PROMPT], threads)
    if opts.llama2c_run:
        vocab = os.path.join(opts.models, "tokenizer.bin")
        programs["llama2c-run"] = lambda: starts([opts.llama2c_run, path[:-5] + ".bin", "-t", "0",
                                                  "-n", "34", "-z", vocab, "-i", PROMPT], threads)
    return programs


def rows_of(opts):
    """(name, bytes per token or 0, {program: function}) of every row"""
    def gguf(shape, kind):
        return os.path.join(opts.models, f"{shape}-{kind}.gguf")

    for threads in map(int, opts.threads.split(",")):
        def row(name, size, ours, peer_flags, path, more=None, t=threads):
            programs = {"kvass": lambda: kvass(path, t, *ours)}
            for peer in ("llama-bench", "ik-llama-bench"):
                program = getattr(opts, peer.replace("-", "_"))
                if program and peer_flags:
                    programs[peer] = lambda p=program: llama_bench(p, path, t, *peer_flags)
            programs.update(more or {})
            return f"{name}, {t} thr", size, programs

        for shape in ("110M", "15M"):
            for kind in TYPES:
                path = gguf(shape, kind)
                more = {}
                if opts.llama2c_run and kind == "f32":
                    binary, vocab = path[:-5] + ".bin", os.path.join(opts.models, "tokenizer.bin")
                    more["llama2c-run"] = lambda b=binary, v=vocab, t=threads: llama2c(
                        opts.llama2c_run, b, v, t)
                calm_path = path[:-5] + ".calm"
                if opts.calm_run and os.path.exists(calm_path):
                    more["calm-run"] = lambda p=calm_path, t=threads: calm(opts.calm_run, p, t)
                size = os.path.getsize(path)
                yield row(f"decode {shape} {kind}", size, ("--mode", "cached", "--depth", "16",
                          "-n", "64"), ("-p", "0", "-n", "64"), path, more)
                yield row(f"prefill 512 {shape} {kind}", 0, ("--mode", "prefill", "--depth", "512"),
                          ("-p", "512", "-n", "0"), path)
        for kind in ("f16", "q8_0"):
            for n in (4, 8, 16):
                more = {}
                if opts.llama_batched_bench:
                    more["llama-batched-bench"] = lambda k=kind, n=n, t=threads: llama_batched(
                        opts.llama_batched_bench, gguf("110M", k), t, n)
                yield row(f"batch {n} 110M {kind}", 0, ("--mode", "cached", "--depth", "64", "-n",
                          "32", "--seqs", str(n)), (), gguf("110M", kind), more)
        for depth in (1024, 4096):
            for store in ("f16", "q8"):
                flags = ["-p", "0", "-n", "16", "-d", str(depth)]
                if store == "q8":
                    flags += ["-ctk", "q8_0", "-ctv", "q8_0"]
                yield row(f"decode at {depth} 110M f16, {store} cache", 0, ("--mode", "cached",
                          "--depth", str(depth), "-n", "16", "--kv-type", store), flags,
                          gguf("110M", "f16"))
        yield f"first token of 32, from the start, 15M f32, {threads} thr", 0, \
            first_token(opts, threads)
        for kind in ("f16", "q8_0"):
            name, _, programs = row(f"decode 110M {kind} beside a busy process", 0,
                                    ("--mode", "cached", "--depth", "16", "-n", "32"),
                                    ("-p", "0", "-n", "32"), gguf("110M", kind))
            yield name, 0, {p: beside_busy(measure) for p, measure in programs.items()}


def limits(threads):
    done = run([os.path.join(BUILD, "tests/bench/bench_limits"), "--threads", str(threads)], 1)
    return json.loads(done.stdout)["limits"] if done else []


def streamed(found, threads):
    """bytes per second of a set that no cache holds"""
    rates = [x["gb_per_s"] for x in found if x["what"] == "read" and x["threads"] == threads]
    return rates[0] * 1e9 if rates else MISSING


def summarize(results):
    """kvass beside the best of its peers, a line for each work: README's table"""
    print("\n| work | kvass tok/s | best peer | its tok/s | kvass / it | of the streaming read |")
    print("|---|--:|---|--:|--:|--:|")
    for ours in (r for r in results if r["program"] == "kvass"):
        peers = [r for r in results if r["work"] == ours["work"] and r is not ours
                 and r["median"] == r["median"]]
        best = max(peers, key=lambda r: r["median"], default=None)
        share = f"{ours['of_streaming_read'] * 100:.0f} %" if ours["of_streaming_read"] else ""
        theirs = f"{best['program']} | {best['median']:.1f} | {best['kvass_per_it']:.2f}" if best \
            else "none | |"
        print(f"| {ours['work']} | {ours['median']:.1f} | {theirs} | {share} |")


def main():
    opts = parse()
    os.makedirs(opts.models, exist_ok=True)
    if not os.path.exists(os.path.join(opts.models, "110M-q4_0.gguf")):
        subprocess.run([os.path.join(BUILD, "tests/bench/write_models"), opts.models], check=True)
    missing = [p for p in PEERS if not getattr(opts, p.replace("-", "_"))]
    print("missing: " + (", ".join(missing) or "nothing"))
    most = max(map(int, opts.threads.split(",")))
    machine = limits(most)
    for x in machine:
        rate = f"{x['mb']} MB: {x['gb_per_s']} GB/s" if x["what"] == "read" else \
            f"{x['gflop_per_s']} GFLOP/s"
        print(f"limit: {x['what']}, {x['threads']} thr, {rate}")
    print("\n| work | program | tok/s | range | kvass / it | of the streaming read |")
    print("|---|---|--:|---|--:|--:|")
    results = []
    for name, size, programs in rows_of(opts):
        if not any(word in name for word in opts.only.split(",")):
            continue
        samples = {p: [] for p in programs}
        for _ in range(opts.rounds):
            for program, measure in programs.items():
                samples[program].append(measure())
        ours = statistics.median(samples["kvass"])
        for program, values in samples.items():
            middle = statistics.median(values)
            share = size * middle / streamed(machine, int(name.split()[-2])) if size else None
            print(f"| {name} | {program} | {middle:.1f} | {min(values):.1f}-{max(values):.1f} | "
                  f"{ours / middle:.2f} | {f'{share * 100:.0f} %' if size else ''} |", flush=True)
            results.append({"work": name, "program": program, "tok_s": values, "median": middle,
                            "kvass_per_it": ours / middle, "of_streaming_read": share})
    summarize(results)
    if opts.json:
        with open(opts.json, "w") as out:
            json.dump({"limits": machine, "missing": missing, "rounds": opts.rounds,
                       "rows": results}, out, indent=1)


if __name__ == "__main__":
    main()
