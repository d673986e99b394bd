# generate: text, limits, stop texts, reports, reproducibility.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model

# the same text again: greedy, and sampled with a seed, for any number of threads
expect 0 "$KVASS" generate -m "$model" --temp 0 -n 24 "Once upon a time"
silent
cp "$out" "$work/greedy"
[ -s "$work/greedy" ] || fail "no text"
expect 0 "$KVASS" -m "$model" --temp 0 -n 24 "Once upon a time"
same "$out" "$work/greedy"
expect 0 "$KVASS" generate -m "$model" --seed 5 -n 24 "Once upon a time"
cp "$out" "$work/seed5"
for threads in 1 2 5; do
    expect 0 "$KVASS" generate -m "$model" --seed 5 -n 24 -t $threads "Once upon a time"
    same "$out" "$work/seed5"
done
KVASS_THREADS=2 expect 0 "$KVASS" generate -m "$model" --seed 5 -n 24 "Once upon a time"
same "$out" "$work/seed5"
expect 0 "$KVASS" generate -m "$model" --seed 6 -n 24 "Once upon a time"
cmp -s "$out" "$work/seed5" && fail "two seeds, one text"

# every path gives the same text when the cache is exact
for options in "--cache none" "--batch 1" "--batch 7" "--deterministic" "--isa scalar" "--mmap" \
    "-c 64"; do
    # shellcheck disable=SC2086 # a list of words
    expect 0 "$KVASS" generate -m "$model" --kv-type f32 --temp 0 -n 24 $options "Once upon a time"
    cp "$out" "$work/path"
    expect 0 "$KVASS" generate -m "$model" --kv-type f32 --temp 0 -n 24 "Once upon a time"
    same "$out" "$work/path"
done

# the model by environment; -m wins
KVASS_MODEL=$model expect 0 "$KVASS" --temp 0 -n 24 "Once upon a time"
same "$out" "$work/greedy"
KVASS_MODEL=/nonexistent expect 0 "$KVASS" -m "$model" --temp 0 -n 24 "Once upon a time"
same "$out" "$work/greedy"

# --echo puts the prompt first
expect 0 "$KVASS" generate -m "$model" --temp 0 -n 24 --echo "Once upon a time"
{ printf 'Once upon a time'; cat "$work/greedy"; } >"$work/echo"
same "$out" "$work/echo"

# -n 0 reads the prompt and writes nothing
expect 0 "$KVASS" generate -m "$model" -n 0 "Once upon a time"
[ ! -s "$out" ] || fail "text after -n 0"

# a stop text ends the text before it, however it lies across tokens
text=$(cat "$work/greedy")
for at in 5 9 14; do
    expect 0 "$KVASS" generate -m "$model" --temp 0 -n 24 --stop "absent" --stop "${text:at:7}" \
        "Once upon a time"
    before=${text%%"${text:at:7}"*}
    [ "$(cat "$out")" = "$before" ] || fail "stop '${text:at:7}' gave '$(cat "$out")'"
done
expect 0 "$KVASS" generate -m "$model" --temp 0 -n 24 --json --stop "${text:9:7}" "Once upon a time"
json 'd["finish_reason"] == "stop"'
# what only looks like the beginning of one is not lost
expect 0 "$KVASS" generate -m "$model" --temp 0 -n 24 --stop "${text: -3}@@" "Once upon a time"
same "$out" "$work/greedy"

# --json
expect 0 "$KVASS" generate -m "$model" --json --seed 9 -n 12 "Once upon a time"
silent
json 'set(d) == {"text", "tokens", "prompt_tokens", "finish_reason", "seed", "timing", "cache"}'
json 'len(d["tokens"]) == 12 and d["finish_reason"] == "length" and d["seed"] == 9'
json 'd["timing"]["first_token_ms"] > 0 and d["timing"]["decode_tok_s"] > 0'
json 'd["cache"]["retain"] == "full"' \
    'd["cache"]["store"] == "f16"' \
    'd["cache"]["bytes_used"] > 0' \
    'd["cache"]["bytes_used"] == d["cache"]["bytes_resident"] <= d["cache"]["bytes_touched"]' \
    'd["cache"]["pages_touched"] > 0 and d["cache"]["reused_tokens"] == 0'
