# convert: files that say the same, in the types asked for, whole or not there at all.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
golden=$ROOT/tests/golden
prompt="Once upon a time, Tom's dog saw 3 caf\xc3\xa9s"
c=("$KVASS" convert)

# text_of MODEL OUT: greedy text
text_of() {
    expect 0 "$KVASS" generate -t 1 --temp 0 -n 24 -m "$1" "$(printf "$prompt")"
    cp "$out" "$2"
}

# ids_of MODEL OUT: the tokens of a text with what stands around it
ids_of() {
    local text="$prompt 12345 \n\n  \xe4\xbd\xa0 'll"
    expect 0 "$KVASS" tokenize -m "$1" --ids --bos "$(printf "$text")"
    cp "$out" "$2"
}

# to GGUF and on, as it is stored: the same tokens, the same text
expect 0 "${c[@]}" "$model" "$work/a.gguf"
silent
expect 0 "${c[@]}" --type f32 "$work/a.gguf" "$work/b.gguf"
expect 0 "${c[@]}" "$model" "$work/folder"
silent
ids_of "$model" "$work/ids"
text_of "$model" "$work/text"
for m in a.gguf b.gguf folder; do
    ids_of "$work/$m" "$work/ids2"
    same "$work/ids" "$work/ids2"
    text_of "$work/$m" "$work/text2"
    same "$work/text" "$work/text2"
done
[ -f "$work/folder/config.json" ] || fail "no config.json"

# types: matrices become what was asked for, the rest of a GGUF file is f32
types_of() {
    expect 0 "$KVASS" inspect --json "$1"
    python3 -c 'import json, sys
print(" ".join(sorted(d["dtype"] for d in json.load(open(sys.argv[1]))["dtypes"])))' "$out"
}
for type in f32 f16 bf16 q8_0 q4_0 q4_1; do
    expect 0 "${c[@]}" --type $type "$golden/llama-mha" "$work/$type.gguf" --no-tokenizer
    got=$(types_of "$work/$type.gguf")
    case $type in
    f32) want="f32" ;;
    q8_0) want="f32 q8_0" ;;
    q4_*) want="f32 $type q8_0" ;;
    *) want=$(printf '%s\n' f32 $type | sort | tr '\n' ' ') ;;
    esac
    [ "$got" = "${want% }" ] || fail "--type $type gives $got"
    expect 0 "$KVASS" logits -m "$work/$type.gguf" --tokens 1,2,3
done
# rows that are no multiple of 32
expect 0 "${c[@]}" --type q8_0 --no-tokenizer "$golden/gpt2-odd" "$work/odd.gguf"
[ "$(types_of "$work/odd.gguf")" = "f16 f32" ] || fail "rows of odd length: $(cat "$out")"
expect 0 "${c[@]}" --type bf16 "$golden/llama-gqa" "$work/bf16"
[ "$(types_of "$work/bf16")" = "bf16" ] || fail "safetensors in bf16: $(cat "$out")"
expect 3 "${c[@]}" --type q8_0 "$golden/llama-gqa" "$work/q8"
says "CONVERT_TYPE"
[ ! -e "$work/q8" ] || fail "a folder in spite of failure"

# llama2.c's tokenizer
if [ -e "$shared/models/stories260K/stories260K.bin" ]; then
    bin=$shared/models/stories260K/stories260K.bin
    expect 0 "${c[@]}" --tokenizer "$shared/models/stories260K/tok512.bin" "$bin" "$work/s.gguf"
    expect 0 "$KVASS" generate -t 1 --temp 0 -n 60 -m "$work/s.gguf" "Once upon"
    cp "$out" "$work/text2"
    expect 0 "$KVASS" generate -t 1 --temp 0 -n 60 -m "$bin" "Once upon"
    same "$out" "$work/text2"
fi

# out of GGUF into a folder: with a tokenizer.json
expect 0 "${c[@]}" "$work/a.gguf" "$work/again"
silent
[ -f "$work/again/tokenizer.json" ] || fail "no tokenizer.json"
ids_of "$work/again" "$work/ids2"
same "$work/ids" "$work/ids2"
text_of "$work/again" "$work/text2"
same "$work/text" "$work/text2"
expect 0 "${c[@]}" --no-tokenizer "$work/a.gguf" "$work/bare"
[ ! -e "$work/bare/tokenizer.json" ] || fail "a tokenizer.json in spite of --no-tokenizer"
expect 0 "${c[@]}" --tokenizer "$work/a.gguf" --force "$work/bare" "$work/bare"
ids_of "$work/bare" "$work/ids2"
same "$work/ids" "$work/ids2"

