"""look.py - the page of `kvass report` in a browser: every picture is there with the right numbers,
each control changes what it should, the page reports no error and asks for nothing, at three widths,
light and dark, on paper. Pictures of it go to $KVASS_SHOTS when that names a folder."""

import json
import os
import subprocess
import sys
import tempfile

import browser

KVASS, ROOT = os.environ["KVASS"], os.environ["ROOT"]
MODELS = {name: os.path.join(ROOT, "tests/golden", name) for name in ("llama-gqa", "kvass")}
HOSTILE = ["</script><script>document.title='x'</script>", "<img src=x onerror=document.title='x'>",
           "\u202e\u0007 & \"'", "<!--", "http://example.org/"]


def kvass(*args):
    done = subprocess.run([KVASS, *args], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, args
    return done.stdout.decode()


def save(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def bench_line(mode, depth, ms):
    return json.dumps({"kind": "bench", "model": "a/<b>&", "kv_type": "f16", "threads": 1, "mode": mode,
                       "n_ctx_before": depth, "n_gen": 8, "n_seqs": 1, "ms_per_token": ms,
                       "tok_s_p5": 900 / ms, "tok_s_p95": 1100 / ms, "kv_bytes": 1000})


def run_line(cache, n_ctx, n_bytes, ms, kl, bits=2.0):
    return json.dumps({"kind": "tradeoff", "status": "ok", "model": "m", "cache": cache, "flags": "--" + cache,
                       "n_ctx": n_ctx, "cache_bytes": n_bytes, "decode_ms_per_token": ms, "kld_mean": kl,
                       "bits_per_byte": bits, "same_top": 0.9, "decode_p50_ms": ms, "decode_p99_ms": 3 * ms})


SPEED = [("cached", 16, 1.0), ("cached", 256, 2.0), ("uncached", 16, 4.0), ("uncached", 256, 60.0)]
RUNS = [("full", 512, 8000, 2.0, 0.0), ("small", 512, 1000, 1.5, 0.5), ("middle", 512, 4000, 1.7, 0.005),
        ("worse", 512, 9000, 3.0, 0.2), ("none", 512, 0, 90.0, 0.0), ("full", 256, 4000, 2.0, 0.0)]


def ids(n, n_vocab):
    return ",".join(str(i * 7 % n_vocab) for i in range(1, n + 1))


class Page:
    def __init__(self, b):
        self.b = b

    def text(self, selector):
        return self.b.value("document.querySelector(%s).textContent" % json.dumps(selector))

    def count(self, selector):
        return self.b.value("document.querySelectorAll(%s).length" % json.dumps(selector))

    def rows(self, selector):
        """A table's cells, as text."""
        return self.b.value("Array.from(document.querySelectorAll(%s + ' tbody tr')).map(r => "
                            "Array.from(r.children).map(c => c.textContent))" % json.dumps(selector))

    def set(self, control, value):
        self.b.value("(() => { const c = document.getElementById(%s); c.value = %s; c.dispatchEvent("
                     "new Event('input')); c.dispatchEvent(new Event('change')); })()"
                     % (json.dumps(control), json.dumps(str(value))))

    def choose(self, control, name):
        """The option of a list by a part of its text."""
        names = self.b.value("Array.from(document.getElementById(%s).options).map(o => o.text)"
                             % json.dumps(control))
        found = [i for i, text in enumerate(names) if name in text]
        assert found, (control, name, names)
        self.set(control, found[0])

    def value(self, control):
        return self.b.value("Number(document.getElementById(%s).value)" % json.dumps(control))

    def point(self, canvas, n, q, j, kind="pointermove"):
        self.b.value("(() => { const c = document.getElementById(%s), r = c.getBoundingClientRect(); c.dispatchEvent("
                     "new PointerEvent(%s, { clientX: r.left + r.width * %f, clientY: r.top + r.height * %f })); })()"
                     % (json.dumps(canvas), json.dumps(kind), (j + 0.5) / n, (q + 0.5) / n))


def check_speed(page, _):
    assert page.count("#speed-picture > svg") == 1 and page.count("#ratio-picture > svg") == 1
    rows = [r for r in page.rows("#speed-data") if "<b>&" in r[0]]
    assert [(r[1], int(r[2]), float(r[3])) for r in rows] == SPEED, rows
    assert [r[7] for r in rows] == ["\u2013", "\u2013", "4", "30"], rows
    assert "30\u00d7" not in rows and page.count("#ratio-picture .point") >= 2
    titles = page.b.value("Array.from(document.querySelectorAll('#speed-picture .point title')).map(t => t.textContent)")
    assert "without, recomputing, 256 tokens before: 60 ms" in titles, titles


def check_memory(page, inputs):
    for name, path in MODELS.items():
        page.choose("memory-model", name + ",")
        measured = [r for r in page.rows("#memory-data") if r[0] == "measured"]
        rows = [r for r in inputs["bench " + name]["rows"] if r["mode"] != "uncached"]
        want = sorted((r["n_ctx_before"] + (r["n_gen"] if r["mode"] == "cached" else 0), r["kv_bytes"]) for r in rows)
        assert sorted((int(r[1]), int(r[2])) for r in measured) == want, (measured, want)
        assert all(float(r[4]) == 0 for r in measured), (path, measured)
        assert page.count("#memory-picture .point") == len(want)

    def taken():
        return int(page.text("#memory-readout").split("(")[1].split(" ")[0])
    page.choose("memory-model", "llama-gqa,")
    page.set("memory-layers", 4)
    before = taken()
    for control, value, factor in (("memory-layers", 8, 2), ("memory-share", 2, 1), ("memory-element", 3, 2),
                                   ("memory-heads", 2 * page.value("memory-heads"), 4),
                                   ("memory-head-dim", 2 * page.value("memory-head-dim"), 8),
                                   ("memory-context", page.value("memory-context") + 4, 16)):
        page.set(control, value)
        assert taken() == factor * before, (control, taken(), before)


def check_tradeoff(page, _):
    page.choose("tradeoff-length", "512 tokens, m")
    page.choose("tradeoff-height", "ms per token")
    page.choose("tradeoff-limit", "any")
    rows = {r[0]: r for r in page.rows("#tradeoff-data")}
    assert set(rows) == {r[0] for r in RUNS}, rows
    assert (rows["middle"][2], rows["middle"][3], rows["middle"][6]) == ("4000", "1.7", "0.005"), rows
    front = {name for name, r in rows.items() if r[-1].startswith("yes")}
    assert front == {"none", "small"}, front
    assert rows["worse"][-1] == "no" and rows["full"][-1] == "no, in all three", rows
    names = page.b.value("Array.from(document.querySelectorAll('#tradeoff-picture text')).map(t => t.textContent)")
    assert {r[0] for r in RUNS} <= set(names) and "0" in names, names
    assert page.count("#tradeoff-picture .point") == 5 and page.count("#tradeoff-picture path.series") == 1
    page.choose("tradeoff-limit", "KL up to 0.01")
    front = {r[0] for r in page.rows("#tradeoff-data") if r[-1].startswith("yes")}
    assert front == {"none", "middle"}, front
    assert page.count("#tradeoff-picture .point[fill=none]") == 2
    page.choose("tradeoff-height", "bits per byte")
    assert "bits per byte" in page.text("#tradeoff-picture")
    page.choose("tradeoff-length", "256 tokens, m")
    assert [r[0] for r in page.rows("#tradeoff-data")] == ["full"]
    assert "512 tokens, m: the smallest cache within a KL of 0.01 is middle" in page.text("#short")


def check_attention(page, inputs):
    page.choose("attention-source", "window.json")
    doc = inputs["window"]
    n, maps = doc["n_positions"], doc["maps"]
    assert page.count("#attention-heads button canvas") == len(maps)
    page.b.value("document.querySelectorAll('#attention-heads button')[3].click()")
    assert page.b.value("Array.from(document.querySelectorAll('#attention-heads button')).map(b => b.ariaPressed)") \
        == ["true" if i == 3 else "false" for i in range(len(maps))]
    letters = {"s": "sink", "w": "in the window", "x": "evicted"}
    for q, j in ((n - 1, n - 1), (n - 1, 0), (n - 1, 8), (5, 3)):
        page.point("attention-canvas", n, q, j)
        told = page.text("#attention-readout")
        weight, letter = maps[3]["weights"][q][j], doc["keys"][maps[3]["keys"]][q][j]
        assert "query %d " % q in told and "key %d " % j in told and letters[letter] in told, told
        shown = float(told.split("\u201d: ")[-1].split(",")[0])
        assert abs(shown - weight) <= 1e-3 * weight + 1e-6, (told, weight)
    page.point("attention-canvas", n, 2, 5)
    assert "still to come" in page.text("#attention-readout")
    # a row: chosen by a click, the slider, the keys
    page.point("attention-canvas", n, 12, 4, "click")
    assert page.value("attention-row") == 12
    rows = page.rows("#attention-data")
    assert len(rows) == 13 and all(abs(float(r[3]) - w) <= 1e-3 * w + 1e-6
                                   for r, w in zip(rows, maps[3]["weights"][12])), rows
    assert page.count("#attention-text bdi") == 13
    page.b.value("document.getElementById('attention-canvas').focus()")
    page.b.key("ArrowUp")
    page.b.key("ArrowLeft")
    assert page.value("attention-row") == 11 and "key 3 " in page.text("#attention-readout")
    page.set("attention-row", 7)
    assert len(page.rows("#attention-data")) == 8

    def pixel():
        return page.b.value("Array.from(document.querySelector('#attention-heads canvas').getContext('2d')"
                            ".getImageData(0, %d, 1, 1).data)" % (n - 1))
    before = pixel()
    page.b.value("document.getElementById('attention-log').click()")
    assert pixel()[3] > before[3] > 0, (before, pixel())
    # what pages, meta tokens and hostile text look like
    page.choose("attention-source", "topk.json")
    kinds = {r[2] for r in page.rows("#attention-data")}
    assert kinds == {"seen: in the window", "seen: a chosen page", "kept, not chosen"}, kinds
    page.choose("attention-source", "meta.json")
    assert page.rows("#attention-data")[0][1:3] == ["meta 0", "meta token"]
    page.choose("attention-source", "hostile.json")
    assert [r[1] for r in page.rows("#attention-data")] == \
        HOSTILE[:2] + ["\\u202e\\u0007 & \"'"] + HOSTILE[3:], page.rows("#attention-data")
    assert page.count("img") == 0 and page.count("script") == 2
    assert page.b.value("document.title") == "kvass report"


def check_mask(page, inputs):
    for name in ("window", "meta", "meta window"):
        doc = inputs[name]
        meta, cache = doc["n_meta"], doc["cache"]
        for m in doc["maps"]:
            windows = [w for w in (m["window"], cache["window"]) if w > 0]
            window = min(windows, default=0)
            sinks = cache["sinks"] if window == cache["window"] else 0
            for i, row in enumerate(doc["keys"][m["keys"]]):
                q = doc["first_query"] + i
                if i % 7 == 0 or i > 80:
                    drawn = page.b.value("keysOf(%d, %d, %d, %d)" % (q, meta, sinks, window))
                    assert drawn == row, (name, m["layer"], q, drawn, row)
    page.set("mask-length", 40)
    page.set("mask-meta", 3)
    page.set("mask-window", 6)
    page.set("mask-sinks", 2)
    page.set("mask-row", 20)
    row = "mmmss" + "x" * 10 + "w" * 6
    assert page.b.value("document.getElementById('mask-data').dataset.row") == row
    assert page.text("#mask-readout") == "Query 20: sees 11 of 21 keys"
    assert len(page.rows("#mask-data")) == 21
    page.point("mask-canvas", 43, 20, 7)
    assert page.text("#mask-readout") == "Query 20, key 7: evicted"
    page.b.value("document.getElementById('mask-canvas').focus()")
    page.b.key("ArrowDown")
    assert page.value("mask-row") == 21
    page.set("mask-window", 0)
    assert page.text("#mask-readout") == "Query 21: sees 22 of 22 keys"
    page.set("mask-length", 2)  # the row comes along
    assert page.value("mask-row") == 4


def check_times(page, _):
    page.choose("times-source", "caches at 512")
    assert page.count("#times-picture rect.bar") == 5
    rows = {r[0]: r[1:] for r in page.rows("#times-data")}
    assert rows["middle: m"] == ["1.7", "5.1"], rows
    page.choose("times-source", "the benchmark")
    assert any("uncached, 256 before" in r[0] and r[1] == "60" for r in page.rows("#times-data"))


def check_tokens(page, inputs):
    page.choose("tokens-source", "text.json")
    doc = inputs["text"]
    rows = page.rows("#tokens-data")
    assert [int(r[0]) for r in rows] == list(range(len(doc["tokens"])))
    for row, ms, logprob in zip(rows, doc["token_ms"], doc["token_logprob"]):
        assert abs(float(row[2]) - ms) <= 1e-3 * ms and abs(float(row[3]) - logprob) <= 1e-3 * -logprob + 1e-9, row
    assert page.count("#tokens-picture > svg") == 1
    assert page.count("#tokens-picture .point") == len(doc["tokens"]) - 1  # the first has the prompt's time
    assert "prompt of %d" % len(doc["prompt_tokens"]) in page.text("#tokens-about")
    strengths = page.b.value("Array.from(document.querySelectorAll('#tokens-text bdi')).map(e => "
                             "parseFloat((e.style.backgroundColor.match(/, ([0-9.]+)\\)/) || [0, 1])[1]))")
    order = sorted(range(len(rows)), key=lambda i: doc["token_logprob"][i])
    assert strengths[order[0]] == max(strengths) > strengths[order[-1]] == min(strengths), strengths
    page.b.value("document.querySelectorAll('#tokens-text bdi')[2].dispatchEvent(new PointerEvent('pointerenter'))")
    assert page.text("#tokens-readout").startswith("Token 2 "), page.text("#tokens-readout")
    page.choose("tokens-source", "hostile text.json")
    assert page.rows("#tokens-data")[0][1] == HOSTILE[0] and page.b.value("document.title") == "kvass report"


def check_looks(page, b, path, shots):
    for width, dark in ((320, False), (800, True), (1400, False)):
        b.open(path, width, dark=dark)
        wide = b.value("Array.from(document.querySelectorAll('body *')).filter(e => e.getBoundingClientRect().right > %d "
                       "&& !e.closest('.scroll, details') && e.tagName !== 'OPTION').map(e => e.tagName + '#' + e.id)" % (width + 1))
        assert b.value("document.documentElement.scrollWidth") <= width and not wide, (width, wide)
        red = b.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert (int(red) < 100) == dark, red
        b.screenshot(os.path.join(shots, "report-%d.png" % width))
        assert b.problems == [] and b.requests == ["file://" + path], (b.problems, b.requests)
    # a page that grows narrower is drawn anew
    before = b.value("document.querySelector('#speed-picture > svg').viewBox.baseVal.width")
    b.resize(500)
    b.value("new Promise(done => setTimeout(done, 300))")
    assert b.value("document.querySelector('#speed-picture > svg').viewBox.baseVal.width") < before
    # every control has a name, and the keyboard reaches it
    assert b.value("Array.from(document.querySelectorAll('input, select')).every(e => e.labels.length === 1)")
    b.value("document.getElementById('mask-window').focus()")
    at = page.value("mask-window")
    b.key("ArrowRight")
    assert page.value("mask-window") == at + 1
    assert b.value("Array.from(document.querySelectorAll('canvas')).every(c => c.ariaLabel || c.closest('button').ariaLabel)")
    # on paper
    b.call("Emulation.setEmulatedMedia", media="print")
    assert b.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    b.value("document.querySelector('details').open = false")
    paper = b.call("Page.printToPDF", printBackground=True)
    assert len(paper["data"]) > 10000
    assert b.problems == [], b.problems


def check_runs_alone(page, b, folder):
    """Trade-offs alone tell the shape of their model, too."""
    run = json.loads(run_line("f16", 64, 2 * 2 * 64 * 2 * 3 * 4, 1.0, 1e-9))
    shape = {"n_layers": 3, "n_owners": 3, "n_kv_heads": 2, "head_dim": 4, "n_meta": 0, "weight_bytes": 5}
    runs = save(folder, "alone.jsonl", json.dumps({**run, **shape}))
    path = os.path.join(folder, "alone.html")
    kvass("report", runs, "-o", path)
    b.open(path)
    assert [r[1:3] for r in page.rows("#memory-data") if r[0] == "measured"] == [["64", "6144"]]
    assert [r[3] for r in page.rows("#memory-data") if r[1] == "64" and r[0] != "measured"] == ["6144"]
    assert b.problems == [], b.problems


def check_little(page, b, folder):
    """A page of almost nothing says what is missing."""
    runs = save(folder, "little.jsonl", json.dumps({"n_ctx": 5, "bytes_used": 7, "kld_mean": None}))
    path = os.path.join(folder, "little.html")
    kvass("report", runs, "-o", path)
    b.open(path)
    assert "No results of kvass bench" in page.text("#speed-picture")
    assert "No maps of kvass attention" in page.text("#attention-picture")
    assert "No texts of kvass generate" in page.text("#tokens-picture")
    assert page.count("#memory-picture > svg") == 1 and page.count("#mask-canvas") == 1
    assert b.problems == [] and len(b.requests) == 1, (b.problems, b.requests)


def main():
    if not browser.find():
        print("skipped: chromium is not installed")
        return 77
    with tempfile.TemporaryDirectory(prefix="kvass-look-") as folder:
        shots = os.environ.get("KVASS_SHOTS") or folder
        texts = {
            "window": kvass("attention", "-m", MODELS["llama-gqa"], "--tokens", ids(20, 51), "--window", "6", "--sinks", "3"),
            "topk": kvass("attention", "-m", MODELS["llama-gqa"], "--tokens", ids(110, 51), "--topk-pages", "2",
                          "--layers", "1", "--heads", "1"),
            "meta": kvass("attention", "-m", MODELS["kvass"], "--tokens", ids(90, 51), "--heads", "0"),
            "meta window": kvass("attention", "-m", MODELS["kvass"], "--tokens", ids(90, 51), "--heads", "1",
                                 "--window", "30", "--sinks", "4"),
        }
        for name, path in MODELS.items():
            texts["bench " + name] = kvass("bench", "-q", "-m", path, "--depth", "5,33,90", "-n", "3", "--reps", "2",
                                           "--warmup", "0", "-t", "1", "-o", "json")
        inputs = {name: json.loads(text) for name, text in texts.items()}
        hostile = json.loads(kvass("attention", "-m", MODELS["llama-gqa"], "--tokens", ids(5, 51)))
        hostile["pieces"] = HOSTILE
        texts["hostile"] = json.dumps(hostile)
        texts["text"] = kvass("generate", "--token-stats", "-m", os.path.join(ROOT, "weights/tiny"), "-q", "--seed", "3",
                              "-n", "24", "Once upon a time")
        inputs["text"] = json.loads(texts["text"])
        texts["hostile text"] = json.dumps({**inputs["text"], "pieces": HOSTILE * 5})
        files = [save(folder, name + ".json", text) for name, text in texts.items()]
        files.append(save(folder, "speed.jsonl", "\n".join(bench_line(*row) for row in SPEED)))
        files.append(save(folder, "runs.jsonl", "\n".join(run_line(*row) for row in RUNS)))
        path = os.path.join(folder, "report.html")
        kvass("report", *files, "-o", path)
        with browser.Browser(patience=120) as b:
            page = Page(b)
            b.open(path)
            for check in (check_speed, check_memory, check_tradeoff, check_attention, check_mask, check_times,
                          check_tokens):
                check(page, inputs)
                assert b.problems == [] and b.requests == ["file://" + path], (check, b.problems, b.requests)
                print(check.__name__, "ok")
            check_looks(page, b, path, shots)
            check_runs_alone(page, b, folder)
            check_little(page, b, folder)
    return 0


sys.exit(main())