python3 -c 'import json, sys
sys.stdout.write(json.load(open(sys.argv[1]))["text"])' "$out" >"$work/text"
expect 0 "$KVASS" generate -m "$model" --seed 9 -n 12 "Once upon a time"
same "$out" "$work/text"
expect 0 "$KVASS" generate -m "$model" --json --cache none --kv-type f32 --temp 0 -n 8 "Once"
json 'd["cache"]["retain"] == "none" and d["cache"]["bytes_used"] == 0'
json 'd["cache"]["recomputed_tokens"] > 0 and d["cache"]["bytes_transient"] > 0'
# --token-stats: the likelihood is the network's own, whatever the sampler makes of it
expect 0 "$KVASS" generate -m "$model" --token-stats --seed 9 -n 12 "Once upon a time"
silent
json 'len(d["token_ms"]) == len(d["token_logprob"]) == len(d["pieces"]) == len(d["tokens"]) == 12'
json 'all(x > 0 for x in d["token_ms"]) and all(x <= 0 for x in d["token_logprob"])'
json '"".join(d["pieces"]) == d["text"] and d["model"] and d["threads"] > 0'
json 'sum(d["token_ms"]) <= d["timing"]["prompt_ms"] + d["timing"]["decode_ms"] + 0.01'
json 'd["token_ms"][0] >= d["timing"]["prompt_ms"] - 0.01'
next_id=$(python3 -c 'import json, sys; d = json.load(open(sys.argv[1]))
print(",".join(map(str, d["prompt_tokens"] + d["tokens"][:5])), d["tokens"][5])' "$out")
want=$(python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["token_logprob"][5])' "$out")
"$KVASS" logits -m "$model" --tokens "${next_id% *}" >"$work/logits"
python3 -c 'import math, sys
logits = [float(x) for x in open(sys.argv[1])]
got = logits[int(sys.argv[2])] - math.log(math.fsum(map(math.exp, logits)))
sys.exit(not abs(got - float(sys.argv[3])) < 2e-3)' "$work/logits" "${next_id#* }" "$want" ||
    fail "token_logprob: $want"
expect 0 "$KVASS" generate -m "$model" --token-stats --samples 2 --seed 9 -n 4 "Once"
json 'all(len(s["token_ms"]) == len(s["token_logprob"]) == 4 for s in d["samples"])'
# without --seed there is a new one each time
expect 0 "$KVASS" generate -m "$model" --json -n 1 "Once"
cp "$out" "$work/first"
expect 0 "$KVASS" generate -m "$model" --json -n 1 "Once"
python3 -c 'import json, sys
a, b = (json.load(open(f))["seed"] for f in sys.argv[1:])
sys.exit(a == b)' "$out" "$work/first" || fail "two runs with the same unasked seed"

# a full context ends the text without an error
expect 0 "$KVASS" generate -m "$model" --json --temp 0 -c 16 "Once upon a time"
json 'd["finish_reason"] == "context" and len(d["tokens"]) + len(d["prompt_tokens"]) == 17'

# choices that are known to lose the text are warned of
expect 0 "$KVASS" generate -m "$model" --kv-share pairs -n 4 "Once upon a time"
grep -q "warning: .*the network was not trained so" "$err" || fail "$(cat "$err")"
expect 0 "$KVASS" generate -m "$model" --window 8 --positions cache -n 4 "Once upon a time"
grep -q "warning: positions in the cache cost quality" "$err" || fail "$(cat "$err")"
expect 0 "$KVASS" generate -m "$model" -q --kv-share pairs -n 4 "Once upon a time"
silent

# the summary line
expect 0 "$KVASS" generate -m "$model" --seed 3 --stats -n 8 "Once upon a time"
number='[0-9.e+]+'
pattern="^prompt $number tok $number ms \($number tok/s\) \| 8 tok $number ms \($number tok/s\) \| "
pattern+="first token $number ms \| load $number ms \| kv $number/$number MiB \| "
pattern+="peak $number MiB \| seed 3 \| stop: length\$"
grep -qE "$pattern" "$err" ||
    fail "summary: $(cat "$err")"
grep -qE "^cache full f16: reserved $number MiB, used $number, shared $number, resident $number, \
touched $number in $number pages \| $number bytes/tok \| evicted 0 tok, recomputed 0, reused 0\$" \
    "$err" || fail "cache: $(cat "$err")"
[ "$(wc -l <"$err")" -eq 2 ] || fail "more than two lines of summary"
expect 0 "$KVASS" generate -m "$model" --seed 3 --stats -q -n 8 "Once upon a time"
silent

# the locale changes nothing
sampled=("$KVASS" generate -m "$model" --temp 0.5 --top-p 0.9 --seed 5 -n 8 "Once")
expect 0 env LC_ALL=de_DE.UTF-8 "${sampled[@]}"
cp "$out" "$work/locale"
expect 0 env LC_ALL=C "${sampled[@]}"
same "$out" "$work/locale"
finish
