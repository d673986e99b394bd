# lib.sh - what the tests of the command share. Sourced with $KVASS (the program) and $ROOT (the
# source tree) set; each test ends with `finish`. Tests run the program as users do and look at exit
# code, stdout and stderr.
set -u
: "${KVASS:?}" "${ROOT:?}"
unset KVASS_MODEL KVASS_THREADS
shared=${KVASS_SHARED:-$ROOT/../shared}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_failed=0

fail() {
    echo "FAILED (line ${BASH_LINENO[-2]}): $*"
    n_failed=$((n_failed + 1))
}

skip() {
    echo "skipped: $*"
    exit 77
}

finish() {
    [ "$n_failed" -eq 0 ] || exit 1
}

# A model with a tokenizer: the bundled one, or one of the shared data.
need_model() {
    model=$ROOT/weights/tiny
    if [ ! -e "$model" ]; then
        model=$shared/models/stories260K/stories260K.bin
    fi
    [ -e "$model" ] || skip "no model with a tokenizer"
}

# expect CODE COMMAND...: run it with no standard input; its output is in $out and $err, as files
out=$work/out
err=$work/err
expect() {
    local want=$1 got=0
    shift
    "$@" >"$out" 2>"$err" </dev/null || got=$?
    if [ "$got" -ne "$want" ]; then
        fail "$* gave exit code $got, expected $want: $(head -c 300 "$err")"
    fi
}

# the same with a file as standard input
expect_in() {
    local want=$1 input=$2 got=0
    shift 2
    "$@" >"$out" 2>"$err" <"$input" || got=$?
    if [ "$got" -ne "$want" ]; then
        fail "$* <$input gave exit code $got, expected $want: $(head -c 300 "$err")"
    fi
}

# says TEXT: the last command's stderr has it, and stdout is empty
says() {
    grep -qF -- "$1" "$err" || fail "stderr lacks '$1': $(head -c 300 "$err")"
    [ ! -s "$out" ] || fail "stdout is not empty: $(head -c 100 "$out")"
}

# silent: the last command wrote nothing to stderr
silent() {
    [ ! -s "$err" ] || fail "stderr: $(head -c 300 "$err")"
}

# same FILE FILE
same() {
    cmp -s "$1" "$2" || fail "differ: '$(head -c 200 "$1")' and '$(head -c 200 "$2")'"
}

# json EXPRESSION...: stdout is one JSON document `d` for which the Python expressions hold
json() {
    python3 -c '
import json, math, sys
text = open(sys.argv[1], encoding="utf-8").read()
d = json.loads(text)
assert text.count("\n") == 1 and text.endswith("\n"), "not one line"
for expression in sys.argv[2:]:
    assert eval(expression), expression
' "$out" "$@" >"$work/json" 2>&1 || fail "JSON: $(tail -n 1 "$work/json"): $(head -c 300 "$out")"
}
