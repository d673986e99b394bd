# lib.sh - what the lint scripts share; sourced, never run.
# Each script takes the root of a source tree, prints one line per violation and ends through
# `finish`: exit status 1 when there was any. They look at what git tracks, or at everything in the
# project's folders when the tree is no checkout.

n_bad=0

bad()
{
    printf '%s\n' "$*"
    n_bad=$((n_bad + 1))
}

# One violation a line.
bad_lines()
{
    local line
    while IFS= read -r line; do
        [ -n "$line" ] && bad "$line"
    done <<<"$1"
}

finish()
{
    if [ "$n_bad" -gt 0 ]; then
        printf '%s: %d violations\n' "$(basename "$0")" "$n_bad"
        exit 1
    fi
    printf '%s: clean\n' "$(basename "$0")"
    exit 0
}

# The files below the current folder whose path matches one of the given `case` patterns.
files()
{
    local path pattern
    if git rev-parse --show-prefix >/dev/null 2>&1 && [ -z "$(git rev-parse --show-prefix)" ]; then
        git ls-files
    else
        find . -type f | sed 's,^\./,,' | sort
    fi | while IFS= read -r path; do
        for pattern in "$@"; do
            # a tracked file may be gone from the folder
            # shellcheck disable=SC2254
            case $path in
            build*/* | venv/* | .git/*) break ;;
            $pattern)
                [ -f "$path" ] && printf '%s\n' "$path"
                break
                ;;
            esac
        done
    done
}
