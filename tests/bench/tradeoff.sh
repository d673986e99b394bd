#!/usr/bin/env bash
# tradeoff.sh [FLAG...] - measure every cache on the bundled models and weights/story.txt, keep the
# runs in weights/NAME/tradeoff.jsonl (one line for all trials of a cache) and put the table of
# 1,024 tokens into README. Takes a few minutes; the machine should have nothing else to do. Flags
# go to `kvass tradeoff`, such as -t 1. KVASS is the program, build/tools/kvass of this tree unless
# set.
set -euo pipefail
cd "$(dirname "$0")/../.."
kvass=${KVASS:-$PWD/build/tools/kvass}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

from=()
for name in tiny tiny-lean tiny-gpt2; do
    echo "weights/$name" >&2
    "$kvass" tradeoff -m "weights/$name" -f weights/story.txt --trials 3 -o "$work/$name" "$@" \
        >/dev/null
    "$kvass" tradeoff --from "$work/$name" --format jsonl >"weights/$name/tradeoff.jsonl"
    from+=(--from "weights/$name/tradeoff.jsonl")
done

"$kvass" tradeoff "${from[@]}" --ctx 1024 >"$work/table"
python3 - "$work/table" <<'PYTHON'
import sys
begin, end = "<!-- tradeoff -->\n", "<!-- end of tradeoff -->\n"
readme = open("README.md", encoding="utf-8").read()
head, rest = readme.split(begin)
tail = rest.split(end)[1]
table = open(sys.argv[1], encoding="utf-8").read()
with open("README.md", "w", encoding="utf-8") as file:
    file.write(f"{head}{begin}{table}{end}{tail}")
PYTHON
