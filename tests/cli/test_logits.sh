# logits: formats, and the three paths against each other.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
ids=3,1,4,1,5,9,2,6,5,3,5,8

# compare FILE FILE TOLERANCE: 32-bit floats, relative to their standard deviation
compare() {
    python3 - "$@" <<'PYTHON' || fail "$1 and $2 differ"
import array, statistics, sys
a, b = array.array("f"), array.array("f")
a.frombytes(open(sys.argv[1], "rb").read())
b.frombytes(open(sys.argv[2], "rb").read())
assert len(a) == len(b) and len(a) > 0
worst = max(abs(x - y) for x, y in zip(a, b))
sys.exit(worst > float(sys.argv[3]) * statistics.pstdev(a))
PYTHON
}

for name in llama-gqa llama-rope3 gpt2; do
    dir=$ROOT/tests/golden/$name
    k=("$KVASS" logits -m "$dir" --tokens "$ids" --kv-type f32)
    expect 0 "$KVASS" inspect --json "$dir"
    n_vocab=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["n_vocab"])' "$out")
    for path in prefill decode none; do
        expect 0 "${k[@]}" --path $path --all -o "$work/$path"
        silent
        [ "$(stat -c %s "$work/$path")" -eq $((12 * n_vocab * 4)) ] || fail "size of $path"
        expect 0 "${k[@]}" --path $path -o "$work/last"
        compare "$work/last" <(tail -c $((n_vocab * 4)) "$work/$path") 1e-4
        expect 0 "${k[@]}" --path $path --deterministic --all -o "$work/$path.exact"
        expect 0 "${k[@]}" --path $path --deterministic --all --batch 5 -t 2 -o "$work/$path.batch"
        same "$work/$path.exact" "$work/$path.batch"
    done
    compare "$work/prefill" "$work/decode" 1e-4
    compare "$work/prefill" "$work/none" 1e-4
    same "$work/prefill.exact" "$work/decode.exact"
    same "$work/prefill.exact" "$work/none.exact"

    # text and JSON have the same numbers
    expect 0 "${k[@]}"
    silent
    cp "$out" "$work/lines"
    [ "$(wc -l <"$work/lines")" -eq "$n_vocab" ] || fail "lines"
    expect 0 "${k[@]}" --json
    json "d['tokens'] == [$ids] and len(d['logits']) == $n_vocab"
    json "d['logits'] == [float(x) for x in open('$work/lines')]"
    expect 0 "${k[@]}" --json --all
    json "len(d['logits']) == 12 and all(len(row) == $n_vocab for row in d['logits'])"
done

dir=$ROOT/tests/golden/llama-gqa
expect 0 "$KVASS" logits -m "$dir" --tokens "1 2
3" --json
json 'd["tokens"] == [1, 2, 3]'
expect 2 "$KVASS" logits -m "$dir"
says "--tokens"
expect 2 "$KVASS" logits -m "$dir" --tokens ""
says "no token ids"
expect 2 "$KVASS" logits -m "$dir" --tokens 1,x
says "found 'x'"
expect 2 "$KVASS" logits -m "$dir" --tokens 1,999999
says "expected an id from 0 to"
expect 2 "$KVASS" logits -m "$dir" --tokens 1 -p text
says "one of them"
expect 2 "$KVASS" logits -m "$dir" --tokens 1 --path prefil
says "did you mean 'prefill'?"
expect 3 "$KVASS" logits -m "$dir" "a prompt, but no tokenizer"
expect 1 "$KVASS" logits -m "$dir" --tokens 1 -o "$work/no/such/folder"
expect 1 "$KVASS" logits -m "$dir" --tokens 1 -o /dev/full
says "No space"
finish
