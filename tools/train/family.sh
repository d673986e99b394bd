#!/bin/sh
# Trains one of the three bundled models on a pack that pack.py made: family.sh NETWORK PACK OUT
# All three see the same streams, rows and number of tokens; started again, it goes on.
set -eu
network=$1 pack=$2 out=$3
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 OMP_WAIT_POLICY=passive
cd "$(dirname "$0")"
# shares of what is drawn: real stories 40 %, told again 40, made up 10, written 8, prose 2
stories="$pack/natural-0.9MB.bin:3 $pack/lowercase-3.2MB.bin $pack/retold.bin:.35 $pack/told.bin:.16
    $pack/written.bin:1.5 $pack/bryant-stories.bin:.5
    $pack/burgess-busterbrown.bin:.5
    $pack/carroll-alice.bin:.5"
# and beside them recall documents, a fifth at first, then a seventh; long ones with long rows
# shellcheck disable=SC2086 # lists of words
run() {
    "${PYTHON:-python3}" -u train.py "$network" --valid "$pack/valid.bin" --out "$out" --compile \
        --batch-tokens 4096 --dropout .05 --threads "${THREADS:-1}" --every 40 "$@"
}
# shellcheck disable=SC2086
run --tokens 4.2e6 --decay .3 \
    --phase .12 256 $stories "$pack/recall-120.bin:.3" "$pack/echo.bin:.1" \
    --phase .58 256 $stories "$pack/recall-120.bin:.08" "$pack/recall-250.bin:.14" \
    "$pack/echo.bin:.03" \
    --phase .30 1024 $stories "$pack/recall-250.bin:.05" "$pack/recall-1000.bin:.35"
# and once more at a lower rate, mostly on the real stories
best="$pack/natural-0.9MB.bin:4 $pack/lowercase-3.2MB.bin:.6 $pack/retold.bin:.1"
# shellcheck disable=SC2086
run --tokens 5.6e6 --decay .25 --lr 1e-3 \
    --phase .97 256 $best "$pack/recall-250.bin:.06" \
    --phase .03 1024 $best "$pack/recall-1000.bin:.25"
# and on from there, on a little of everything, ending on the real stories
# shellcheck disable=SC2086
run --tokens 8.4e6 --decay .3 --lr 1.2e-3 \
    --phase .86 256 $stories "$pack/recall-120.bin:.04" "$pack/recall-250.bin:.1" \
    --phase .11 256 $best "$pack/recall-250.bin:.06" \
    --phase .03 1024 $best "$pack/recall-1000.bin:.25"
