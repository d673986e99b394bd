# What each cache may cost at most, on the bundled weights and on stories260K: mean KL from the
# full f32 cache 1e-4 nats for f16 (whose likeliest token differs once at most), 1e-3 for q8, 1e-2
# for q4, nothing for none. A stream of five times the trained context, read through a few sinks and
# a window with positions in the cache, predicts at most 1.1 times worse than its tokens read anew.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
export KVASS_THREADS=1

# line MODEL TEXT EXPRESSION FLAG...
line() {
    local model=$1 text=$2 expression=$3
    shift 3
    expect 0 "$KVASS" eval -m "$model" -f "$text" --json --tokens 300 --score-from 150 \
        --path decode "$@"
    json "$expression" 'd["kld_floor"] < 1e-8'
}

lines() {
    line "$1" "$2" 'd["kld_mean"] <= 1e-4 and d["same_top"] >= 0.993' --kv-type f16
    line "$1" "$2" 'd["kld_mean"] <= 1e-3' --kv-type q8
    line "$1" "$2" 'd["kld_mean"] <= 1e-2' --kv-type q4
    line "$1" "$2" 'd["kld_max"] <= 1e-8' --tokens 170 --cache none --kv-type f32
}

if [ -e "$ROOT/weights/tiny" ]; then
    for seed in 1 2; do
        expect 0 "$KVASS" generate -m "$ROOT/weights/tiny" --seed $seed -n 150 -p ''
        cat "$out" >>"$work/told"
    done
    lines "$ROOT/weights/tiny" "$work/told"
fi
stories=$shared/models/stories260K/stories260K.bin
held_out=$shared/corpora/tinystories/natural-0.9MB.txt
if [ ! -e "$stories" ] || [ ! -e "$held_out" ]; then
    [ -s "$work/told" ] || skip "neither bundled weights nor shared data"
    finish
    exit
fi
lines "$stories" "$shared/corpora/story512.txt"

stream=("$KVASS" eval -m "$stories" -f "$held_out" --json --tail-bytes 94000 --tokens 2560 --stream
    --window 124)
expect 0 "${stream[@]}" --sinks 4 --positions cache
json 'd["stream"]["anew_ratio"] <= 1.1' \
    'max(x["ppl"] for x in d["stream"]["parts"]) < 1.5 * d["ppl"]'
finish
