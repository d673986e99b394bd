#!/bin/bash
# paths.sh ROOT - no file names a place on the machine it was written on.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$1" || exit 2

place='(^|[^[:alnum:]_.@>)}])/(wor[k]|roo[t]|hom[e])/'
found=$(files '*' | tr '\n' '\0' | xargs -0 grep -InE "$place") || true
bad_lines "$found"
finish
