# samples: --samples is so many lone runs in one batch; --prompts is so many runs that share what
# they can; --system is text before the prompt.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
g=("$KVASS" generate -m "$model" --deterministic -t 1)

# sample i is the run with seed + i, for any number of them, also when some end before others
for options in "-n 20" "-n 40 --stop ." "--kv-type q8 -n 20" "--window 16 --sinks 2 -n 30"; do
    # shellcheck disable=SC2086 # a list of words
    expect 0 "${g[@]}" --samples 4 --seed 11 $options --json "Once upon a time"
    silent
    json 'len(d["samples"]) == 4'
    cp "$out" "$work/samples"
    for i in 0 1 2 3; do
        # shellcheck disable=SC2086
        expect 0 "${g[@]}" --seed $((11 + i)) $options --json "Once upon a time"
        python3 -c 'import json, sys
one, all = (json.load(open(f)) for f in sys.argv[1:3])
s = all["samples"][int(sys.argv[3])]
bad = [k for k in ("text", "tokens", "finish_reason", "seed") if one[k] != s[k]]
sys.exit(str(bad) if bad or one["prompt_tokens"] != all["prompt_tokens"] else 0)' \
            "$out" "$work/samples" $i || fail "sample $i differs: $options"
    done
done
# as text: an empty line between two
expect 0 "${g[@]}" --samples 3 --seed 11 -n 9 --stop '
' "Once upon a time"
silent
cp "$out" "$work/text"
: >"$work/want"
for i in 0 1 2; do
    [ $i -eq 0 ] || printf '\n\n' >>"$work/want"
    expect 0 "${g[@]}" --seed $((11 + i)) -n 9 --stop '
' "Once upon a time"
    cat "$out" >>"$work/want"
done
same "$work/text" "$work/want"
# the prompt's pages are there once
long=$(printf 'Once upon a time there was a dog. %.0s' 1 2 3 4 5 6 7 8)
expect 0 "${g[@]}" --samples 5 --seed 1 -n 4 --json "$long"
json 'd["cache"]["bytes_shared"] > 0' \
    'd["cache"]["bytes_used"] < d["cache"]["bytes_shared"] + 5 * 2 * 32 * 3072'
expect 0 "${g[@]}" --samples 5 --seed 1 -n 4 --stats "$long"
grep -qE '\| shared [0-9.]+ MiB \|.* seed 1-5 \| stop: length(,length){4}$' "$err" ||
    fail "summary: $(cat "$err")"
expect 2 "${g[@]}" --samples 0 x
says "--samples"
expect 2 "${g[@]}" --samples 2 --prompt-cache f --prompt-cache-all x
says "not with --samples"
# samples of a saved prompt
expect 0 "${g[@]}" --prompt-cache "$work/kv" --seed 11 -n 20 --json "Once upon a time"
expect 0 "${g[@]}" --prompt-cache "$work/kv" --samples 2 --seed 11 -n 20 --json "Once upon a time"
json 'd["cache"]["restored_tokens"] == len(d["prompt_tokens"])'
cp "$out" "$work/saved"
expect 0 "${g[@]}" --samples 2 --seed 11 -n 20 --json "Once upon a time"
python3 -c 'import json, sys
a, b = (json.load(open(f))["samples"] for f in sys.argv[1:])
sys.exit(a != b)' "$out" "$work/saved" || fail "other samples of a saved prompt"

# --prompts: each as a run of its own, with pages of those before it
printf '%s\n' "$long One day" "$long The end" "" "Tom sat" "$long One day he" >"$work/prompts"
expect 0 "${g[@]}" --seed 7 -n 10 --prompts "$work/prompts" --json
cp "$out" "$work/lines"
[ "$(wc -l <"$work/lines")" -eq 4 ] || fail "not a document for each prompt"
i=0
while IFS= read -r prompt; do
    [ -n "$prompt" ] || continue
    expect 0 "${g[@]}" --seed 7 -n 10 --json "$prompt"
    python3 -c 'import json, sys
one = json.load(open(sys.argv[1]))
d = json.loads(open(sys.argv[2]).read().split("\n")[int(sys.argv[3])])
reused = d["cache"]["reused_tokens"]
assert (reused > 60) == (int(sys.argv[3]) in (1, 3)), reused
for k in ("text", "tokens", "prompt_tokens", "finish_reason", "seed"):
    assert one[k] == d[k], k' "$out" "$work/lines" $i 2>"$work/why" ||
        fail "prompt $i: $(tail -n 1 "$work/why")"
    i=$((i + 1))
done <"$work/prompts"
expect 0 "${g[@]}" --seed 7 -n 10 --prompts "$work/prompts" --stats
[ "$(grep -c '| reused' "$err")" -eq 4 ] || fail "summaries: $(cat "$err")"
: >"$work/none"
expect 2 "${g[@]}" --prompts "$work/none"
says "no prompt in it"
expect 2 "${g[@]}" --prompts "$work/prompts" "and one more"
says "--prompts"

# --system: the same tokens, pinned; a window does not drop them
expect 0 "${g[@]}" --seed 7 -n 10 --json --system "Tom is a big dog." " He likes to"
json 'd["system_tokens"] and len(d["prompt_tokens"]) == 3'
system=$(python3 -c 'import json, sys
d = json.load(open(sys.argv[1])); print(",".join(map(str, d["system_tokens"] + d["prompt_tokens"])))
open(sys.argv[2], "w").write(json.dumps(d["tokens"]))' "$out" "$work/tokens")
expect 0 "${g[@]}" --seed 7 -n 10 --json "Tom is a big dog. He likes to"
whole=$(python3 -c 'import json, sys
d = json.load(open(sys.argv[1])); print(",".join(map(str, d["prompt_tokens"])))
sys.exit(d["tokens"] != json.load(open(sys.argv[2])))' "$out" "$work/tokens") ||
    { [ "$system" != "$whole" ] || fail "another text than with the system prompt in the prompt"; }
expect 0 "${g[@]}" --seed 7 -n 40 --json --window 8 --system "Tom is a big dog." " He"
json 'len(d["tokens"]) > 0 and d["cache"]["bytes_used"] > 0'
expect 0 "${g[@]}" --seed 7 -n 4 --json --system "Tom is a big dog." ""
json 'len(d["prompt_tokens"]) == 1'
finish
