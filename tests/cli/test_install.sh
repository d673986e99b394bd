# The installed library, from outside: header, pkg-config, shared and static; the examples; the
# command.
# $BUILD is the build folder, $CC the compiler, $PREFIX where the project installs.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
need_model

stage=$work/stage
DESTDIR=$stage meson install -C "$BUILD" --no-rebuild >"$work/log" 2>&1 ||
    fail "install: $(tail -n 3 "$work/log")"
prefix=$stage$PREFIX
pc=$(find "$prefix" -name kvass.pc)
[ -n "$pc" ] || { fail "no kvass.pc"; finish; }
export PKG_CONFIG_PATH=${pc%/*}
flags() {
    pkg-config --define-variable=prefix="$prefix" "$@" kvass
}
grep -q stb "$pc" && fail "kvass.pc wants stb, which no user needs"
lib=$(flags --variable=libdir)
[ "$(flags --modversion)" = "$("$KVASS" --version | sed -n 's/^kvass //p')" ] ||
    fail "version of kvass.pc"
[ "$(find "$prefix/include" -type f)" = "$prefix/include/kvass/kvass.h" ] ||
    fail "headers: $(find "$prefix/include" -type f)"

# a program compiled from outside: the header alone, as C11 and as C++ if there is a compiler
printf '#include <kvass/kvass.h>\nint main(void) { return kvass_version()[0] == 0; }\n' \
    >"$work/header.c"
# shellcheck disable=SC2046 # flags are words
$CC -std=c11 -Wall -Wextra -Wpedantic -Werror $(flags --cflags) "$work/header.c" $(flags --libs) \
    -o "$work/header" || fail "the header does not compile as C11"
if command -v g++ >/dev/null; then
    # shellcheck disable=SC2046
    g++ -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $(flags --cflags) \
        "$work/header.c" ||
        fail "the header does not compile as C++"
fi

# build NAME: the example NAME with the shared library, as its first lines say, and with the static
mkdir "$work/static"
cp "$lib/libkvass.a" "$work/static"
build() {
    # shellcheck disable=SC2046
    $CC -std=c11 -Wall -Wextra -Werror "$ROOT/tools/examples/$1.c" $(flags --cflags --libs) \
        -Wl,-rpath,"$lib" -o "$work/$1" || fail "$1.c does not compile"
    # shellcheck disable=SC2046
    $CC -std=c11 -Wall -Wextra -Werror "$ROOT/tools/examples/$1.c" $(flags --cflags) \
        -L"$work/static" $(flags --libs --static) -o "$work/$1-static" ||
            fail "$1.c does not compile with libkvass.a"
}
build generate
build cache

expect 0 "$work/cache"
silent
cp "$out" "$work/cache.out"
grep -q "^token 2, layer 1: attends to 3 rows, the newest key starts with 120$" "$out" ||
    fail "cache: $(cat "$out")"
grep -q "^full: 3 of 3 positions, .* 128 per token$" "$out" || fail "cache: $(cat "$out")"
grep -q "^one more: ." "$out" || fail "no overflow: $(cat "$out")"
grep -q "^reset: 0 of 3 positions, 0 bytes used" "$out" || fail "cache: $(cat "$out")"
expect 0 "$work/cache-static"
same "$out" "$work/cache.out"

# the example and the command generate the same text
tokenizer=$model
if [ ! -d "$model" ]; then
    tokenizer=$(find "$(dirname "$model")" -name 'tok*.bin')
fi
"$KVASS" generate -m "$model" --echo --seed 0 -n 64 "Once upon a time" >"$work/want" </dev/null
expect 0 "$work/generate" "$model" "$tokenizer" "Once upon a time"
cmp -s <(head -c "$(stat -c %s "$work/want")" "$out") "$work/want" ||
    fail "generate: '$(cat "$out")', expected '$(cat "$work/want")'"
cp "$out" "$work/shared.out"
expect 0 "$work/generate-static" "$model" "$tokenizer" "Once upon a time"
same "$out" "$work/shared.out"
expect 2 "$work/generate"
expect 1 "$work/generate" "$work/absent" "$tokenizer" "Once"
says "absent"

# the installed command finds the installed weights by itself
"$prefix/bin/kvass" --version >/dev/null || fail "the installed command does not run"
if [ -d "$ROOT/weights/tiny" ]; then
    expect 0 "$KVASS" generate -m "$ROOT/weights/tiny" --temp 0 -n 8 "Once"
    cp "$out" "$work/want"
    expect 0 "$prefix/bin/kvass" --temp 0 -n 8 "Once"
    same "$out" "$work/want"
    expect 0 "$KVASS" --temp 0 -n 8 "Once"
    same "$out" "$work/want"
fi
finish
