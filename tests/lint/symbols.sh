#!/bin/bash
# symbols.sh ROOT SHARED STATIC ndebug|debug PART... - what libkvass shows to the linker.
# The shared library exports exactly what engine/kvass.h declares; every global name of the static
# one starts with kvass_ or kv_; no part (one static library per layer) asks for a function
# that prints, exits, reads the environment, touches signals or starts a process.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
root=$1 shared=$2 whole=$3 asserts=$4
shift 4

# the name before the first parenthesis: KVASS_API kvass_status kvass_decode(kvass_seq *seq, ...
declared=$(sed -nE 's/^KVASS_API[^(]*[ *](kvass_[a-z0-9_]+)[(].*/\1/p' \
    "$root/engine/kvass.h" | sort -u)
[ -n "$declared" ] || { echo "no KVASS_API in the header"; exit 2; }

exported=$(nm -D --defined-only "$shared") || exit 2
# A names the version node itself
exported=$(awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' <<<"$exported" | sort -u)
bad_lines "$(comm -23 <(echo "$declared") <(echo "$exported") |
    sed 's/$/: declared, not exported/')"
bad_lines "$(comm -13 <(echo "$declared") <(echo "$exported") |
    sed 's/$/: exported, not declared/')"

globals=$(nm -g --defined-only "$whole") || exit 2
# kv_ is the cache's prefix; sanitizers and coverage add names with an underscore or a dot
bad_lines "$(awk '
    NF == 3 && $3 !~ /^(kvass_|kv_|_|[.])/ { print $3 ": a global name of another kind" }' \
    <<<"$globals" | sort -u)"

forbidden='
exit _exit _Exit quick_exit at_quick_exit atexit abort
printf vprintf fprintf vfprintf dprintf vdprintf puts fputs putchar putc fputc fwrite perror
__printf_chk __vprintf_chk __fprintf_chk __vfprintf_chk __dprintf_chk stdout stderr
psignal error warn warnx err errx verr vwarn syslog
getenv secure_getenv setenv putenv environ setlocale
signal sigaction sigprocmask pthread_sigmask raise kill alarm
system popen fork vfork execve execv execvp posix_spawn
rand srand random srandom strtok gets tmpnam mktemp
'
[ "$asserts" = ndebug ] && forbidden+=' __assert_fail'
for part in "$@"; do
    wanted=$(nm -u "$part") || exit 2
    bad_lines "$(awk -v names="$forbidden" -v part="$(basename "$part")" '
        BEGIN { n = split(names, list); for (i = 1; i <= n; i++) no[list[i]] = 1 }
        /:$/ { object = $0 }
        $1 == "U" && $2 in no { print part ": " object " asks for " $2 }' <<<"$wanted")"
done
finish
