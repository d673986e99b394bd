# eval: its sums by another way, its windows, its fields.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model

text="Once upon a time there was a little girl. She liked to play in the garden with her dog."
printf '%s' "$text" >"$work/text"
k=("$KVASS" eval -m "$model" -f "$work/text")

expect 0 "${k[@]}"
silent
for word in perplexity bits kl "same top" cache; do
    grep -q "^$word " "$out" || fail "no $word"
done
expect 0 "${k[@]}" --json --kv-type f32
json 'd["kld_mean"] == d["kld_max"] == 0 and d["same_top"] == 1 and d["ppl_ratio"] == 1'
json 'd["policy"] == "full"' \
    'd["k_type"] == d["v_type"] == "f32"' \
    'd["tokens_scored"] == d["tokens_seen"]'
cp "$out" "$work/f32.json"

# a window is approximate, and says what it costs; one as wide as the text costs nothing
expect 0 "${k[@]}" --json --kv-type f32 --path decode --window 4 --sinks 1
json 'd["policy"] == "window" and d["kld_mean"] > 0 and d["bytes_per_token"] == 0'
expect 0 "${k[@]}" --json --kv-type f32 --path decode --window 100000 -c 256
json 'd["kld_max"] < 1e-6 and d["evicted_tokens"] == 0'
expect 0 "${k[@]}" --json --kv-type f32 --kv-share pairs
json 'd["kld_mean"] > 0'
expect 0 "${k[@]}" --json --cache window --window sqrt

# every field of a measurement, whether it was measured or not
json 'set("""policy k_type v_type n_ctx budget tokens_seen bytes_reserved bytes_used bytes_touched
    bytes_per_token index_bytes cold_bytes bits_per_byte ppl ppl_ratio kld_mean kld_p99 kld_max
    same_top needle_kept prefill_tok_s decode_tok_s decode_p50_ms decode_p99_ms recomputed_tokens
    evicted_tokens pages_touched threads seed model_fingerprint""".split()) <= set(d)'

# bits per byte again, from the logits
expect 0 "$KVASS" generate -m "$model" --json -n 0 "$text"
ids=$(python3 -c 'import json, sys
print(*json.load(open(sys.argv[1]))["prompt_tokens"], sep=",")' "$out")
expect 0 "$KVASS" logits -m "$model" --kv-type f32 --all --json --tokens "$ids"
python3 - "$out" "$work/f32.json" "$text" <<'PYTHON' || fail "bits per byte differ from the logits'"
import json, math, sys
d, measured = (json.load(open(f)) for f in sys.argv[1:3])
nats = 0.0
for row, token in zip(d["logits"], d["tokens"][1:]):
    top = max(row)
    nats += top + math.log(sum(math.exp(x - top) for x in row)) - row[token]
bits = nats / math.log(2) / len(sys.argv[3].encode())
sys.exit(not math.isclose(bits, measured["bits_per_byte"], rel_tol=1e-4))
PYTHON

# f16 is close, decoding is as good, no cache is exact
expect 0 "${k[@]}" --json
json '0 < d["kld_mean"] < 1e-4' \
    'd["k_type"] == "f16"' \
    'd["prefill_tok_s"] > 0' \
    'd["decode_tok_s"] is None'
expect 0 "${k[@]}" --json --kv-type f32 --path decode
json 'd["kld_max"] < 1e-6' \
    'd["decode_tok_s"] > 0' \
    'd["decode_p50_ms"] > 0' \
    'd["prefill_tok_s"] is None'
expect 0 "${k[@]}" --json --kv-type f32 --cache none --path decode
json 'd["kld_max"] < 1e-6' \
    'd["policy"] == "none"' \
    'd["bytes_used"] == 0' \
    'd["recomputed_tokens"] > 0'

# a short context: more windows, every byte still counted
expect 0 "${k[@]}" --json -c 8
json "d['bytes_scored'] == ${#text} and d['n_ctx'] == 8"
# only the end of the text
expect 0 "${k[@]}" --json --tail-bytes 20
json 'd["bytes_scored"] == 20'
expect_in 0 "$work/text" "$KVASS" eval -m "$model" --json
json "d['bytes_scored'] == ${#text}"

# stories: the first piece is dropped, short ones are left out, 800 bytes of each are scored
story=$(printf 'Tom had a red ball and he liked it very much. %.0s' $(seq 12))
{
    printf 'cut off anywhere\n'
    printf '%s\n\n%s' "$story" "$story"
    printf '\ntoo short\n'
    printf '%s' "$story"
} >"$work/stories"
expect 0 "$KVASS" eval -m "$model" --json --split stories -f "$work/stories"
json "d['bytes_scored'] == 800 + ${#story}"
expect 2 "$KVASS" eval -m "$model" --split stories -f "$work/text"
says "nothing to score"
expect 2 "$KVASS" eval -m "$model" --split storis -f "$work/text"
says "did you mean 'stories'?"
finish
