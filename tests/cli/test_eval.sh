# eval: its sums by another way, its windows, its fields.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
export KVASS_THREADS=1

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
    'd["tokens_scored"] == d["tokens_seen"]' \
    'd["path"] == "prefill"' \
    'd["kld_floor"] < 1e-9' \
    'd["pages_touched"] > 0'
cp "$out" "$work/f32.json"

# a window is approximate, and says what it costs; one as wide as the text costs nothing
expect 0 "${k[@]}" --json --kv-type f32 --path decode --window 4 --sinks 1
json 'd["policy"] == "window" and d["kld_mean"] > 0 and d["bytes_per_token"] == 0'
json 'd["window"] == 4 and d["sinks"] == 1 and d["positions"] == "original"'
# an approximate cache is scored token by token unless told otherwise
expect 0 "${k[@]}" --json --window 4
json 'd["path"] == "both" and d["decode_tok_s"] > 0'
expect 0 "${k[@]}" --json --window 4 --path prefill
json 'd["path"] == "prefill"'
expect 0 "${k[@]}" --json --kv-type f32 --path decode --window 100000 -c 256
json 'd["kld_max"] < 1e-6 and d["evicted_tokens"] == 0'
expect 0 "${k[@]}" --json --kv-type f32 --kv-share pairs
json 'd["kld_mean"] > 0'
# reading some pages, which only decoding does, is approximate; with room for all it costs nothing
seq 1 60 | tr '\n' ' ' >"$work/long"
expect 0 "$KVASS" eval -m "$model" -f "$work/long" --json --kv-type f32 --topk-pages 1
json 'd["path"] == "both" and d["kld_mean"] > 0 and d["index_bytes"] > 0' 'd["pages_read"] > 0'
expect 0 "$KVASS" eval -m "$model" -f "$work/long" --json --kv-type f32 --cache topk
json 'd["kld_max"] < 1e-6'
expect 0 "$KVASS" eval -m "$model" -f "$work/long" --json --topk-pages 1 --path prefill
json 'd["kld_max"] < 1e-3 and d["pages_read"] == 0'
expect 2 "${k[@]}" --topk-pages 2 --cache none
says "(SELECT)"
expect 2 "${k[@]}" --recent 5
says "--topk-pages"

expect 0 "${k[@]}" --json --cache window --window sqrt

