#!/usr/bin/env bash
# instructions.sh [MODEL [ISA]] - instructions of a fixed decode, counted by valgrind: a figure
# that a busy machine leaves alone. Two runs that differ by 16 tokens; what loading takes cancels
# out. ISA is avx2 unless given (valgrind has no AVX-512). Builds nothing; KVASS is the program.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
kvass=${KVASS:-$root/build/tools/kvass}
model=${1:-$root/weights/tiny}
isa=${2:-avx2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count N: instructions of a run that decodes N tokens
count() {
    valgrind --tool=callgrind --callgrind-out-file="$work/out" \
        "$kvass" bench -q -m "$model" -t 1 --isa "$isa" --mode cached --depth 16 \
        -n "$1" --reps 1 --warmup 0 >/dev/null 2>"$work/log" ||
        { cat "$work/log" >&2; exit 1; }
    sed -n 's/^\(summary\|totals\): //p' "$work/out" | tail -n 1
}

few=$(count 4)
many=$(count 20)
echo "$model, $isa: $(((many - few) / 16)) instructions per decoded token"
