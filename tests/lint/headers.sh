#!/bin/bash
# headers.sh ROOT CC... [-- CXX...] - every header compiles alone as C11, and the public one as
# C++17, too. `CC` is the compiler's command line. Without a C++ compiler that half is left out.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$1" || exit 2
shift

cc=()
cxx=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    cc+=("$1")
    shift
done
[ $# -gt 0 ] && shift && cxx=("$@")
warn=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)

avx2=(-mavx2 -mfma -mf16c)
avx512=("${avx2[@]}" -mavx512f -mavx512bw -mavx512vnni)
"${cc[@]}" "${avx2[@]}" -x c -fsyntax-only /dev/null 2>/dev/null || avx2=()
"${cc[@]}" "${avx512[@]}" -x c -fsyntax-only /dev/null 2>/dev/null || avx512=()

while IFS= read -r header; do
    isa=()
    case $header in
    *avx2*)
        [ "${#avx2[@]}" -gt 0 ] || continue
        isa=("${avx2[@]}")
        ;;
    *avx512*)
        [ "${#avx512[@]}" -gt 0 ] || continue
        isa=("${avx512[@]}")
        ;;
    esac
    # an empty source that includes it twice, so that its guard is tried as well
    if ! printf '#include "%s"\n#include "%s"\nextern int unused;\n' "$header" "$header" |
        "${cc[@]}" -std=c11 "${warn[@]}" -Wstrict-prototypes -Wvla -Wno-unused-function \
            "${isa[@]}" -D_GNU_SOURCE -I. -x c -fsyntax-only -; then
        bad "$header: does not compile alone"
    fi
done < <(files 'engine/*.h' 'model/*.h' 'tokenizer/*.h' 'tools/*.h')

# the public header needs no feature macro, and is C++-clean
if ! printf '#include "engine/kvass.h"\nextern int unused;\n' |
    "${cc[@]}" -std=c11 "${warn[@]}" -I. -x c -fsyntax-only -; then
    bad "engine/kvass.h: needs a feature macro"
fi
if [ "${#cxx[@]}" -gt 0 ] && ! printf '#include "engine/kvass.h"\n%s\n' \
    'int main() { kvass_model *m = nullptr; kvass_model_close(&m); }' |
    "${cxx[@]}" -std=c++17 "${warn[@]}" -I. -x c++ -fsyntax-only -; then
    bad "engine/kvass.h: not clean as C++17"
fi
finish
