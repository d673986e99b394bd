# inspect, --version and help.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
golden=$ROOT/tests/golden

for name in llama-gqa llama-mha llama-untied llama-sharded llama-bf16 llama-f16 gpt2; do
    expect 0 "$KVASS" inspect "$golden/$name"
    silent
    expect 0 "$KVASS" inspect -m "$golden/$name" --json --tensors --check
    json 'd["n_params"] > 0 and d["bad_values"] == 0 and len(d["fingerprint"]) == 16' \
        'sum(t["bytes"] for t in d["tensors"]) == sum(t["bytes"] for t in d["dtypes"])' \
        'sum(math.prod(t["shape"]) for t in d["tensors"]) == sum(
            t["elements"] for t in d["dtypes"])' \
        'd["cache_bytes_per_token"]["f16"] == 4 * d["n_layers"] * d["n_kv_heads"] * d["head_dim"]' \
        'd["cache_bytes_per_token"]["f32"] == 2 * d["cache_bytes_per_token"]["f16"]' \
        'd["memory"]["cache_bytes"] >= d["memory"]["n_ctx"] * d["cache_bytes_per_token"]["f16"]' \
        'd["tokenizer"] is None'
done
expect 0 "$KVASS" inspect "$golden/gpt2" --json
json 'd["family"] == "gpt2" and d["positions"] == "learned" and "tensors" not in d'
expect 0 "$KVASS" inspect "$golden/llama-bf16" --json
json '[t["dtype"] for t in d["dtypes"]] == ["bf16"]'
expect 0 "$KVASS" inspect "$golden/llama-q8/v2-g64.bin" --json --check
json 'd["format"] == "llama2.c v2" and "q8_f32" in [t["dtype"] for t in d["dtypes"]]'

# the memory follows the context and the store
expect 0 "$KVASS" inspect "$golden/llama-mha" --json -c 64 --kv-type f32
json 'd["memory"]["n_ctx"] == 64' \
    'd["memory"]["cache_bytes"] == 64 * d["cache_bytes_per_token"]["f32"]'
expect 0 "$KVASS" inspect "$golden/llama-mha" -c 64
grep -q "at a context of 64" "$out" || fail "no memory at 64"

# a large tokenizer is named, not read: junk of that size does no harm
cp -r "$golden/llama-mha" "$work/large"
chmod -R u+w "$work/large"
head -c 600000 /dev/zero >"$work/large/tokenizer.json"
expect 0 "$KVASS" inspect "$work/large" --json
json 'd["tokenizer"] == {"kind": None, "unread": "tokenizer.json", "bytes": 600000}'
expect 0 "$KVASS" inspect "$work/large"
grep -q "^tokenizer .*not read" "$out" || fail "tokenizer: $(cat "$out")"

# kind and size of a large one are told without reading it properly
python3 - "$work/large" <<'PYTHON'
import json, sys
vocab = {"token \\\\\" %d" % i: i for i in range(30000)}
merges = ["a b"] * 7
added = [{"id": 30000 + i, "content": "<%d>" % i} for i in range(3)]
whole = {"version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"},
         "model": {"type": "BPE", "vocab": vocab, "merges": merges}}
with open(sys.argv[1] + "/tokenizer.json", "w") as f:
    json.dump(whole, f, indent=1)
PYTHON
expect 0 "$KVASS" inspect "$work/large" --json
json 'd["tokenizer"]["kind"] == "BPE" and d["tokenizer"]["file"] == "tokenizer.json"' \
    'd["tokenizer"]["n_vocab"] == 30000 and d["tokenizer"]["n_added"] == 3'
expect 0 "$KVASS" inspect "$work/large"
grep -q "^tokenizer   BPE, 30000 tokens and 3 added ones (tokenizer.json" "$out" ||
    fail "tokenizer: $(cat "$out")"
python3 - "$work/large" <<'PYTHON'
import json, sys
with open(sys.argv[1] + "/tokenizer.json", "w") as f:
    json.dump({"model": {"type": "Unigram", "vocab": [["[%d,]" % i, -1.5] for i in range(50000)]},
               "added_tokens": []}, f)
