# bench: rows, formats, and that every way of counting agrees. No time decides anything here.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
k=("$KVASS" bench -q -m "$ROOT/tests/golden/llama-gqa" -n 3 --reps 3 --warmup 0)

expect 0 "${k[@]}" --depth 5,20 -o json
silent
json 'd["schema_version"] == 1 and len(d["rows"]) == 6 and len(d["side_by_side"]) == 2'
json '{(r["mode"], r["n_ctx_before"]) for r in d["rows"]} == {
    (m, n) for m in ("prefill", "cached", "uncached") for n in (5, 20)}'
json 'all(len(r["samples_tok_s"]) == 3 for r in d["rows"])' \
    'all(r["tok_s_p5"] <= r["tok_s_median"] <= r["tok_s_p95"] for r in d["rows"])'
json 'all(r["kv_bytes"] == 0 for r in d["rows"] if r["mode"] == "uncached")'
json 'all(r["kv_bytes"] > 0 and r["n_gen"] == 3 for r in d["rows"] if r["mode"] == "cached")'
json 'all((r["ttft_ms"] is not None) == (r["mode"] == "prefill") for r in d["rows"])'
json 'all(abs(s["uncached_per_cached"] / (s["uncached_ms"] / s["cached_ms"]) - 1) < 0.02
    for s in d["side_by_side"])'

expect 0 "${k[@]}" --depth 5 -o csv
[ "$(wc -l <"$out")" -eq 4 ] || fail "csv lines"
[ "$(awk -F, '{ print NF }' "$out" | sort -u | wc -l)" -eq 1 ] || fail "csv columns: $(cat "$out")"
expect 0 "${k[@]}" --depth 5 -o jsonl --mode cached,uncached
[ "$(wc -l <"$out")" -eq 2 ] || fail "jsonl lines"
python3 -c 'import json, sys
for line in open(sys.argv[1]): assert json.loads(line)["schema_version"] == 1' "$out" ||
    fail "jsonl"
expect 0 "${k[@]}" --depth 5
[ "$(grep -c '^|' "$out")" -eq 3 ] || fail "table: $(cat "$out")"

# several sequences in one forward
expect 0 "${k[@]}" --depth 0,5 --seqs 1,2,4 --mode prefill,cached -o json
json '[r["n_seqs"] for r in d["rows"] if r["mode"] == "cached"] == 2 * [1, 2, 4]' \
    'all(r["n_seqs"] == 1 for r in d["rows"] if r["mode"] == "prefill")' \
    'all(r["kv_bytes"] == r["n_seqs"] * d["rows"][0]["kv_bytes"] for r in d["rows"]
    if r["mode"] == "cached")'
expect 0 "${k[@]}" --depth 5 --seqs 1,3
[ "$(grep -c '^|' "$out")" -eq 7 ] || fail "tables: $(cat "$out")"
expect 2 "${k[@]}" --seqs 0
says "--seqs"

# lists of depths
expect 0 "${k[@]}" --mode cached --depth 0-8*2,10-20+5,3 -o json
json '[r["n_ctx_before"] for r in d["rows"]] == [0, 1, 2, 4, 8, 10, 15, 20, 3]'
# chosen to fit when none are given
expect 0 "${k[@]}" --mode cached -o json
json 'len(d["rows"]) > 0'
expect 0 "${k[@]}" --mode cached -c 9 -o json
json '[r["n_ctx_before"] for r in d["rows"]] == [6]'
for bad in 5-1*2 1-5 1-5*1 1-5+0 x 1-x*2; do
    expect 2 "${k[@]}" --depth "$bad"
    says "--depth"
done
expect 2 "${k[@]}" --mode cache
says "did you mean 'cached'?"
expect 2 "${k[@]}" -o xml
says "known: md, csv, json, jsonl"
expect 2 "${k[@]}" --reps 0
says "--reps"
expect 4 "${k[@]}" --depth 100K
says "exceed the available context size"

# the curve of one step with and without a cache, beyond the trained context, too
k[6]=1
expect 0 "${k[@]}" --mode cached,uncached --depth 0-256*4 -c 257 --reps 1 -o jsonl
python3 - "$out" <<'PYTHON' || fail "curve: $(cat "$out")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert [(r["n_ctx_before"], r["mode"]) for r in rows] == [
    (n, m) for n in (0, 1, 4, 16, 64, 256) for m in ("cached", "uncached")]
assert all(r["kind"] == "bench" and len(r["model_fingerprint"]) == 16 for r in rows)
assert all(r["kv_bytes"] == 0 for r in rows if r["mode"] == "uncached")
held = [r["kv_bytes"] for r in rows if r["mode"] == "cached"]
assert held == sorted(held) and held[-1] > held[0] > 0
PYTHON
finish
