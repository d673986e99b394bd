# Where prompts come from: argument, file, standard input, and none at all.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model
generate=("$KVASS" generate -m "$model" --temp 0 -n 12)

expect 0 "${generate[@]}" "Once upon a time"
cp "$out" "$work/want"
expect 0 "${generate[@]}" -p "Once upon a time"
same "$out" "$work/want"
printf 'Once upon a time' >"$work/prompt"
expect 0 "${generate[@]}" -f "$work/prompt"
same "$out" "$work/want"
expect_in 0 "$work/prompt" "${generate[@]}"
same "$out" "$work/want"
expect_in 0 "$work/prompt" "${generate[@]}" -f -
same "$out" "$work/want"
# through a pipe, also by plain kvass
"${generate[@]}" <"$work/prompt" >/dev/null
cat "$work/prompt" | KVASS_MODEL=$model "$KVASS" --temp 0 -n 12 >"$out"
same "$out" "$work/want"
# standard input, then the argument; standard input, then the file, then the argument
printf 'Once upon' >"$work/head"
expect_in 0 "$work/head" "${generate[@]}" " a time"
same "$out" "$work/want"
printf ' a' >"$work/middle"
expect_in 0 "$work/head" "${generate[@]}" -f "$work/middle" " time"
same "$out" "$work/want"
expect 0 "$KVASS" tokenize -m "$model" --count "Once upon a time"

# bytes are taken as they are: NUL, CRLF, a missing or present final newline
printf 'a\0b\r\n' >"$work/bytes"
expect 0 "$KVASS" tokenize -m "$model" --ids -f "$work/bytes"
cp "$out" "$work/ids"
expect_in 0 "$work/ids" "$KVASS" detokenize -m "$model"
same "$out" "$work/bytes"
expect 0 "$KVASS" generate -m "$model" --temp 0 -n 2 --echo -f "$work/bytes"
cmp -s <(head -c 5 "$out") "$work/bytes" || fail "--echo changed the prompt"

# no prompt and no terminal is an error, at once; an empty prompt is allowed (the model has a BOS)
expect 2 timeout 10 "${generate[@]}"
says "no prompt"
expect 0 "${generate[@]}" -p ''
cp "$out" "$work/empty"
expect 0 "${generate[@]}" ''
same "$out" "$work/empty"
: >"$work/nothing"
expect_in 0 "$work/nothing" "${generate[@]}"
same "$out" "$work/empty"
expect 2 timeout 10 "$KVASS"
expect 2 timeout 10 "$KVASS" tokenize -m "$model"
says "no text"
expect 2 timeout 10 "$KVASS" eval -m "$model"
says "no text"

# two prompts in one place
expect 2 "${generate[@]}" one two
says "more than one prompt"
expect 2 "${generate[@]}" -p one two
says "more than one prompt"

# a file that cannot be read
expect 1 "${generate[@]}" -f "$work/absent"
says "No such file"
expect 1 "${generate[@]}" -f "$work"
says "directory"

# text that is not UTF-8: counted, or refused
printf 'caf\351 \377' >"$work/latin1"
expect 0 "${generate[@]}" -f "$work/latin1"
grep -qF "2 bytes are not UTF-8" "$err" || fail "no count: $(cat "$err")"
expect 1 "${generate[@]}" --strict-utf8 -f "$work/latin1"

# too long for the context: both numbers, before any work
head -c 100000 /dev/zero | tr '\0' 'a' >"$work/long"
expect 4 timeout 60 "$KVASS" generate -m "$model" -f "$work/long"
says "exceeds the available context size of"
says "PROMPT_TOO_LONG"
finish
