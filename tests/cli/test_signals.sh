# Ctrl-C, readers that go away, full disks, closed streams.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
# slow on purpose: everything again for every token, a token at a time
slow=("$KVASS" generate -m "$model" --cache none --batch 1 --temp 0 -t 1)

"${slow[@]}" -n 300 "Once upon a time" >"$work/full" </dev/null 2>"$err"
silent
n_interrupted=0
for delay in 0.02 0.05 0.1 0.15 0.2 0.3 0.4; do
    code=0
    timeout --preserve-status -s INT $delay "${slow[@]}" -n 300 --stats "Once upon a time" \
        >"$out" 2>"$err" </dev/null || code=$?
    case $code in
    130)
        n_interrupted=$((n_interrupted + 1))
        cmp -s "$out" <(head -c "$(stat -c %s "$out")" "$work/full") ||
            fail "not a beginning of the text"
        # before the handler stands there is nothing to sum up
        [ ! -s "$err" ] || grep -q "stop: cancelled$" "$err" || fail "summary: $(cat "$err")"
        ;;
    0) same "$out" "$work/full" ;;
    *) fail "exit code $code after SIGINT: $(cat "$err")" ;;
    esac
done
[ $n_interrupted -gt 0 ] || fail "no run was interrupted"
code=0
timeout --preserve-status -s INT 0.3 "$KVASS" bench -m "$model" --reps 1000 \
    >"$out" 2>"$err" </dev/null || code=$?
[ $code -eq 130 ] || fail "bench gave exit code $code after SIGINT: $(cat "$err")"
[ ! -s "$out" ] || fail "bench wrote half a table"

# the reader is gone: a quiet death by SIGPIPE
{
    sleep 0.2
    "$KVASS" generate -m "$model" -n 20 "Once" 2>"$err"
    echo $? >"$work/code"
} </dev/null | true
[ "$(cat "$work/code")" -eq 141 ] || fail "exit code $(cat "$work/code") without a reader"
silent
"${slow[@]}" -n 300 "Once upon a time" 2>"$err" </dev/null | head -c 1 >"$out"
[ "$(stat -c %s "$out")" -eq 1 ] || fail "head got nothing"
silent

# a full disk and a closed stdout are errors
for command in "generate -n 20 Once" "generate -n 20 --json Once" "inspect" "tokenize Once" \
    "--version" "help" "logits --tokens 1"; do
    code=0
    # shellcheck disable=SC2086 # a list of words
    KVASS_MODEL=$model "$KVASS" $command >/dev/full 2>"$err" </dev/null || code=$?
    [ $code -eq 1 ] || fail "$command >/dev/full gave $code"
    grep -q "standard output: No space left on device" "$err" || fail "$command: $(cat "$err")"
    code=0
    # shellcheck disable=SC2086
    KVASS_MODEL=$model "$KVASS" $command >&- 2>"$err" </dev/null || code=$?
    [ $code -eq 1 ] || fail "$command >&- gave $code"
done
# a closed standard input is no prompt; closed stderr is no harm
code=0
timeout 10 "$KVASS" generate -m "$model" <&- >"$out" 2>"$err" || code=$?
[ $code -eq 2 ] || fail "<&- gave $code"
code=0
"$KVASS" generate -m "$model" -n 2 Once 2>&- >"$out" </dev/null || code=$?
[ $code -eq 0 ] || fail "2>&- gave $code"

# a mapped model that shrinks while it runs: said, not a crash
file=$model
if [ -d "$model" ]; then
    file=$model/model.safetensors
    cp -r "$model" "$work/mapped" && chmod -R u+w "$work/mapped"
    copy=$work/mapped
    mapped=$copy/model.safetensors
else
    mkdir "$work/mapped"
    cp "$(dirname "$model")"/*.bin "$work/mapped"
    chmod -R u+w "$work/mapped"
    copy=$work/mapped/$(basename "$model")
    mapped=$copy
fi
[ -f "$file" ] && {
    "$KVASS" generate -m "$copy" --mmap --cache none --batch 1 -t 1 -n 300 --temp 0 "Once upon" \
        >"$out" 2>"$err" </dev/null &
    pid=$!
    sleep 0.3
    : >"$mapped"
    code=0
    wait $pid || code=$?
    case $code in
    3) grep -q "model file changed" "$err" || fail "no word: $(cat "$err")" ;;
    0) ;; # it had finished, or had its own copy
    *) fail "exit code $code after the file shrank: $(cat "$err")" ;;
    esac
}
finish
