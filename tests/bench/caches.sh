#!/usr/bin/env bash
# caches.sh [MODEL [TOKENS]] - what each cache costs in bytes and in quality, as README shows it: a
# table of caches on a text that the model itself tells, then how a stream of TOKENS tokens (100000)
# fares. Builds nothing; KVASS is the program, build/tools/kvass of this tree unless set.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
kvass=${KVASS:-$root/build/tools/kvass}
model=${1:-$root/weights/tiny}
stream_tokens=${2:-100000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for seed in 1 2 3 4 5 6 7 8; do
    "$kvass" generate -m "$model" --seed $seed -n 300 -p '' </dev/null
    echo
done >"$work/told"

# row NAME EXACT WHEN FLAG...
row() {
    local name=$1 exact=$2 when=$3
    shift 3
    "$kvass" eval -q -m "$model" -f "$work/told" --json "$@" </dev/null >"$work/json"
    python3 - "$work/json" "$name" "$exact" "$when" "$*" <<'PYTHON'
import json, sys
d = json.load(open(sys.argv[1]))
name, exact, when, flags = sys.argv[2:]
held = d["window"] + d["sinks"]
per_token = f"{d['bytes_per_token']:,}"
if d["policy"] == "window" and d["bytes_per_token"] == 0:
    per_token = f"0, once {held} are held"
print(f"| {name} | {'`' + flags + '`' if flags else '(default)'} | {exact} | {per_token} | "
      f"{d['ppl_ratio']:.4f} | {d['same_top'] * 100:.1f} % | {d['kld_mean']:.2g} | {when} |")
PYTHON
}

echo "| cache | flags | exact? | bytes per token | perplexity | same top | mean KL | when |"
echo "|---|---|---|--:|--:|--:|--:|---|"
row "full, f32" "the oracle" "to compare with" --kv-type f32
row "full, f16" "but for rounding" "unless memory is short"
row "full, q8" "approximate" "half the memory, hardly a difference" --kv-type q8
row "full, q4" "approximate" "a third of the memory" --kv-type q4
row "window 252, 4 sinks" "approximate" "endless text, the last page or so matters" \
    --window 252 --sinks 4
row "window 124, 4 sinks" "approximate" "the same, in less memory" --window 124 --sinks 4
row "window 60, 4 sinks" "approximate" "the same, in still less" --window 60 --sinks 4
row "topk, 16 pages" "approximate" "long contexts, to read less of them" --topk-pages 16
row "topk, 8 pages" "approximate" "the same, reading less still" --topk-pages 8
row "pairs of layers share" "approximate" "networks trained so; else an experiment" \
    --kv-share pairs
row "none" "exact" "no memory at all, or to see what a cache saves" \
    --cache none --kv-type f32 --path prefill
echo

# a stream of the same text over and over: a window never sees the copy before
: >"$work/stream"
while [ "$(wc -c <"$work/stream")" -lt $((stream_tokens * 6)) ]; do
    cat "$work/told" "$work/told" "$work/told" "$work/told" >>"$work/stream"
done
stream() {
    local name=$1
    shift
    # in chunks of a page: a window sees the same by any path, and this one is quick
    "$kvass" eval -q -m "$model" -f "$work/stream" --json --stream --tokens "$stream_tokens" \
        --path prefill --batch 32 "$@" </dev/null >"$work/json"
    python3 - "$work/json" "$name" "$*" <<'PYTHON'
import json, sys
d = json.load(open(sys.argv[1]))
s = d["stream"]
first, last = s["parts"][0], s["parts"][-1]
print(f"| {sys.argv[2]} | `{sys.argv[3]}` | {first['ppl']:.2f} | {last['ppl']:.2f} | "
      f"{s['anew_ratio']:.3f} | {first['bytes_used']:,} | {last['bytes_used']:,} | "
      f"{(last['peak_bytes'] - first['peak_bytes']) / 1024:.0f} KiB |")
PYTHON
}
echo "| $stream_tokens tokens through | flags | perplexity, first tenth | last tenth | to the" \
    "same tokens read anew | cache bytes, first tenth | last tenth | process grew by |"
echo "|---|---|--:|--:|--:|--:|--:|--:|"
stream "4 sinks and a window, positions in the cache" --window 252 --sinks 4 --positions cache
stream "the same, original positions" --window 252 --sinks 4
stream "a plain window" --window 256
