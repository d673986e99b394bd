#!/bin/bash
# text.sh ROOT - what the text of sources must look like: no tab in C, no trailing space, a final
# newline, lines of at most 100 columns, files of at most 600 lines, functions of at most 80, tests
# with their tables 120 (a function body opens with "{" in column 1 and ends with "}" there), only
# /* */ comments, a comment at the head of each C file, no note of work left to do.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$1" || exit 2

# Files that may have more than 600 lines: "path reason".
long_files='
tests/* a table of cases reads best in one piece
engine/kvass.h the one public header
*.inc generated tables
'

may_be_long()
{
    local pattern reason
    while read -r pattern reason; do
        # shellcheck disable=SC2254
        case $1 in
        $pattern) [ -n "$reason" ] && return 0 ;;
        esac
    done <<<"$long_files"
    return 1
}

sources=$(files '*.c' '*.h' '*.inc') || exit 2
[ -n "$sources" ] || exit 0
found=$(printf '%s\n' "$sources" | xargs awk '
function say(text) { print FILENAME ":" FNR ": " text }
FNR == 1 {
    in_comment = 0
    body = 0
    if (substr($0, 1, 2) != "/*")
        say("no comment says what this file owns")
}
/\t/ { say("tab") }
/^[{]$/ { body = FNR }
/^[}]/ {
    if (body && FNR - body - 1 > (FILENAME ~ /^tests\// ? 120 : 80))
        say("a function of " (FNR - body - 1) " lines")
    body = 0
}
index($0, "//") || index($0, "/*") || in_comment {
    # what is left of the line without strings, characters and /* */ comments
    code = $0
    if (!in_comment) {
        gsub(/\\./, "", code)
        gsub(/"[^"]*"/, "", code)
    }
    while (1) {
        if (in_comment) {
            at = index(code, "*/")
            if (!at) { code = ""; break }
            code = substr(code, at + 2)
            in_comment = 0
        }
        at = index(code, "/*")
        slashes = index(code, "//")
        if (slashes && (!at || slashes < at)) { say("a // comment"); break }
        if (!at) break
        code = substr(code, at + 2)
        in_comment = 1
    }
}') || exit 2
bad_lines "$found"

while IFS= read -r path; do
    n_lines=$(wc -l <"$path")
    if [ "$n_lines" -gt 600 ] && ! may_be_long "$path"; then
        bad "$path: $n_lines lines"
    fi
done <<<"$sources"

text=$(files '*.c' '*.h' '*.inc' '*.sh' '*.py' '*.md' '*.map' '*meson.build' '*meson_options.txt' \
    '.gitignore' '.clang-format' '.ci/*' 'tools/check' 'tools/quickstart') || exit 2
found=$(printf '%s\n' "$text" | xargs awk '
/[ \t\r]$/ { print FILENAME ":" FNR ": trailing space" }
length($0) > 100 && FILENAME !~ /[.](md|py|inc)$/ {
    wide = $0
    gsub(/[\200-\277]/, "", wide) # continuation bytes of UTF-8 take no column
    if (length(wide) > 100)
        print FILENAME ":" FNR ": " length(wide) " columns"
}
/TO[D]O|FIX[M]E/ { print FILENAME ":" FNR ": work left to do" }') || exit 2
bad_lines "$found"

while IFS= read -r path; do
    if [ -s "$path" ] && [ -n "$(tail -c 1 "$path")" ]; then
        bad "$path: no final newline"
    fi
done <<<"$text"
finish
