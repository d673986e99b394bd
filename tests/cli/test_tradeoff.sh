# tradeoff: every cache and field, bytes by their formula, exact rows, going on, refusals.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
export KVASS_THREADS=1

text="Once upon a time there was a little girl. She liked to play in the garden with her dog."
for i in $(seq 6); do printf '%s The %s day was long. ' "$text" "$i"; done >"$work/text"
k=("$KVASS" tradeoff -m "$model" -f "$work/text")
runs=$work/runs.jsonl

# lines EXPRESSION...: Python expressions hold for the list `rows` of the lines of $runs
lines() {
    python3 -c '
import json, math, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
by_name = {(r["cache"], r["n_ctx"], r["trial"]): r for r in rows}
for expression in sys.argv[2:]:
    assert eval(expression), expression
' "$runs" "$@" >"$work/lines" 2>&1 || fail "lines: $(tail -n 1 "$work/lines")"
}

# every cache once, and twice: the second trial takes the scores of the first over
expect 0 "${k[@]}" --ctx 16,48 --trials 2 -o "$runs"
silent
cp "$out" "$work/table"
[ "$(grep -c '^| [a-z]' "$work/table")" -eq 26 ] || fail "table: $(cat "$work/table")"
lines 'len(rows) == 2 * 2 * 12' \
    '[r["cache"] for r in rows[:12]] == """full f16 q8 q4 window:sqrt window:8 sinks:sqrt sinks:8
    stream:sqrt topk:8 pairs none""".split()' \
    '[r["trial"] for r in rows] == 2 * ([0] * 12 + [1] * 12)' \
    'len({r["flags"] for r in rows if r["n_ctx"] == 48}) == 12' \
    'all(r["status"] == "ok" and r["reason"] is None and r["trials"] == 1 for r in rows)'
# all members of a measurement, in every line
lines 'all(set("""policy k_type v_type n_ctx budget tokens_seen bytes_reserved bytes_used
    bytes_touched bytes_per_token index_bytes cold_bytes bits_per_byte ppl ppl_ratio kld_mean
    kld_p99 kld_max same_top needle_kept prefill_tok_s decode_tok_s decode_p50_ms decode_p99_ms
    recomputed_tokens evicted_tokens pages_touched threads seed model_fingerprint schema_version
    kind model family dtype n_params weight_bytes n_layers n_kv_heads head_dim n_meta trained_ctx
    text_fingerprint cpu isa batch deterministic load_average version commit cache flags trial
    trials status reason exactness path select window sinks topk_pages positions share n_owners
    tokens_prefilled tokens_decoded tokens_scored bytes_scored cache_bytes cache_bytes_peak
    bytes_transient tail_bytes prefill_ms_per_token decode_ms_per_token prefill_ms_trials
    decode_ms_trials recomputed_per_token pages_read""".split()) == set(r) - {"kld_floor"}
    for r in rows)' \
    'all(r["schema_version"] == 1 and r["kind"] == "tradeoff" for r in rows)' \
    'all(r["threads"] == 1 for r in rows)' \
    'all(r["bits_per_byte"] > 0 and r["decode_ms_per_token"] > 0 and r["prefill_tok_s"] > 0 and
    abs(r["decode_tok_s"] * r["decode_ms_per_token"] / 1e3 - 1) < 0.01 for r in rows)' \
    'all(r["tokens_seen"] == r["n_ctx"] == 2 * r["tokens_prefilled"] == 2 * r["tokens_scored"]
    for r in rows)' \
    'all(r["tokens_decoded"] == (4 if r["cache"] == "none" else r["tokens_scored"]) for r in rows)'
# what is exact says so and predicts the same, what is not does not claim it
lines 'all(r["kld_max"] < 1e-8 and r["same_top"] == 1 and abs(r["ppl_ratio"] - 1) < 1e-6
    for r in rows if r["exactness"] == "exact")' \
    '{r["cache"] for r in rows if r["exactness"] == "exact"} >= {"full", "none", "topk:8"}' \
    '{r["cache"] for r in rows if r["exactness"] == "rounding"} == {"f16"}' \
    'all(r["kld_mean"] > 1e-4 for r in rows if r["cache"] in ("window:8", "sinks:8", "pairs"))' \
    'by_name["window:sqrt", 48, 0]["window"] == 27 and by_name["sinks:8", 48, 0]["sinks"] == 4' \
    'by_name["stream:sqrt", 48, 0]["positions"] == "cache"'
# bytes: of keys and values in pages of 32 rows, over the layers that own some, meta tokens too
lines 'all(r["bytes_per_token"] * 8 == 2 * r["n_owners"] * r["n_kv_heads"] * r["head_dim"] * bits
    for r in rows for bits in [{"f32": 32, "f16": 16, "q8": 8.5, "q4": 5}[r["k_type"]]]
    if r["policy"] == "full" and r["select"] == "all")' \
    'all(r["bytes_used"] == r["bytes_per_token"] * 32 * math.ceil((r["n_ctx"] + r["n_meta"]) / 32)
    for r in rows if r["policy"] == "full" and r["select"] == "all")' \
    'all(r["cache_bytes"] == r["bytes_used"] + r["index_bytes"] + r["tail_bytes"]
    and r["bytes_used"] <= r["cache_bytes_peak"] for r in rows)' \
    'all(r["bytes_used"] <= 2 * r["n_owners"] * r["n_kv_heads"] * r["head_dim"] * 4 * 32 *
    (math.ceil((r["window"] + 31) / 32) + math.ceil((r["sinks"] + r["n_meta"]) / 32))
    for r in rows if r["policy"] == "window")' \
    'all(r["bytes_used"] == r["cache_bytes"] == 0 for r in rows if r["cache"] == "none")'
# none runs all tokens again: of 48, 24 by prefill, the others in four steps, each in its middle
lines 'by_name["none", 48, 0]["recomputed_tokens"] == sum(24 + 3 + 6 * i for i in range(4))' \
    'all(r["recomputed_tokens"] == 0 for r in rows if r["cache"] != "none")' \
    'by_name["window:8", 48, 0]["evicted_tokens"] > 0'
lines 'all(by_name[c, n, 0][m] == by_name[c, n, 1][m] for c, n, t in by_name
    for m in ("kld_mean", "ppl", "same_top", "bits_per_byte", "cache_bytes", "evicted_tokens"))'

# the quality is what eval says
expect 0 "$KVASS" eval -m "$model" -f "$work/text" --json -c 48 --tokens 49 --score-from 25 \
    --path both --kv-type f32 --window 8 --sinks 4
cp "$out" "$work/eval.json"
lines 'all(math.isclose(json.load(open("'"$work/eval.json"'"))[m], by_name["sinks:8", 48, 0][m],
    rel_tol=1e-5) for m in ("kld_mean", "kld_max", "same_top", "ppl", "bits_per_byte"))'

# finished runs are not made again, and the same table comes out of the file alone
cp "$runs" "$work/before"
expect 0 "${k[@]}" --ctx 16,48 --trials 2 -o "$runs"
silent
same "$runs" "$work/before"
same "$out" "$work/table"
expect 0 "$KVASS" tradeoff --from "$runs"
silent
same "$out" "$work/table"
# merged lines give it, too; one length, one cache; several files
expect 0 "$KVASS" tradeoff --from "$runs" --format jsonl
cp "$out" "$work/merged.jsonl"
expect 0 "$KVASS" tradeoff --from "$work/merged.jsonl"
same "$out" "$work/table"
expect 0 "$KVASS" tradeoff --from "$runs" --ctx 48 --policies q8,topk:8 --format csv
[ "$(wc -l <"$out")" -eq 3 ] || fail "csv: $(cat "$out")"
[ "$(awk -F'"' '{ for (i = 2; i <= NF; i += 2) gsub(",", "", $i); print }' "$out" |
    awk -F, '{ print NF }' | sort -u | wc -l)" -eq 1 ] || fail "csv columns: $(cat "$out")"
head -n 24 "$runs" >"$work/first"
tail -n +25 "$runs" >"$work/second"
expect 0 "$KVASS" tradeoff --from "$work/first" --from "$work/second"
same "$out" "$work/table"
expect 2 "$KVASS" tradeoff --from "$runs" --ctx 47
says "no run of that length and cache"

# interrupted: half a line is dropped, what is missing is made, nothing else is touched
head -n 3 "$runs" >"$work/cut.jsonl"
sed -n 4p "$runs" | head -c 200 >>"$work/cut.jsonl"
expect 0 "${k[@]}" --ctx 16 --trials 1 --policies full,f16,q8,q4,pairs -o "$work/cut.jsonl"
grep -q "last line was not finished" "$err" || fail "no word of the dropped line"
[ "$(wc -l <"$work/cut.jsonl")" -eq 5 ] || fail "$(wc -l <"$work/cut.jsonl") lines"
head -n 3 "$work/cut.jsonl" >"$work/a"
head -n 3 "$runs" >"$work/b"
same "$work/a" "$work/b"
# a disk that is full in the middle of a line, and a program that is killed
rm "$work/cut.jsonl"
cut=("${k[@]}" --ctx 16 --trials 1 --policies full,q8,none -o "$work/cut.jsonl")
(
    trap '' XFSZ
    ulimit -f 4
    "${cut[@]}"
) >"$out" 2>"$err" </dev/null
[ $? -eq 1 ] || fail "no error when the disk is full: $(cat "$err")"
says "cut.jsonl"
[ -n "$(tail -c 1 "$work/cut.jsonl")" ] || fail "the last line is whole"
expect 0 "${cut[@]}"
grep -q "last line was not finished" "$err" || fail "no word of the dropped line"
[ "$(wc -l <"$work/cut.jsonl")" -eq 3 ] || fail "$(wc -l <"$work/cut.jsonl") lines"
rm "$work/cut.jsonl"
"${k[@]}" --ctx 16 --trials 1000 -o "$work/cut.jsonl" >/dev/null 2>&1 </dev/null &
pid=$!
for i in $(seq 600); do
    [ "$(cat "$work/cut.jsonl" 2>/dev/null | wc -l)" -lt 2 ] || break
    sleep 0.1
done
{ kill -9 $pid && wait $pid; } 2>/dev/null
[ "$(wc -l <"$work/cut.jsonl")" -ge 2 ] || fail "nothing was written before the end"
cp "$work/cut.jsonl" "$work/before"
expect 0 "${k[@]}" --ctx 16 --trials 1 --policies full,f16,q8 -o "$work/cut.jsonl"
head -n 2 "$work/cut.jsonl" >"$work/a"
head -n 2 "$work/before" >"$work/b"
same "$work/a" "$work/b"
[ "$(wc -l <"$work/cut.jsonl")" -ge 3 ] || fail "$(wc -l <"$work/cut.jsonl") lines"
cp "$runs" "$work/before"
# two at once
expect 1 flock "$runs" "${k[@]}" --ctx 16 -o "$runs"
says "another kvass tradeoff is writing"
# more trials, other caches and lengths are added
rm "$work/cut.jsonl"
expect 0 "${k[@]}" --ctx 16 --trials 1 --policies full,q8 -o "$work/cut.jsonl"
expect 0 "${k[@]}" --ctx 16 --trials 2 --policies full,window:3 -o "$work/cut.jsonl"
[ "$(wc -l <"$work/cut.jsonl")" -eq 5 ] || fail "$(wc -l <"$work/cut.jsonl") lines"
# without a file
expect 0 "${k[@]}" --ctx 8 --trials 1 --policies full,none --format jsonl
[ "$(wc -l <"$out")" -eq 2 ] || fail "jsonl: $(cat "$out")"

# runs of something else do not mix, and the file stays as it is
refused() {
    local word=$1
    shift
    expect 2 "$@" -o "$runs"
    says "$word"
    same "$runs" "$work/before"
}
printf 'Another text. %s' "$text" >"$work/other"
refused "another text" "$KVASS" tradeoff -m "$model" -f "$work/other" --ctx 8
refused "another number of threads" "${k[@]}" -t 2 --ctx 8
refused "another --batch" "${k[@]}" --batch 7 --ctx 8
refused "another --deterministic" "${k[@]}" --deterministic --ctx 8
sed 's/"model_fingerprint":"[0-9a-f]*"/"model_fingerprint":"0"/' "$runs" >"$work/model.jsonl"
expect 2 "${k[@]}" --ctx 8 -o "$work/model.jsonl"
says "another model"
# a file of something else is never written to
for content in "a story" "a story
" '{"kind": "other"}
' '[1]
' '{"schema_version":2,"kind":"tradeoff"}
' '{"schema_version":1,"kind":"tradeoff"}
'; do
    printf '%s' "$content" >"$work/story"
    cp "$work/story" "$work/copy"
    expect 2 "${k[@]}" --ctx 8 -o "$work/story"
    says "line"
    same "$work/story" "$work/copy"
    expect 2 "$KVASS" tradeoff --from "$work/story"
done
expect 1 "${k[@]}" --ctx 8 -o "$work"
says "directory"
expect 2 "${k[@]}" --ctx 8 -o /dev/null
says "not a regular file"
expect 1 "${k[@]}" --ctx 8 -o "$work/absent/runs"
says "absent"
expect 1 "$KVASS" tradeoff --from "$work/absent"
says "absent"

# what a hostile file says is only shown
for run in '"trials":1e9' '"trials":-1,"exactness":7,"decode_ms_trials":[null,"x",[1]]' \
    '"trials":9223372036854775807,"exactness":"exact","cache_bytes":-1e300,"kld_mean":1e308' \
    '"trials":1,"exactness":"\u001b[31m","recomputed_per_token":9e18,"threads":-9223372036854775807'
do
    printf '{"schema_version":1,"kind":"tradeoff","model":"//","n_ctx":-1,"status":"ok",%s}\n' \
        "\"cache\":\"a\",\"flags\":null,$run" >"$work/hostile"
    for format in md csv jsonl; do
        code=0
        "$KVASS" tradeoff --from "$work/hostile" --from "$runs" --format $format >"$out" 2>"$err" ||
            code=$?
        case $run in
        *1e9*) [ $code -eq 2 ] || fail "exit code $code for $run" ;;
        *) [ $code -eq 0 ] || fail "exit code $code for $run as $format: $(cat "$err")" ;;
        esac
    done
done

# a length that the text or the positions have no room for is named and left out; if all are, exit 4
rm -f "$runs"
expect 0 "${k[@]}" --ctx 8,5000 --trials 1 --policies full -o "$runs"
grep -q "5,000 tokens.*: left out: the text has" "$out" || fail "table: $(cat "$out")"
lines 'rows[1]["status"] == "left out" and rows[1]["cache"] is None and len(rows) == 2'
expect 0 "${k[@]}" --ctx 8,5000 --trials 1 --policies full -o "$runs"
lines 'len(rows) == 2'
expect 4 "${k[@]}" --ctx 5000
says "the text has"
if [ -e "$ROOT/weights/tiny-gpt2" ]; then
    rm -f "$runs"
    for i in $(seq 30); do cat "$work/text"; done >"$work/long"
    expect 0 "$KVASS" tradeoff -m "$ROOT/weights/tiny-gpt2" -f "$work/long" --ctx 16,1025 \
        --trials 2 --policies full,stream:8 -o "$runs"
    lines '[r["status"] for r in rows] == ["ok", "refused", "ok", "left out"]' \
        '"POSITIONS" not in rows[1]["flags"] and "rotary" in rows[1]["reason"]' \
        '"expected 1 to 1024" in rows[3]["reason"]'
    grep -q "^| stream:8 .* refused " "$out" || fail "table: $(cat "$out")"
    grep -q "^stream:8: .*rotary" "$out" || fail "table: $(cat "$out")"
fi

# the command line
expect 2 "${k[@]}" --policies evict
says "found 'evict'"
for bad in window window:0 window:x topk:0 topk:sqrt full:3 :8 sinks; do
    expect 2 "${k[@]}" --policies "$bad"
    says "--policies"
done
for bad in 1 0 -5 x 99999999999; do
    expect 2 "${k[@]}" --ctx "$bad"
    says "--ctx"
done
expect 2 "${k[@]}" --window 8
says "unrecognized option '--window'"
expect 2 "${k[@]}" --from "$runs"
says "--from"
expect 2 "${k[@]}" --trials 0
says "--trials"
expect 2 "${k[@]}" --format xml
says "known: md, csv, jsonl"
expect 2 "$KVASS" tradeoff -m "$model"
says "no text"
finish