# every field of a measurement, whether it was measured or not
json 'set("""policy k_type v_type n_ctx budget tokens_seen bytes_reserved bytes_used bytes_touched
    bytes_per_token index_bytes cold_bytes bits_per_byte ppl ppl_ratio kld_mean kld_p99 kld_max
    kld_floor same_top needle_kept prefill_tok_s decode_tok_s decode_p50_ms decode_p99_ms
    recomputed_tokens evicted_tokens pages_touched threads seed
    model_fingerprint""".split()) <= set(d)'

# another model to compare with: itself makes no difference, smaller weights do
expect 0 "${k[@]}" --json --kv-type f32 --reference "$model"
json 'd["kld_max"] == 0 and d["reference_fingerprint"] == d["model_fingerprint"]'
"$KVASS" convert -q --type q4_0 "$model" "$work/small.gguf"
expect 0 "$KVASS" eval -m "$work/small.gguf" -f "$work/text" --json --kv-type f32 \
    --reference "$model"
json 'd["kld_mean"] > 1e-5 and d["ppl_ratio"] != 1' \
    'd["reference_fingerprint"] != d["model_fingerprint"]'
python3 -c 'import json, sys
full, small = (json.load(open(f)) for f in sys.argv[1:])
sys.exit(not abs(small["ppl"] / small["ppl_ratio"] / full["ppl"] - 1) < 1e-5)' \
    "$work/f32.json" "$out" || fail "the reference's perplexity: $(cat "$out")"
expect 0 "$KVASS" eval -m "$work/small.gguf" -f "$work/text" --reference "$model"
grep -q "^kl .* from $model's full f32 cache" "$out" || fail "$(cat "$out")"
expect 3 "${k[@]}" --reference "$ROOT/tests/golden/llama-gqa"
says "nothing to compare (REFERENCE_VOCAB)"
expect 1 "${k[@]}" --reference "$work/none"
says "$work/none"
expect 2 "${k[@]}" --stream --reference "$model"
says "not with --reference"

# without a begin-of-text token the first token of the text is not predicted
expect 0 "${k[@]}" --json --kv-type f32
cp "$out" "$work/with.json"
expect 0 "${k[@]}" --json --kv-type f32 --no-bos
python3 -c 'import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
sys.exit(not (a["tokens_scored"] == b["tokens_scored"] + 1 and a["ppl"] != b["ppl"]))' \
    "$work/with.json" "$out" || fail "--no-bos: $(cat "$out")"

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

# a part of each window is read, not scored: the bits of all of it are those of its parts
bits() {
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
print(d["bits_per_byte"] * d["bytes_scored"], d["tokens_scored"], d["bytes_scored"])' "$out"
}
expect 0 "${k[@]}" --json --kv-type f32
all=$(bits)
expect 0 "${k[@]}" --json --kv-type f32 --tokens 9
head=$(bits)
expect 0 "${k[@]}" --json --kv-type f32 --score-from 9
tail=$(bits)
json 'd["prefill_tok_s"] > 0'
python3 -c 'import sys
all, head, tail = ([float(x) for x in s.split()] for s in sys.argv[1:])
sys.exit(any(abs(a - h - t) > 1e-3 for a, h, t in zip(all, head, tail)) or head[1] != 8)
' "$all" "$head" "$tail" || fail "parts do not add up: $all: $head, $tail"
expect 0 "${k[@]}" --json --kv-type f32 --score-from 9 --path both
json 'd["prefill_tok_s"] > 0 and d["decode_tok_s"] > 0' \
    'd["tokens_seen"] == d["tokens_scored"] + 8'
expect 0 "${k[@]}" --json --kv-type f32 --score-from 9 --path decode
json 'd["prefill_tok_s"] is None and d["decode_tok_s"] > 0'
expect 2 "${k[@]}" --score-from 1000
says "nothing to score"

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

# a stream beyond the trained context: flat memory, a level, nothing to compare with
for i in $(seq 60); do printf '%s ' "$text"; done >"$work/long"
stream=("$KVASS" eval -m "$model" -f "$work/long" --json --stream --window 28)
expect 0 "${stream[@]}" --tokens 1100 --sinks 4 --positions cache
json 'd["tokens_seen"] == 1099 and d["kld_mean"] is None and d["path"] == "both"' \
    'len(d["stream"]["parts"]) == 10 and d["stream"]["sampled"] == 256' \
    'max(x["bytes_used"] for x in d["stream"]["parts"]) <= d["bytes_touched"]' \
    'd["stream"]["parts"][9]["bytes_used"] <= 2 * d["stream"]["parts"][1]["bytes_used"]' \
    '0.3 < d["stream"]["anew_ratio"] < 3' \
    'd["evicted_tokens"] >= 1099 - 28 - 4 - 64'
expect 0 "${stream[@]}" --tokens 200 --path prefill --batch 32
json 'd["path"] == "prefill" and d["prefill_tok_s"] > 0 and d["decode_tok_s"] is None'
expect 2 "${stream[@]}" --needle
says "--stream"

# a needle: the full cache keeps all of it; where no chain of layers reaches it, nothing is kept
needle=("$KVASS" eval -m "$model" -f "$work/long" --json --needle --tokens 100 -c 64)
expect 0 "${needle[@]}" --kv-type f32
json 'not d["needle"]["testable"] or abs(d["needle_kept"] - 1) < 1e-5'
expect 0 "${needle[@]}" --kv-type f32 --window 3
json 'all(abs(x["gain"]) < 1e-5 for x in d["needle"]["depths"][:2])' 'd["path"] == "both"'
expect 2 "$KVASS" eval -m "$model" -f "$work/text" --needle
says "do not fill the context"
expect 2 "${needle[@]}" -c 8
says "too short"

# recall: exact answers by distance; where the full cache knows none, nothing can be said
cat >"$work/questions" <<'LINES'
{"distance": 3, "prompt": "One two three four. One two three", "answer": " four"}
{"distance": 9, "prompt": "One two three four. One two three", "answer": " zebra"}
LINES
recall=("$KVASS" eval -m "$model" --recall)
expect 0 "${recall[@]}" "$work/questions" --json
json 'd["recall"]["n"] == 2 and [x["distance"] for x in d["recall"]["distances"]] == [3, 9]' \
    'd["recall"]["exact"] == d["recall"]["full_exact"] <= 1' \
    'd["recall"]["distances"][1]["exact"] == 0'
grep zebra "$work/questions" >"$work/zebra"
expect 0 "${recall[@]}" "$work/zebra"
grep -q "not testable" "$out" || fail "no word: $(cat "$out")"
expect 4 "${recall[@]}" "$work/questions" -c 9
says "do not fit"
printf '{"prompt": "a"}\n' >"$work/bad"
expect 2 "${recall[@]}" "$work/bad"
says "line 1"
printf '\n' >"$work/bad"
expect 2 "${recall[@]}" "$work/bad"
says "no question"
finish