# a tokenizer that puts other ids around a text than the model names
for t in llama3 roberta; do
    expect 0 "${c[@]}" -q --force --tokenizer "$golden/tokenizers/$t" "$model" "$work/ends.gguf"
    expect 0 "$KVASS" tokenize --tokenizer "$golden/tokenizers/$t" --ids --bos "a fox"
    cp "$out" "$work/ids2"
    expect 0 "$KVASS" tokenize -m "$work/ends.gguf" --ids --bos "a fox"
    same "$out" "$work/ids2"
done

# a folder stands for its only GGUF file, and that has the tokenizer
mkdir "$work/only"
cp "$work/a.gguf" "$work/only/x.gguf"
ids_of "$work/only" "$work/ids2"
same "$work/ids" "$work/ids2"
text_of "$work/only" "$work/text2"
same "$work/text" "$work/text2"
cp "$work/a.gguf" "$work/only/y.gguf"
expect 3 "$KVASS" inspect "$work/only"
says "expected one GGUF file, found 2"
mv "$work/only/x.gguf" "$work/only/x-00001-of-00002.gguf"
mv "$work/only/y.gguf" "$work/only/x-00002-of-00002.gguf"
ids_of "$work/only" "$work/ids2"
same "$work/ids" "$work/ids2"

# what is there stays there
echo old >"$work/old.gguf"
mkdir "$work/dir"
echo old >"$work/dir/config.json"
expect 1 "${c[@]}" "$model" "$work/old.gguf"
says "is there already (CONVERT_EXISTS)"
says "--force"
expect 1 "${c[@]}" "$model" "$work/dir"
says "CONVERT_EXISTS"
[ "$(cat "$work/old.gguf" "$work/dir/config.json")" = "$(printf 'old\nold')" ] || fail "overwritten"
expect 0 "${c[@]}" --force "$model" "$work/old.gguf"
expect 0 "${c[@]}" --force "$model" "$work/dir"
text_of "$work/old.gguf" "$work/text2"
same "$work/text" "$work/text2"
text_of "$work/dir" "$work/text2"
same "$work/text" "$work/text2"
# onto itself
cp -r "$work/folder" "$work/self"
expect 0 "${c[@]}" --force --type f32 "$work/self" "$work/self"
text_of "$work/self" "$work/text2"
same "$work/text" "$work/text2"

# what llama.cpp leaves out is told
expect 0 "${c[@]}" --no-tokenizer "$golden/families/mistral" "$work/m.gguf"
says "no window of 50 here"
expect 0 "${c[@]}" -q --no-tokenizer --force "$golden/families/mistral" "$work/m.gguf"
silent

# what cannot be written
expect 3 "${c[@]}" "$golden/families/opt" "$work/x.gguf" --no-tokenizer
says "GGUF has no architecture for opt"
expect 1 "${c[@]}" "$model" "$work/none/x.gguf"
says "cannot be created"
expect 1 "${c[@]}" "$model" "$work/none/x"
says "cannot be created"
expect 1 "${c[@]}" "$model" /dev/full --to gguf --force
says "expected a regular file"
(ulimit -f 64 && trap '' XFSZ && "${c[@]}" "$model" "$work/full.gguf") 2>"$err" &&
    fail "a full disk"
grep -q 'SAVE_WRITE' "$err" || fail "a full disk: $(cat "$err")"
(ulimit -f 64 && trap '' XFSZ && "${c[@]}" "$model" "$work/full") 2>"$err" && fail "a full disk"
ls -d "$work"/*.part-* "$work"/full* "$work"/x.gguf 2>/dev/null && fail "something is left"
expect 2 "${c[@]}" "$model"
says "expected a model and where to write it"
expect 2 "${c[@]}" "$model" a b
expect 2 "${c[@]}" "$model" "$work/model.safetensors"
says "name a folder"
expect 2 "${c[@]}" --type q5 "$model" "$work/x.gguf"
says "q4_0"
expect 1 "${c[@]}" "$work/nothing" "$work/x.gguf"
says "FILE_OPEN"
finish
