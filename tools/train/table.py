"""Prints what the bundled models are and can do, side by side, as a Markdown table.

Everything is measured by kvass: sizes by `inspect`, the held-out text and the recall prompts by `eval`,
with the full cache and with a window that is shorter than most of the distances.
"""

import argparse
import csv
import json
import subprocess
from pathlib import Path

WINDOW = 128


def measure(kvass, *args):
    done = subprocess.run([kvass, *map(str, args)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def recall(kvass, folder, prompts, *cache):
    """{distance: share of right answers}"""
    scores = measure(kvass, "eval", "--json", "-m", folder, "--recall", prompts, *cache)["recall"]
    return {at["distance"]: at["exact"] / at["n"] for at in scores["distances"]}


def describe(kvass, folder, heldout, prompts):
    """[(what, its value)], in the order of the rows"""
    inspected = measure(kvass, "inspect", "--json", "-m", folder)
    text = measure(kvass, "eval", "--json", "-m", folder, "-f", heldout, "--split", "stories", "--tail-bytes", 94000)
    with (folder / "curve.csv").open() as f:
        n_tokens = int(list(csv.DictReader(f))[-1]["tokens"])
    filled = measure(kvass, "eval", "--json", "-m", folder, "-f", heldout, "--tail-bytes", 0, "--tokens", 1024)
    held = filled["bytes_used"] / filled["tokens_seen"]
    rows = [("family", inspected["family"]), ("parameters", f"{inspected['n_params']:,}"),
            ("tokens seen", f"{n_tokens:,}"), ("held-out bits per byte", f"{text['bits_per_byte']:.3f}"),
            ("cache bytes held per token, 1,024 read", f"{held:,.0f}")]
    for distance, share in recall(kvass, folder, prompts).items():
        rows.append((f"recall at {distance}", f"{share:.0%}"))
    for distance, share in recall(kvass, folder, prompts, "--window", WINDOW).items():
        rows.append((f"the same, window {WINDOW}, at {distance}", f"{share:.0%}"))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kvass", default="build/tools/kvass")
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--models", nargs="+", default=["tiny", "tiny-lean", "tiny-gpt2"])
    parser.add_argument("--heldout", required=True, help="natural-0.9MB.txt: its last 94,000 bytes are scored")
    parser.add_argument("--recall", required=True, help="prompts that recall.py printed")
    args = parser.parse_args()
    columns = [describe(args.kvass, args.weights / name, args.heldout, args.recall) for name in args.models]
    print("| |", " | ".join(f"`{name}`" for name in args.models), "|")
    print("|---|" + "--:|" * len(columns))
    for row in zip(*columns):
        print(f"| {row[0][0]} |", " | ".join(value for _, value in row), "|")


if __name__ == "__main__":
    main()
