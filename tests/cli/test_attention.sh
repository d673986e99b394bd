# attention: rows that sum to 1, keys called by what the cache does with them, and a bound on size.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
k=("$KVASS" attention -m "$ROOT/tests/golden/llama-gqa")
ids=$(seq 1 90 | awk '{ print $1 * 7 % 51 }' | paste -sd,)
seen='d["keys"][m["keys"]][i]'

expect 0 "${k[@]}" --tokens 1,5,9,2 --kv-type f32
silent
json 'len(d["maps"]) == d["n_layers"] * d["n_heads"]' 'd["tokens"] == [1, 5, 9, 2]' \
    'd["kind"] == "attention" and d["schema_version"] == 1 and d["path"] == "prefill"' \
    'd["n_positions"] == 4 and d["first_query"] == 0 and d["n_meta"] == 0' \
    'd["keys"] == [["w", "ww", "www", "wwww"]]' \
    'all([len(r) for r in m["weights"]] == [1, 2, 3, 4] for m in d["maps"])' \
    'all(abs(sum(r) - 1) < 1e-3 for m in d["maps"] for r in m["weights"])'
cp "$out" "$work/prefill"
# another path, and a file, say the same
expect 0 "${k[@]}" --tokens 1,5,9,2 --kv-type f32 --path decode -o "$work/decode"
[ ! -s "$out" ] || fail "something on stdout"
cp "$work/decode" "$out"
json 'd["path"] == "decode" and d["maps"] and all(abs(a - b) < 1e-4 for m, n in zip(d["maps"],
    json.load(open("'"$work"'/prefill"))["maps"]) for r, s in zip(m["weights"], n["weights"])
    for a, b in zip(r, s))'

# a window and sinks
expect 0 "${k[@]}" --tokens "$ids" --window 5 --sinks 2 --layers 1 --heads 0,2-3
json '[(m["layer"], m["head"]) for m in d["maps"]] == [(1, 0), (1, 2), (1, 3)]' \
    'd["cache"]["window"] == 5 and d["cache"]["sinks"] == 2 and len(d["keys"]) == 1' \
    'd["keys"][0][5] == "sswwww" and d["keys"][0][9] == "ssxxxwwwww"' \
    "all((w == 0) == ($seen[j] == 'x') for m in d['maps'] for i, r in enumerate(m['weights'])
    for j, w in enumerate(r))"
# chosen pages, by decoding
expect 0 "${k[@]}" --tokens "$ids" --topk-pages 2 --dense-layers 1
json 'd["path"] == "decode" and d["cache"]["topk_pages"] == 2' \
    "all(set($seen) == {'w'} for m in d['maps'] if m['layer'] == 0 for i in range(90))" \
    "all(sorted($seen) == sorted(32 * 'p' + 32 * '-' + 26 * 'w') for m in d['maps']
    if m['layer'] > 0 for i in [89])"
# meta tokens come first and have no rows of their own, unless nothing is kept
meta=("$KVASS" attention -m "$ROOT/tests/golden/kvass" --tokens "$ids")
expect 0 "${meta[@]}"
json 'd["n_meta"] > 0 and d["first_query"] == d["n_meta"]' \
    'd["n_positions"] == d["n_meta"] + 90' \
    'all(r[:d["n_meta"]] == d["n_meta"] * "m" for rows in d["keys"] for r in rows)' \
    'any("x" in rows[-1] for rows in d["keys"])'
expect 0 "${meta[@]}" --cache none
json 'd["first_query"] == 0 and d["cache"]["retain"] == "none"' \
    'd["keys"][0][1] == "mm"'

# text of tokens
need_model
expect 0 "$KVASS" attention -m "$model" --layers 0 --heads 0 "Once upon a time"
json 'd["pieces"][-1].strip() == "time" and len(d["pieces"]) == len(d["tokens"])'

# refusals
expect 2 "${k[@]}"
says "nothing to look at"
expect 2 "${k[@]}" --tokens 1,2 prompt
says "give one of them"
expect 2 "${k[@]}" --tokens 1,2 --layers 99
says "there is no layer 99"
expect 2 "${k[@]}" --tokens 1,2 --heads 99
says "there is no head 99"
expect 2 "${k[@]}" --tokens 1,2 --heads 3-1
says "--heads"
expect 2 "${k[@]}" --tokens 1,2 --path backwards
says "--path"
expect 2 "${k[@]}" --tokens 1,999999
says "999999"
expect 4 "${k[@]}" -c 2 --tokens 1,2,3
says "PROMPT_TOO_LONG"
expect 4 "${k[@]}" -c 4K --tokens "$(yes 1 | head -n 3000 | paste -sd,)" --layers 0 --heads 0
says "choose with --layers and --heads"
expect 1 "${k[@]}" --tokens 1,2 -o "$work/none/there"
says "No such file"
finish
