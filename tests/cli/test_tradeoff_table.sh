# tradeoff_table: the runs kept beside the bundled models are whole, and README's table is what
# `kvass tradeoff` makes of them.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
cd "$ROOT" || exit 99
from=()
for name in tiny tiny-lean tiny-gpt2; do
    runs=weights/$name/tradeoff.jsonl
    [ -e "$runs" ] || skip "no runs of weights/$name"
    from+=(--from "$runs")
    [ "$(stat -c %s "$runs")" -lt 65536 ] || fail "$runs is large"
    expect 0 "$KVASS" tradeoff --from "$runs" --format jsonl
    same "$out" "$runs"
    python3 - "$runs" "$name" >"$work/python" 2>&1 <<'PYTHON' || fail "$(tail -n 1 "$work/python")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
ok = [r for r in rows if r["status"] == "ok"]
caches = """full f16 q8 q4 window:sqrt window:8 sinks:sqrt sinks:8 stream:sqrt topk:8 pairs
    none""".split()
assert all(r["model"] == "weights/" + sys.argv[2] for r in rows), "model"
assert len({(r["model_fingerprint"], r["text_fingerprint"], r["cpu"]) for r in rows}) == 1, "setup"
for n_ctx in (512, 1024, 2048):
    found = [r["cache"] for r in rows if r["n_ctx"] == n_ctx]
    assert found == caches or (found == [None] and n_ctx > 1024), (n_ctx, found)
assert all(r["trials"] >= 3 and len(r["decode_ms_trials"]) == r["trials"] for r in ok), "trials"
assert all(r["kld_mean"] < 1e-6 for r in ok if r["exactness"] == "exact"), "exact"
assert {r["exactness"] for r in ok if r["cache"] in ("full", "none")} == {"exact"}, "full, none"
assert all(r["reason"] for r in rows if r["status"] != "ok"), "reason"
PYTHON
done

expect 0 "$KVASS" tradeoff "${from[@]}" --ctx 1024
silent
sed '1,/^<!-- tradeoff -->$/d; /^<!-- end of tradeoff -->$/,$d' README.md >"$work/readme"
same "$out" "$work/readme"
finish