PYTHON
expect 0 "$KVASS" inspect "$work/large" --json
json 'd["tokenizer"]["kind"] == "Unigram" and d["tokenizer"]["n_vocab"] == 50000' \
    'd["tokenizer"]["n_added"] == 0'
head -c 600000 "$work/large/tokenizer.json" >"$work/cut"
mv "$work/cut" "$work/large/tokenizer.json"
expect 0 "$KVASS" inspect "$work/large" --json
json 'd["tokenizer"]["kind"] is None'

# so are those of one inside a GGUF file: put in front of the metadata here, and never built
expect 0 "$KVASS" convert "$golden/llama-mha" --no-tokenizer "$work/plain.gguf"
put_tokens() {
    python3 - "$work" "$@" <<'PYTHON'
import struct, sys
folder, model, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
def text(s):
    return struct.pack("<Q", len(s)) + s.encode()
def pair(key, kind, value):
    return text("tokenizer.ggml." + key) + struct.pack("<I", kind) + value
pairs = [pair("model", 8, text(model)),
         pair("tokens", 9, struct.pack("<IQ", 8, n) + b"".join(text("t%d" % i) for i in range(n))),
         pair("scores", 9, struct.pack("<IQ", 6, 3) + bytes(12)),
         pair("add_bos_token", 7, b"\1")]
ids = [("bos_token_id", 4, "<I", 7), ("eos_token_id", 11, "<q", -3)]
for key, kind, code, value in ids[:int(sys.argv[4])]:
    pairs.append(pair(key, kind, struct.pack(code, value)))
filler = -len(b"".join(pairs) + pair("filler", 8, text(""))) % 32
pairs.append(pair("filler", 8, text("-" * filler)))
data = open(folder + "/plain.gguf", "rb").read()
data = data.replace(b"tokenizer.ggml.", b"tokenizer.none.") # what it says of itself
n_pairs = struct.unpack_from("<Q", data, 16)[0] + len(pairs)
with open(folder + "/tokens.gguf", "wb") as f:
    f.write(data[:16] + struct.pack("<Q", n_pairs) + b"".join(pairs) + data[24:])
PYTHON
}
put_tokens gpt2 150000 2
expect 0 "$KVASS" inspect "$work/tokens.gguf" --json
json 'd["tokenizer"] == {"kind": "bpe", "n_vocab": 150000, "bos": 7, "eos": -1}'
put_tokens llama 20000 0
expect 0 "$KVASS" inspect "$work/tokens.gguf" --json
json 'd["tokenizer"] == {"kind": "spm", "n_vocab": 20000, "bos": 1, "eos": 2}'
put_tokens other 20000 0
expect 0 "$KVASS" inspect "$work/tokens.gguf" --json
json 'd["tokenizer"] is None'
put_tokens gpt2 100 0 # few are read, and have no merges
expect 0 "$KVASS" inspect "$work/tokens.gguf" --json
json 'd["tokenizer"] is None'

# windows and owners, layer by layer
expect 0 "$KVASS" inspect "$golden/kvass" --json
json 'len(d["layers"]) == d["n_layers"]' 'any(l["window"] > 0 for l in d["layers"])' \
    'all(l["owner"] <= i for i, l in enumerate(d["layers"]))' \
    'any(l["owner"] < i for i, l in enumerate(d["layers"]))'
expect 0 "$KVASS" inspect "$golden/kvass"
grep -q "^attention .*the newest [0-9]* tokens in layers" "$out" || fail "no windows: $(cat "$out")"
grep -q "^sharing .*layer [0-9]* reads keys of" "$out" || fail "no owners: $(cat "$out")"
expect 0 "$KVASS" inspect "$golden/llama-mha"
grep -q "^attention   all tokens in layers 0-1$" "$out" || fail "attention: $(cat "$out")"
grep -q "^sharing" "$out" && fail "sharing: $(cat "$out")"

