# report: what is read and refused, where; plain forms; and that nothing out of the data can end the
# block it stands in. tests/report looks at the page with a browser.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
r=("$KVASS" report)
golden=$ROOT/tests/golden/llama-gqa
ids=1,5,9,2,4

"$KVASS" bench -q -m "$golden" --depth 5,20 -n 3 --reps 2 --warmup 0 -o json >"$work/bench.json"
"$KVASS" bench -q -m "$golden" --depth 5 -n 3 --reps 2 --warmup 0 -o jsonl >"$work/bench.jsonl"
"$KVASS" attention -m "$golden" --tokens "$ids" -o "$work/maps.json"
python3 - >"$work/runs.jsonl" <<'PYTHON'
import json
run = {"kind": "tradeoff", "status": "ok", "model": "m", "cache": "full", "flags": "", "n_ctx": 512,
       "cache_bytes": 900, "decode_ms_per_token": 3, "kld_mean": 0, "bits_per_byte": 1.5,
       "same_top": 1}
print(json.dumps(run), "\n")
print(json.dumps({**run, "decode_ms_per_token": 1}))
print(json.dumps({**run, "status": "refused", "cache": "topk", "reason": "x"}))
print(json.dumps({**run, "cache": "a\"b'c", "cache_bytes": 90, "decode_ms_per_token": 2,
                  "trials": 3, "decode_ms_trials": [1, 2, 6], "kld_mean": None,
                  "bits_per_byte": 2}))
PYTHON

# the page is one, and complete; the same from a pipe
expect 0 "${r[@]}" "$work/bench.json" "$work/bench.jsonl" "$work/maps.json" "$work/runs.jsonl" \
    -o "$work/page.html"
silent
[ ! -s "$out" ] || fail "something on stdout"
grep -q "Content-Security-Policy.*default-src 'none'" "$work/page.html" || fail "no policy"
grep -qE '(src|href)="?(https?:)?//|@import|url\(' "$work/page.html" && fail "a reference elsewhere"
expect_in 0 "$work/runs.jsonl" "${r[@]}" -
silent
head -c 15 "$out" | grep -q '<!DOCTYPE html>' || fail "no page on stdout"
# the policy's hashes are those of the script and of the style
python3 - "$work/page.html" <<'PYTHON' || fail "hashes"
import base64, hashlib, re, sys
page = open(sys.argv[1], encoding="utf-8").read()
for tag in ("script", "style"):
    (text,) = re.findall("<%s>(.*?)</%s>" % (tag, tag), page, re.S)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert "%s-src 'sha256-%s'" % (tag, digest) in page, tag
PYTHON

# whatever the data are, they stay data
python3 - "$work/maps.json" "$work/hostile.json" <<'PYTHON'
import json, sys
d = json.load(open(sys.argv[1]))
d["pieces"] = ["</script><script>alert(1)</script>", "<!--<script>", "\u2028\u202e&lt;", "]]>",
               "'\"`\\"]
d["model"] = "</title></script><img src=x onerror=alert(1)>"
json.dump(d, open(sys.argv[2], "w"))
PYTHON
expect 0 "${r[@]}" "$work/hostile.json"
python3 - "$out" "$work/hostile.json" <<'PYTHON' || fail "hostile text"
import json, re, sys
page = open(sys.argv[1], encoding="utf-8").read()
assert page.count("<script") == 2 and page.count("</script") == 2 and "<img" not in page
assert "<!--" not in page
(data,) = re.findall('<script type="application/json" id="data">(.*?)</script>', page, re.S)
assert json.loads(data)["attention"][0]["labels"] == json.load(open(sys.argv[2]))["pieces"]
PYTHON

# plain forms; the trials of a run are one, with their median
expect 0 "${r[@]}" --format csv "$work/bench.json" "$work/runs.jsonl"
silent
python3 - "$out" "$work/bench.json" <<'PYTHON' || fail "csv: $(cat "$out")"
import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1], newline="")))
bench = json.load(open(sys.argv[2]))["rows"]
speed = [r for r in rows if r["picture"] == "speed"]
assert len(speed) == len(bench)
for r, b in zip(speed, bench):
    assert (r["series"], int(r["n_ctx"])) == (b["mode"], b["n_ctx_before"])
    assert abs(float(r["ms_per_token"]) - b["ms_per_token"]) < 1e-5
full, other = [r for r in rows if r["picture"] == "tradeoff"]
times = ("ms_per_token", "ms_low", "ms_high")
assert [full[name] for name in times] == ["2", "1", "3"] and full["cache_bytes"] == "900"
assert [other[name] for name in times] == ["2", "1", "6"]
assert other["series"] == "a\"b'c" and other["kld_mean"] == "" and other["bits_per_byte"] == "2"
PYTHON
text='"tokens":[5,7],"seed":3,"prompt_tokens":[1,2,3],"pieces":["a\"",null],"token_ms":[4.5,2],'
text+='"token_logprob":[-0.5,-3]'
echo "{$text,\"model\":\"m\",\"finish_reason\":\"length\"}" >"$work/text.json"
expect 0 "${r[@]}" --format csv "$work/text.json"
silent
python3 - "$out" <<'PYTHON' || fail "csv: $(cat "$out")"
import csv, sys
names = ("picture", "model", "series", "n_ctx", "ms_per_token", "token", "logprob")
rows = [tuple(r[name] for name in names) for r in csv.DictReader(open(sys.argv[1], newline=""))]
assert rows == [("tokens", "m", "seed 3", "3", "4.5", 'a"', "-0.5"),
                ("tokens", "m", "seed 3", "4", "2", "id 7", "-3")], rows
