# saved: --prompt-cache restores what it can, says how much, and refuses what is not its own.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
file=$work/prompt.kv
g=("$KVASS" generate -m "$model" --deterministic -t 1 --seed 5 -n 12)
text="Once upon a time there was a little girl named Lily. She loved to play outside with her dog"

# restored N: the last run took N tokens out of the file
restored() {
    json "d[\"cache\"][\"restored_tokens\"] == $1"
}
# as_without PROMPT: the last run's text and tokens are those of a run without the file
as_without() {
    cp "$out" "$work/with"
    expect 0 "${g[@]}" --json "$1"
    python3 -c 'import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
sys.exit(any(a[k] != b[k] for k in ("text", "tokens", "prompt_tokens")))' "$out" "$work/with" ||
        fail "another text than without --prompt-cache"
}

expect 0 "${g[@]}" --json --prompt-cache "$file" "$text"
silent
restored 0
n=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["prompt_tokens"]))' "$out")
as_without "$text"
cp "$file" "$work/first.kv"
# the same prompt: nothing is run again, its logits are there, and the file is not written again
inode=$(stat -c %i "$file")
expect 0 "${g[@]}" --json --prompt-cache "$file" "$text"
restored "$n"
as_without "$text"
same "$file" "$work/first.kv"
[ "$(stat -c %i "$file")" = "$inode" ] || fail "the file was written again"
# longer, then shorter, then one that goes elsewhere; the summary tells, too
expect 0 "${g[@]}" --json --prompt-cache "$file" "$text, and then"
json "d[\"cache\"][\"restored_tokens\"] >= $n - 1"
as_without "$text, and then"
expect 0 "${g[@]}" --json --prompt-cache "$file" "Once upon a time"
json 'd["cache"]["restored_tokens"] == len(d["prompt_tokens"]) - 1'
as_without "Once upon a time"
cp "$work/first.kv" "$file"
expect 0 "${g[@]}" --json --prompt-cache "$file" "Once upon a time Tom sat"
json '3 <= d["cache"]["restored_tokens"] < 6'
as_without "Once upon a time Tom sat"
expect 0 "${g[@]}" --stats --prompt-cache "$file" "Once upon a time Tom sat"
grep -qE '\| restored [1-9][0-9]* tok \|' "$err" || fail "summary: $(cat "$err")"
# what was generated is kept, when asked for
expect 0 "${g[@]}" --json --prompt-cache "$work/all.kv" --prompt-cache-all "$text"
whole=$text$(python3 -c 'import json, sys
sys.stdout.write(json.load(open(sys.argv[1]))["text"])' "$out")
expect 0 "${g[@]}" --json --prompt-cache "$work/all.kv" "$whole once more"
json "d[\"cache\"][\"restored_tokens\"] > $n + 6"
as_without "$whole once more"

# a window that has let go what would be needed: said, and done without
expect 0 "${g[@]}" --window 20 --prompt-cache "$work/window.kv" "$text $text $text"
expect 0 "${g[@]}" --window 20 --json --prompt-cache "$work/window.kv" "Once upon a time Tom"
grep -q 'starting anew' "$err" || fail "not a word about the window: $(cat "$err")"
restored 0
expect 0 "${g[@]}" -q --window 20 --json --prompt-cache "$work/window.kv" "$text $text"
silent

# refused, with the reason and the file as it was
cp "$work/first.kv" "$file"
expect 3 "${g[@]}" --kv-type f32 --prompt-cache "$file" "$text"
says "saved with store f16, this context has f32 (SAVED_CACHE)"
expect 3 "${g[@]}" --window 50 --prompt-cache "$file" "$text"
says "saved with retain full, this context has window"
expect 3 "${g[@]}" --system "Tom" --prompt-cache "$file" "$text"
says "prefix tokens"
expect 4 "${g[@]}" -c 10 --prompt-cache "$file" "Once"
says "the context holds 10"
head -c 1000 "$work/first.kv" >"$file"
expect 3 "${g[@]}" --prompt-cache "$file" "$text"
says "(FILE_TRUNCATED)"
echo '{"a": 1}' >"$file"
expect 3 "${g[@]}" --prompt-cache "$file" "$text"
says "expected a saved sequence, found JSON text"
[ "$(cat "$file")" = '{"a": 1}' ] || fail "the file was changed"
expect 1 "${g[@]}" --prompt-cache "$work" "$text"
says "a folder"
# a save that fails costs the exit code, not the text
expect 1 "${g[@]}" --prompt-cache "$work/absent/x" "$text"
grep -q 'SAVE_OPEN' "$err" || fail "stderr: $(cat "$err")"
[ -s "$out" ] || fail "no text"
(
    ulimit -f 1
    trap '' XFSZ
    expect 1 "${g[@]}" --prompt-cache "$work/small.kv" "$text $text"
    grep -q 'SAVE_WRITE' "$err" || fail "stderr: $(cat "$err")"
    finish
) || fail "a full disk"
[ ! -e "$work/small.kv" ] || fail "half a file"
[ -z "$(find "$work" -name '*.part-*')" ] || fail "an unfinished file was left"
expect 2 "${g[@]}" --prompt-cache-all "$text"
says "--prompt-cache-all needs --prompt-cache"
finish