# statistics of every tensor, of quantized types as well
for name in llama-bf16 llama-f16 llama-q8/v2-g64.bin llama-mha; do
    expect 0 "$KVASS" inspect "$golden/$name" --json --check --tensors
    json 'len(d["statistics"]) == len(d["tensors"])' \
        'all(s["min"] <= s["mean"] <= s["max"] and s["sd"] >= 0 for s in d["statistics"])' \
        'all(-9 < s["min"] and s["max"] < 9 and s["bad_values"] == 0 for s in d["statistics"])' \
        'sum(s["sd"] > 0.001 for s in d["statistics"]) > len(d["statistics"]) / 2'
done
expect 0 "$KVASS" inspect "$golden/llama-mha" --check
[ "$(grep -c "^ .*model\." "$out")" -gt 10 ] || fail "no statistics: $(cat "$out")"

# --check finds a NaN and an infinity, and says where
cp -r "$golden/llama-mha" "$work/poisoned"
chmod -R u+w "$work/poisoned"
python3 - "$work/poisoned/model.safetensors" <<'PYTHON'
import json, struct, sys
with open(sys.argv[1], "r+b") as f:
    n = struct.unpack("<Q", f.read(8))[0]
    header = json.loads(f.read(n))
    names = sorted(name for name in header if name != "__metadata__")
    for name, value, place in ((names[0], float("nan"), 0), (names[-1], float("-inf"), -4)):
        begin, end = header[name]["data_offsets"]
        f.seek(8 + n + (begin if place == 0 else end + place))
        f.write(struct.pack("<f", value))
PYTHON
expect 3 "$KVASS" inspect --check --json "$work/poisoned"
json 'd["bad_values"] == 2' 'sum(s["bad_values"] for s in d["statistics"]) == 2'
[ "$(grep -c "1 values are NaN or infinite" "$err")" -eq 2 ] || fail "no names: $(cat "$err")"
expect 0 "$KVASS" inspect "$work/poisoned"
# its logits show it, as null in JSON
expect 0 "$KVASS" logits --json -m "$work/poisoned" --tokens 1,2
json 'any(x is None for x in d["logits"])'

# escape sequences in names do not reach a terminal's stderr
name=$work/$(printf 'esc\033[31m')
expect 1 "$KVASS" inspect "$name"
grep -q "$(printf '\033')" "$err" && fail "an escape sequence passed"

# --version and help need no model
expect 0 "$KVASS" --version
grep -q "^kvass [0-9]*\.[0-9]*\.[0-9]*$" "$out" || fail "version: $(cat "$out")"
for word in build cpu formats families; do
    grep -q "^$word " "$out" || fail "--version lacks $word"
done
for command in generate eval bench tradeoff attention report logits inspect tokenize detokenize; do
    expect 0 "$KVASS" $command --help
    silent
    cp "$out" "$work/help"
    [ "$(wc -l <"$work/help")" -le 40 ] || fail "$command --help has more than 40 lines"
    [ "$(sed '1,/^examples:/d' "$work/help" | wc -l)" -eq 3 ] ||
        fail "$command --help lacks three examples"
    [ "$(wc -L <"$work/help")" -le 80 ] || fail "$command --help is wider than 80"
    # every option there is, is in it (usage knows them all)
    expect 0 "$KVASS" $command --usage
    for option in $(grep -oE -- '--[a-z][a-z0-9-]+' "$out" | sort -u); do
        case $option in
        --help | --usage | --model | --tokenizer | --quiet | --verbose | --ctx | --threads | \
            --prompt | --file | --tokens | --output | --version) ;;
        *) grep -qF -- "$option" "$work/help" || [ "$command $option" = "bench --cache" ] ||
            fail "$command --help lacks $option" ;;
        esac
    done
    expect 0 "$KVASS" help $command
    cmp -s <(head -c "$(stat -c %s "$work/help")" "$out") "$work/help" ||
        fail "help $command does not begin with --help"
done
expect 0 "$KVASS" --help
[ "$(wc -l <"$out")" -le 40 ] || fail "--help has more than 40 lines"
cp "$out" "$work/help"
expect 0 "$KVASS" help
same "$out" "$work/help"
finish
