# What is refused: exit codes and messages.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
k=("$KVASS" generate -m "$model")

# the command line: 2
expect 2 "${k[@]}" --cache ful x
says "did you mean 'full'? Known: full, none, window"
expect 2 "${k[@]}" --cache evict x
says "unknown value 'evict'; known: full, none, window, topk"
expect 2 "${k[@]}" --kv-type q5 x
says "--kv-type"
expect 2 "${k[@]}" --isa sse2 x
says "--isa"
# flags of caches that do not exist are not taken in silence
for flag in --kv-evict --rope-shift --chat; do
    expect 2 "${k[@]}" $flag 1 x
    says "unrecognized option '$flag'"
done
for flag in --recent --dense-layers; do
    expect 2 "${k[@]}" $flag 1 x
    says "--topk-pages"
done
# a window needs its size, and what belongs to a window needs one
expect 2 "${k[@]}" --cache window x
says "--cache window needs --window N"
expect 2 "${k[@]}" --sinks 4 x
says "need --cache window"
expect 2 "${k[@]}" --cache full --window 8 x
says "need --cache window"
expect 2 "${k[@]}" --cache none --positions cache x
says "need --cache window"
expect 2 "${k[@]}" --window 0 x
says "--window"
expect 2 "${k[@]}" --window 8 --positions rotated x
says "unknown value 'rotated'; known: original, cache"
expect 2 "${k[@]}" --kv-share all x
says "unknown value 'all'; known: model, pairs"
for value in nan inf -inf 1e999 -1 "" abc 0.5x " 1"; do
    expect 2 "${k[@]}" --temp "$value" x
    says "temp"
done
for value in 0 -0.1 1.01 nan; do
    expect 2 "${k[@]}" --top-p "$value" x
done
expect 2 "${k[@]}" --min-p 1 x
says "min_p"
expect 2 "${k[@]}" --repeat-penalty 0 x
says "repeat_penalty"
expect 2 "${k[@]}" --top-k -1 x
says "--top-k: expected a whole number, 0 or more, found '-1'"
expect 2 "${k[@]}" --seed -1 x
says "--seed"
expect 2 "${k[@]}" --seed 99999999999999999999 x
says "--seed"
expect 2 "${k[@]}" -c 0 x
says "-c"
expect 2 "${k[@]}" -c 4Q x
says "-c"
expect 2 "${k[@]}" -c 9999999999999G x
says "-c"
expect 2 "${k[@]}" -t 0 x
says "-t"
expect 2 "${k[@]}" -n x x
says "-n"
expect 2 "${k[@]}" --stop "" x
says "--stop"
KVASS_THREADS=many expect 2 "${k[@]}" x
says "KVASS_THREADS"
expect 2 "$KVASS" genrate
says "did you mean 'generate'?"
expect 2 "$KVASS" tokenise
says "did you mean 'tokenize'?"
expect 2 "$KVASS" help inspekt
says "did you mean 'inspect'?"
expect 2 "$KVASS" inspect one two
says "more than one model"
expect 2 "$KVASS" bench -m "$model" --cache none
says "--mode"

# the model: 3 when it is bad, 1 when it cannot be read
expect 1 "$KVASS" generate -m "$work/absent" x
says "absent"
expect 1 "$KVASS" generate -m "$model" --tokenizer "$work/absent" x
says "absent"
printf '<!DOCTYPE html><html>' >"$work/page.safetensors"
expect 3 "$KVASS" inspect "$work/page.safetensors"
says "web page"
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n' >"$work/lfs.safetensors"
expect 3 "$KVASS" inspect "$work/lfs.safetensors"
says "LFS"
: >"$work/empty.bin"
expect 3 "$KVASS" generate -m "$work/empty.bin" x
mkdir "$work/folder"
expect 3 "$KVASS" inspect "$work/folder"
mkfifo "$work/fifo"
expect 1 timeout 10 "$KVASS" inspect "$work/fifo"
# no tokenizer beside it
cp "$ROOT/tests/golden/llama-untied/v0.bin" "$work/alone.bin"
expect 3 "$KVASS" generate -m "$work/alone.bin" x
says "--tokenizer"
# one that does not fit: both sizes
printf 'not a tokenizer' >"$work/tokenizer.bin"
expect 3 "$KVASS" generate -m "$work/alone.bin" x
rm "$work/tokenizer.bin"

# a network that gives NaN: an error that says where, not a token
cp -r "$(if [ -d "$model" ]; then echo "$model"; else dirname "$model"; fi)" "$work/poisoned"
chmod -R u+w "$work/poisoned"
poisoned=$work/poisoned
[ -d "$model" ] || poisoned=$work/poisoned/$(basename "$model")
python3 - "$poisoned" <<'PYTHON'
import json, os, struct, sys
path, at = sys.argv[1], 28  # llama2.c: the first number of the embedding, which is the output, too
if os.path.isdir(path):
    path = os.path.join(path, "model.safetensors")
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
    at = 8 + n + header["model.norm.weight"]["data_offsets"][0]
with open(path, "r+b") as f:
    f.seek(at)
    f.write(struct.pack("<f", float("nan")))
PYTHON
expect 1 "$KVASS" generate -m "$poisoned" "Once"
says "NaN"
says "NAN_LOGITS"
expect 1 "$KVASS" eval -m "$poisoned" -f "$ROOT/LICENSE" -c 64
says "NAN_LOGITS"
expect 1 "$KVASS" bench -m "$poisoned" --depth 2
says "NAN_LOGITS"

# memory: 4, with the sums
expect 4 "${k[@]}" --kv-budget 1 x
says "BUDGET"
expect 4 "$KVASS" generate -m "$model" -c 3 "Once upon a time there was a"
says "available context size of 3 tokens"
expect 4 "$KVASS" bench -m "$model" --depth 16M
expect 4 "$KVASS" logits -m "$ROOT/tests/golden/llama-mha" -c 2 --tokens 1,2,3
says "PROMPT_TOO_LONG"
finish
