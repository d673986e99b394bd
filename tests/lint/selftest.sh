#!/bin/bash
# selftest.sh CC... - every lint can fail: a small clean tree passes each, and one planted violation
# at a time is found and named.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cc=("$@")
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
n_bad=0

# A tree with a file in each layer.
plant_clean()
{
    rm -rf "$dir/tree"
    mkdir -p "$dir"/tree/{engine/{base,kernels,cache},model,tokenizer,tools,tests}
    cd "$dir/tree" || exit 2
    printf '%s\n' '/* The public header. */' '#ifndef KVASS_H' '#define KVASS_H' \
        '#define KVASS_API __attribute__((visibility("default")))' \
        'KVASS_API const char *kvass_version(void);' \
        'KVASS_API int kvass_open(const char *path); /* // is fine here */' '#endif' >engine/kvass.h
    for file in engine/base/error engine/kernels/kernels engine/cache/kv engine/context \
        model/model tokenizer/tokenizer tools/cli tests/unit; do
        printf '%s\n' '/* What this owns. */' '#include "engine/kvass.h"' >$file.h
        printf '%s\n' '/* What this owns. */' "#include \"$file.h\"" \
            "const char *kvass_$(basename $file) = \"http://\";" >$file.c
        sed -i -e '1a #ifndef H' -e '1a #define H' -e '$a #endif' $file.h
    done
}

# expect STATUS WORD SCRIPT ARGS...: its exit status, and a word in what it prints
expect()
{
    local status=$1 word=$2 script=$3 out rc
    shift 3
    out=$(bash "$here/$script" "$@" 2>&1)
    rc=$?
    if [ $rc -ne "$status" ] || ! grep -qF -- "$word" <<<"$out"; then
        printf '%s: expected status %s and "%s", got status %s:\n%s\n' "$script" "$status" "$word" \
            "$rc" "$out"
        n_bad=$((n_bad + 1))
    fi
}

# planted SCRIPT WORD FILE LINE: the line, appended to a file of a clean tree, is found
planted()
{
    plant_clean
    printf "$4" >>"$3"
    case $1 in
    headers.sh) expect 1 "$2" "$1" "$dir/tree" "${cc[@]}" ;;
    *) expect 1 "$2" "$1" "$dir/tree" ;;
    esac
}

plant_clean
for script in dependence.sh text.sh paths.sh; do
    expect 0 clean $script "$dir/tree"
done
expect 0 clean headers.sh "$dir/tree" "${cc[@]}"

while read -r file include; do
    planted dependence.sh "$file:" "$file" "#include $include\n"
done <<'END'
engine/base/error.c "model/model.h"
engine/kernels/kernels.c "engine/cache/kv.h"
engine/cache/kv.c "engine/context.h"
engine/cache/kv.c "model/model.h"
engine/context.c "tokenizer/tokenizer.h"
engine/context.c "tools/cli.h"
engine/context.c "tests/unit.h"
model/model.c "engine/kernels/kernels.h"
model/model.c "tokenizer/tokenizer.h"
tokenizer/tokenizer.c "model/model.h"
tools/cli.c "engine/base/error.h"
tools/cli.c "engine/context.h"
tools/cli.c "tests/unit.h"
engine/kvass.h "engine/base/error.h"
engine/context.c "context.h"
engine/context.c "../model/model.h"
engine/context.c "engine/cache/../../tokenizer/tokenizer.h"
engine/context.c MACRO_HEADER
engine/base/error.c <jansson.h>
engine/context.c <omp.h>
engine/kernels/kernels.c <cblas.h>
model/model.c <pcre2.h>
tokenizer/tokenizer.c <stb_ds.h>
END

long=$(printf '%101s' '' | tr ' ' x)
planted text.sh 'columns' model/model.c "$long\n"
planted text.sh 'tab' model/model.c '\tint tabbed;\n'
planted text.sh 'trailing space' model/model.c 'int spaced; \n'
planted text.sh 'no final newline' model/model.c 'int open_ended;'
planted text.sh 'a // comment' model/model.c 'int x; // said so\n'
planted text.sh 'a // comment' model/model.c '/* a */ int x; // "said" so\n'
planted text.sh 'work left to do' model/model.c '/* TO''DO */\n'
planted text.sh '601 lines' model/model.c "$(printf '\\n%.0s' {1..598})"
planted text.sh 'a function of 81 lines' model/model.c "{\n$(printf ' x;\\n%.0s' {1..81})}\n"
plant_clean
printf 'int x;\n' >model/bare.c
expect 1 'model/bare.c:1:' text.sh "$dir/tree"

planted paths.sh model/model.c model/model.c 'const char *here = "/ro''ot/kvass";\n'
planted headers.sh model/model.h model/model.h 'size_t kvass_needs_stddef(void);\n'

# a library whose source is the argument, under the header of the clean tree
library()
{
    plant_clean
    printf '%b' "$1" >lib.c
    printf 'KVASS_0 { global: kvass_*; leak*; local: *; };\n' >lib.map
    "${cc[@]}" -fPIC -w -fno-builtin -c lib.c -o lib.o && ar rc lib.a lib.o &&
        "${cc[@]}" -shared lib.o -Wl,--version-script=lib.map -o lib.so || exit 2
}
both='int kvass_open(const char *p) { return *p; }\nchar *kvass_version(void) { return ""; }\n'
symbols=("$dir/tree" "$dir/tree/lib.so" "$dir/tree/lib.a" ndebug "$dir/tree/lib.a")
library "$both"
expect 0 clean symbols.sh "${symbols[@]}"
library 'int kvass_open(const char *p) { return *p; }\n'
expect 1 'kvass_version: declared, not exported' symbols.sh "${symbols[@]}"
library "${both}int kvass_extra(void) { return 1; }\n"
expect 1 'kvass_extra: exported, not declared' symbols.sh "${symbols[@]}"
library "${both}int leak(void) { return 1; }\n"
expect 1 'leak: exported, not declared' symbols.sh "${symbols[@]}"
library "${both}int helper(void) { return 1; }\n"
expect 1 'helper: a global name' symbols.sh "${symbols[@]}"
for call in abort exit printf getenv __assert_fail signal; do
    library "${both}int $call();\nint kvass_calls(void) { return $call(); }\n"
    expect 1 "asks for $call" symbols.sh "${symbols[@]}"
done

if [ $n_bad -gt 0 ]; then
    echo "selftest: $n_bad failures"
    exit 1
fi
echo 'selftest: every planted violation was found'
