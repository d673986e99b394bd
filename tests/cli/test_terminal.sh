# On a terminal: a finished last line, the summary, and nothing that could steer the terminal.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model

# terminal COMMAND...: run it with stdin, stdout and stderr on a new terminal, which shows $out
terminal() {
    python3 - "$out" "$@" <<'PYTHON'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
while True:
    try:
        block = os.read(fd, 4096)
    except OSError:
        break
    if not block:
        break
    shown += block
_, status = os.waitpid(pid, 0)
open(sys.argv[1], "wb").write(shown.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(status))
PYTHON
}

expect 0 "$KVASS" generate -m "$model" --temp 0 -n 12 "Once upon a time"
cp "$out" "$work/text"
terminal "$KVASS" generate -m "$model" --temp 0 -n 12 "Once upon a time" || fail "exit code $?"
[ "$(sed '$d' "$out")" = "$(cat "$work/text")" ] || fail "text: $(cat "$out")"
tail -n 1 "$out" | grep -q "^prompt .* | seed [0-9]* | stop: length$" ||
    fail "no summary: $(tail -n 1 "$out")"
terminal "$KVASS" generate -q -m "$model" --temp 0 -n 12 "Once upon a time" || fail "exit code $?"
[ "$(cat "$out")" = "$(cat "$work/text")" ] || fail "-q: $(cat "$out")"
# no prompt on a terminal: from the begin-of-text token
terminal "$KVASS" generate -q -m "$model" --temp 0 -n 12 || fail "exit code $?"
cp "$out" "$work/empty"
expect 0 "$KVASS" generate -m "$model" --temp 0 -n 12 -p ''
[ "$(cat "$out")" = "$(cat "$work/empty")" ] || fail "no prompt: $(cat "$work/empty")"

# escape sequences and other control characters are shown as U+FFFD, unless --raw
hostile=$(printf 'a\033[31mb\007c\302\233d\te\377')
terminal "$KVASS" generate -q -m "$model" --echo -n 0 "$hostile" || fail "exit code $?"
[ "$(cat "$out")" = "$(printf 'a\357\277\275[31mb\357\277\275c\357\277\275d\te\357\277\275')" ] ||
    fail "not made harmless: $(od -c "$out" | head -n 3)"
terminal "$KVASS" generate -q -m "$model" --echo --raw -n 0 "$hostile" || fail "exit code $?"
[ "$(cat "$out")" = "$hostile" ] || fail "--raw changed the text: $(od -c "$out" | head -n 3)"
expect 0 "$KVASS" tokenize -m "$model" --ids "$hostile"
read -r -a ids <"$out"
terminal "$KVASS" detokenize -m "$model" "${ids[@]}" || fail "exit code $?"
grep -q "$(printf '\033')" "$out" && fail "detokenize let an escape sequence through"
expect 0 "$KVASS" detokenize -m "$model" "${ids[@]}"
[ "$(cat "$out")" = "$hostile" ] || fail "a file does not get the bytes"

# eval shows how far it is, on a line of its own that goes away; not with -q, not in a pipe
printf 'Once upon a time there was a fox. %.0s' 1 2 3 4 5 >"$work/foxes"
terminal "$KVASS" eval -m "$model" -t 1 -f "$work/foxes" || fail "exit code $?"
grep -q "$(printf '\rscored: [0-9]* of [0-9]* .*\r *\rtext ')" "$out" ||
    fail "no progress: $(head -c 300 "$out")"
terminal "$KVASS" eval -q -m "$model" -t 1 -f "$work/foxes" || fail "exit code $?"
grep -q "scored:" "$out" && fail "-q: $(head -c 300 "$out")"
expect 0 "$KVASS" eval -m "$model" -t 1 -f "$work/foxes"
[ ! -s "$err" ] || fail "in a pipe: $(cat "$err")"
finish
