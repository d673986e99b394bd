# offload: a small budget and a file give the same text; what cannot be is an error of one line.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model

k=("$KVASS" generate -q -m "$model" --temp 0 -n 60 -t 1 --batch 32)
seq 1 200 | tr "\n" " " >"$work/prompt"
expect 0 "${k[@]}" -f "$work/prompt"
cp "$out" "$work/resident"

# the least that must stay in memory, as the error says it
expect 4 "${k[@]}" -f "$work/prompt" --kv-budget 1 --kv-offload "$work/kv"
says "(KV_BUDGET)"
least=$(sed -n 's/.*too small: \([0-9]*\) bytes hold.*/\1/p' "$err")
expect 0 "${k[@]}" -f "$work/prompt" --kv-budget "$least" --kv-offload "$work/kv"
same "$out" "$work/resident"
[ ! -e "$work/kv" ] || fail "the file is left behind"
expect 0 "${k[@]}" -f "$work/prompt" --kv-budget "$least" --kv-offload "$work/kv" --json
json 'd["cache"]["cold_bytes"] > 0' 'd["cache"]["cold_pages_read"] > 0' \
    "d['cache']['bytes_reserved'] == $least"
expect 0 "${k[@]}" -f "$work/prompt" --kv-offload "$work/kv" --json
json 'd["cache"]["cold_bytes"] == 0'

# with few pages read and many, text comes
expect 0 "${k[@]}" -f "$work/prompt" --cache topk --kv-budget 4M --kv-offload "$work/kv"
same "$out" "$work/resident"

echo mine >"$work/kv"
expect 1 "${k[@]}" -f "$work/prompt" --kv-offload "$work/kv"
says "(OFFLOAD_OPEN)"
[ "$(cat "$work/kv")" = mine ] || fail "somebody's file was overwritten"
rm "$work/kv"
expect 1 "${k[@]}" -f "$work/prompt" --kv-offload "$work/no/kv"
says "No such file"
expect 2 "${k[@]}" -f "$work/prompt" --kv-offload "$work/kv" --cache none
says "(OFFLOAD)"
expect 1 bash -c 'ulimit -f 8 && exec "$@"' - "${k[@]}" -f "$work/prompt" --kv-budget "$least" \
    --kv-offload "$work/kv"
grep -qF "(OFFLOAD_WRITE)" "$err" || fail "a full disk: $(head -c 300 "$err")"
finish