PYTHON
expect 0 "${r[@]}" --format gnuplot "$work/bench.json" "$work/runs.jsonl" "$work/text.json"
silent
[ "$(grep -c '^EOD$' "$out")" -eq 3 ] || fail "gnuplot data"
if command -v gnuplot >/dev/null; then
    { echo 'set terminal dumb'; cat "$out"; } >"$work/plot"
    gnuplot "$work/plot" >"$work/drawn" 2>&1 || fail "gnuplot: $(head -c 300 "$work/drawn")"
fi

# an attention page straight from the command
expect 0 "$KVASS" attention -m "$golden" --tokens "$ids" -o "$work/maps.html"
grep -q '"labels":\["' "$work/maps.html" ||
    fail "no maps in the page"

# refusals name file and line
refused() {
    printf "$1" >"$work/bad.json"
    expect 3 "${r[@]}" "$work/bad.json"
    says "$work/bad.json: line $2: "
    says "$3"
}
refused '' 1 'expected a JSON document'
refused '\n \n' 3 'expected a JSON document'
refused '{"a":1}' 1 'expected a result of kvass bench'
refused '[1]' 1 'expected a result of kvass bench'
refused '{"status":"ok","n_ctx":5,"bytes_used":1}\n\n{"status":"ok","n_ctx":5,\n"x":}' 4 "near"
refused '{"status":"ok","n_ctx":5,"bytes_used":1}\n{"status":"ok","n_ctx":5,"bytes_used":-1}' 2 \
    "'bytes_used': expected at least 0, found -1"
refused '{"status":"ok","n_ctx":"5"}' 1 "'n_ctx': expected a number, found a string"
refused '{"status":"ok","n_ctx":5,"n_ctx":5}' 1 'duplicate'
refused '{"status":"ok","n_ctx":5,"cache_bytes":1,"kld_mean":"0"}' 1 "'kld_mean': expected a number"
refused '{"status":"ok","n_ctx":5,"cache_bytes":NaN}' 1 "near 'NaN'"
row='"mode":"cached","n_ctx_before":5,"n_gen":1,"ms_per_token":1,"tok_s_p5":1,"tok_s_p95":1'
refused "{$row}" 1 "'kv_bytes': expected a number, found nothing"
refused '{"rows":[{"mode":"x"}],"kv_type":"f16","model":"m"}' 1 "rows[0]: 'n_ctx_before'"
refused '{"rows":5,"kv_type":"f16"}' 1 "'rows': expected an array"

# texts that are not what they say
refused '{"tokens":[1],"finish_reason":"eos","seed":1}' 1 "no 'token_ms': kvass generate writes it"
refused '{"timing":{},"samples":[{"tokens":[1],"seed":1}]}' 1 "samples[0]: no 'token_ms'"
refused '{"timing":{},"samples":5}' 1 "'samples': expected an array"
refused '{"tokens":[1],"finish_reason":"eos","seed":1,"token_ms":[]}' 1 \
    "expected 1 numbers, found 0"
refused '{"tokens":[1],"finish_reason":"eos","seed":1,"token_ms":[-1]}' 1 "number 0 is not from 0"
refused '{"tokens":[1],"finish_reason":"eos","seed":1,"token_ms":[1],"token_logprob":[2]}' 1 \
    "'token_logprob': number 0 is not from"
refused '{"tokens":5,"finish_reason":"eos"}' 1 "'tokens': expected an array, found a number"

# maps that are not what they say; each change is one expression on the document d
maps() {
    python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
exec(sys.argv[3])
json.dump(d, open(sys.argv[2], "w"))' "$work/maps.json" "$work/bad.json" "$1"
    expect 3 "${r[@]}" "$work/bad.json"
    says "$2"
}
maps 'd["maps"][1]["weights"][2][0] = 2' 'maps[1]: the weights of query 2: number 0'
maps 'd["maps"][1]["weights"][2].pop()' 'maps[1]: the weights of query 2: expected 3'
maps 'd["maps"][0]["weights"].pop()' "maps[0]: 'weights': expected 5 rows, found 4"
maps 'd["maps"][0]["keys"] = 1' "'keys': there is no list 1"
maps 'd["maps"][0]["layer"] = "<"' "maps[0]: 'layer': expected a number"
maps 'd["keys"][0][3] = "wwwz"' 'keys[0]: expected a letter'
maps 'd["keys"][0][3] = "www"' 'keys[0]: expected a letter'
maps 'd["tokens"].pop()' "'tokens': expected 5, found 4"
maps 'd["n_positions"] = 100000000' 'expected at most 4096'
maps 'd["n_positions"] = 1e300' "'n_positions': expected a whole number"
maps 'd["maps"][0]["head"] = 0.5' "'head': expected a whole number"
maps 'd["first_query"] = 5' 'and a query among them'
expect 2 "${r[@]}"
says "nothing to report"
expect 2 "${r[@]}" --format pdf "$work/bench.json"
says "--format"
expect 1 "${r[@]}" "$work/none.json"
says "No such file"
expect 1 "${r[@]}" "$work/bench.json" -o "$work/none/there"
says "No such file"
finish
