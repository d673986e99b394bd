#!/bin/bash
# dependence.sh ROOT - includes run one way: tools -> engine -> model -> engine/base, and
# tools -> tokenizer -> engine/base. Below is the whole table; a file may also include its own
# layer.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$1" || exit 2

found=$(files 'engine/*.[ch]' 'model/*.[ch]' 'tokenizer/*.[ch]' 'tools/*.[ch]' 'tests/*.[ch]' \
    '*.inc' | xargs awk '
BEGIN {
    may["public"] = ""
    may["base"] = "public"
    may["kernels"] = "base public"
    may["cache"] = "kernels base public"
    may["engine"] = "cache kernels model base public"
    may["model"] = "base public"
    may["tokenizer"] = "base public"
    may["tools"] = "public"
    may["tests"] = "engine cache kernels model tokenizer tools base public"

    # headers of other projects: where each may appear, as patterns of the whole path
    only["jansson.h"] = "^engine/base/json[.]c$|^tools/"
    only["xxhash.h"] = "^engine/base/hash[.]c$"
    only["stb_ds.h"] = "^engine/base/map[.]c$"
    only["zip.h"] = "^engine/base/archive[.]c$"
    only["pcre2.h"] = "^tokenizer/"
    only["utf8proc.h"] = "^(tokenizer/|tests/unit/test_tokenizer_parts)"
    only["cblas.h"] = "^engine/kernels/gemm_blas[.]c$|^tests/"
    only["omp.h"] = "^engine/team[.]c$|^tests/"
    only["immintrin.h"] = "^engine/kernels/avx(2|512)[^/]*$"
    only["cpuid.h"] = "^engine/kernels/kernels[.]c$"
    only["cmocka.h"] = "^tests/"
    only["kvass/kvass.h"] = "^tools/examples/"
}
function layer_of(path)
{
    if (path == "engine/kvass.h") return "public"
    if (path ~ /^engine\/base\//) return "base"
    if (path ~ /^engine\/kernels\//) return "kernels"
    if (path ~ /^engine\/cache\//) return "cache"
    if (path ~ /^(engine|model|tokenizer|tools|tests)\//) {
        sub(/\/.*/, "", path)
        return path
    }
    return "none"
}
/^[ \t]*#[ \t]*include/ {
    here = layer_of(FILENAME)
    name = $0
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
    place = FILENAME ":" FNR ": "
    if (name ~ /^</) {
        gsub(/^<|>.*$/, "", name)
        if (name in only && FILENAME !~ only[name])
            print place "<" name "> does not belong here"
        next
    }
    if (name !~ /^"/) {
        print place "an include the lint cannot read: " name
        next
    }
    gsub(/^"|"[^"]*$/, "", name)
    if (name ~ /^(commit|report_parts)[.]h$/ && here == "tools") # made by the build
        next
    there = layer_of(name)
    if (name ~ /(^|\/)[.][.]?\//)
        print place "\"" name "\" is not written from the root"
    else if (there == "none")
        print place "\"" name "\" is in no layer (includes are written from the root)"
    else if (there != here && (" " may[here] " ") !~ (" " there " "))
        print place here " may not include " there ": \"" name "\""
}') || exit 2
bad_lines "$found"
finish
