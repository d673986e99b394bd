# weights: each bundled model opens, tells a story, predicts one, remembers what its cache holds.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
export KVASS_THREADS=1
here=$ROOT/tests/cli
declare -A bytes

for name in tiny tiny-lean tiny-gpt2; do
    model=$ROOT/weights/$name
    expect 0 "$KVASS" inspect --json -m "$model" --batch 128
    json 'd["n_vocab"] == 4096 and d["n_ctx"] == 1024' '3e6 < d["n_params"] < 3.9e6' \
        'd["dtypes"][0]["dtype"] == "bf16"'
    read_bytes='import json, sys; print(json.load(sys.stdin)["memory"]["cache_bytes"])'
    bytes[$name]=$(python3 -c "$read_bytes" \
        <"$out")

    # an untrained model would need about 3 bits for each byte of this story
    expect 0 "$KVASS" eval --json -m "$model" -f "$here/weights.txt"
    json 'd["bits_per_byte"] < 1.25'

    expect 0 "$KVASS" generate -m "$model" --seed 1 -n 300 "Once upon a time"
    [ "$(wc -w <"$out")" -ge 30 ] || fail "$name says little: $(cat "$out")"
    # its generation_config.json says how; flags say otherwise; greedy is plain
    cp "$out" "$work/said"
    expect 0 "$KVASS" generate -m "$model" --seed 1 -n 300 --temp 0.6 --top-k 40 --top-p 0.95 \
        --repeat-penalty 1.1 "Once upon a time"
    same "$out" "$work/said"
    expect 0 "$KVASS" generate -m "$model" --seed 1 -n 300 --repeat-penalty 1 "Once upon a time"
    ! cmp -s "$out" "$work/said" || fail "$name: --repeat-penalty changes nothing"
    expect 0 "$KVASS" generate -m "$model" --temp 0 -n 60 "Once upon a time"
    cp "$out" "$work/said"
    expect 0 "$KVASS" generate -m "$model" --temp 0 --repeat-penalty 1 -n 60 "Once upon a time"
    same "$out" "$work/said"
    expect 0 "$KVASS" tokenize -m "$model" "Lily and 42 frogs"
done
[ "$((3 * bytes[tiny-lean]))" -le "${bytes[tiny]}" ] ||
    fail "the lean cache takes ${bytes[tiny-lean]} bytes, the plain one ${bytes[tiny]}"

# names, numbers and words that stood far back are found again, but not once they left the window
for name in tiny tiny-lean; do
    expect 0 "$KVASS" eval --json -m "$ROOT/weights/$name" --recall "$here/recall.jsonl"
    json 'sum(a["exact"] for a in d["recall"]["distances"]) >= 0.8 * d["recall"]["n"]'
done
expect 0 "$KVASS" eval --json -m "$ROOT/weights/tiny" --recall "$here/recall.jsonl" --window 128
json 'sum(a["exact"] for a in d["recall"]["distances"]) <= 0.2 * d["recall"]["n"]'
finish
