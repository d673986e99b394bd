# tokenize and detokenize.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
k=("$KVASS" tokenize -m "$model")

expect 0 "${k[@]}" "Once upon a time"
silent
cp "$out" "$work/lines"
awk -F '\t' 'NF != 3 || $1 !~ /^[0-9]+$/ || $2 !~ /^[0-9a-f ]+$/ || $3 !~ /^".*"$/ { exit 1 }' \
    "$work/lines" ||
    fail "lines: $(cat "$work/lines")"
expect 0 "${k[@]}" --ids "Once upon a time"
cp "$out" "$work/ids"
[ "$(tr ' ' '\n' <"$work/ids")" = "$(cut -f1 "$work/lines")" ] || fail "--ids differ from the lines"
expect 0 "${k[@]}" --count "Once upon a time"
[ "$(cat "$out")" -eq "$(wc -l <"$work/lines")" ] || fail "--count"
expect 0 "${k[@]}" --json "Once upon a time"
json 'len(d["tokens"]) == d["count"] == len(d["pieces"])' \
    '"".join(d["pieces"]).strip() == "Once upon a time"'

# back again, from arguments, a pipe, a file and with commas
for text in "Once upon a time" "  two  spaces " "Ärger, 日本 🙂" 'quote " and \ backslash' \
    ""; do
    printf '%s' "$text" >"$work/text"
    expect 0 "${k[@]}" --ids -f "$work/text"
    cp "$out" "$work/ids"
    expect_in 0 "$work/ids" "$KVASS" detokenize -m "$model"
    same "$out" "$work/text"
    expect 0 "$KVASS" detokenize -m "$model" -f "$work/ids"
    same "$out" "$work/text"
done
expect 0 "${k[@]}" --ids "Once upon"
read -r -a ids <"$out"
expect 0 "$KVASS" detokenize -m "$model" "${ids[@]}"
[ "$(cat "$out")" = "Once upon" ] || fail "ids as arguments"
expect 0 "$KVASS" detokenize -m "$model" "$(IFS=,; echo "${ids[*]}")"
[ "$(cat "$out")" = "Once upon" ] || fail "ids with commas"
expect 0 "$KVASS" detokenize -m "$model" --json "${ids[@]}"
json 'd == {"text": "Once upon"}'

# bytes that are no character show as such, and become U+FFFD in JSON
printf '\377' >"$work/byte"
expect 0 "${k[@]}" -f "$work/byte"
grep -qF '\xff' "$out" || fail "a byte is not shown: $(cat "$out")"
expect 0 "${k[@]}" --ids -f "$work/byte"
read -r -a ids <"$out"
expect 0 "$KVASS" detokenize -m "$model" --json "${ids[@]}"
json 'd["text"].endswith("\ufffd")'
expect 1 "${k[@]}" --strict-utf8 -f "$work/byte"

# a map of characters beside a checkpoint, as nanoGPT leaves it
cp "$ROOT/tests/golden/torch/ckpt.pt" "$work/ckpt.pt"
python3 -c '
import pickle, sys
characters = ["\n", " "] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
pickle.dump({"vocab_size": len(characters), "itos": dict(enumerate(characters)),
             "stoi": {c: i for i, c in enumerate(characters)}}, open(sys.argv[1], "wb"))
' "$work/meta.pkl"
for at in "$work/ckpt.pt" "$work"; do
    expect 0 "$KVASS" tokenize -m "$at" --ids "a cab"
    [ "$(cat "$out")" = "2 1 4 2 3" ] || fail "characters: $(cat "$out")"
done
expect 0 "$KVASS" generate -m "$work/ckpt.pt" --temp 0 --json -n 3 "cab"
json 'd["prompt_tokens"] == [4, 2, 3]'
expect 1 "$KVASS" tokenize -m "$work/ckpt.pt" --ids "Cab"
says '"C" is not in the vocabulary'
printf 'IQ== 0\nIg== 1\n' >"$work/ranks"
expect 3 "$KVASS" tokenize --tokenizer "$work/ranks" a
says "say it with --pattern, one of gpt2"
expect 2 "$KVASS" tokenize --tokenizer "$work/ranks" --pattern gpt9 a
says '"gpt9"'

# --bos adds what generate adds
expect 0 "${k[@]}" --ids --bos "Once"
bos_ids=$(tr ' ' ',' <"$out")
expect 0 "$KVASS" generate -m "$model" --json -n 0 "Once"
json "d['prompt_tokens'] == [$bos_ids]"

# what are no ids
for ids in x 1,,x -1 1.5 99999999999; do
    expect 2 "$KVASS" detokenize -m "$model" -- "$ids"
    says "token id"
done
expect 2 "$KVASS" detokenize -m "$model" 1999999
says "expected an id from 0 to"
expect 2 "$KVASS" detokenize -m "$model"
says "no ids"
finish
