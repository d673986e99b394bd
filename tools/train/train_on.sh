#!/bin/sh
# Trains a model on text files: train_on.sh OUT FILE.txt...; started again, it goes on where it
# stopped.
set -eu
here=$(dirname "$0")
out=$1
shift
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000
[ -f "$out/pack/valid.bin" ] || {
    python3 "$here/data.py" "$@" --out "$out/text"
    mv "$out/text/valid.txt" "$out/text/heldout.txt" "$out"
    python3 "$here/pack.py" "$out"/text/*.txt --valid "$out/valid.txt" \
        --out "$out/pack/streams" --recall
    mv "$out"/pack/streams/valid.bin "$out"/pack/streams/tokenizer.json "$out/pack"
}
python3 "$here/train.py" "${NETWORK:-tiny}" --valid "$out/pack/valid.bin" --out "$out/run" \
    --tokens "${TOKENS:-10e6}" --phase .85 256 "$out"/pack/streams/*.bin \
    --phase .15 1024 "$out"/pack/streams/*.bin
python3 "$here/export.py" "$out/run" --tokenizer "$out/pack/tokenizer.json" --out "$out/model"
