"""gguf_pre_goldens.py - what llama.cpp makes of texts for each way to cut them into words that GGUF
files name with tokenizer.ggml.pre.

    python3 tools/reference/gguf_pre_goldens.py tests/golden/gguf_pre

Writes vocab.gguf: a byte-level vocabulary whose merges know no words, so that each text becomes one
token unless it is cut; every cut shows. Its last value is tokenizer.ggml.pre. Writes ids.json: the
texts; and for each list of names that mean the same their names, whether a text begins with BOS
unless the file says otherwise, and the ids of each text.
Where Qwen's own tokenizers bring text to the normal form NFC, llama.cpp is given that form.
Three ways llama.cpp has in expressions of its own, which depart from the models' tokenizer.json (in
combining marks, in white space among Han): there `tokenizers` decides, with the expressions of
that file, and what llama.cpp makes of it is printed.
"""
import ctypes
import json
import pathlib
import sys
import tempfile
import unicodedata

import gguf
import llama_cpp.llama_cpp as low
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

NAMES = """default gpt-2 phi-2 mpt olmo jina-v1-en roberta-bpe mellum trillion gigachat a.x-4.0
granite-docling llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 dbrx smaug-bpe
qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan smollm starcoder refact command-r codeshell exaone
minerva-7b mellum2 falcon deepseek-coder gpt-4o llama4 kanana2 tekken""".split()
NFC = {"qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"}
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
         r"|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
OWN = {
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+",
                       "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
    "gpt-4o": [CASED % (ENDINGS, ENDINGS, r"\p{N}{1,3}")], "tekken": [CASED % ("", "", r"\p{N}")],
}
OWN |= {"llama4": OWN["gpt-4o"], "kanana2": OWN["gpt-4o"]}

TEXTS = [
    "ab cd", " ab  cd   ef", "ab\tcd\t\tef", "ab \n cd", "ab\n\n\ncd", "ab\r\ncd\r\n\r\n", "ab  \n",
    "   ", "\n \n", "ab   ", "\t ab", "x \r y\rz", "ab\u3000cd\u00a0ef", "\u2028a\u0085b",
    "1", "12", "123", "1234", "12345 6", "1234567890",
    "a1b22c333d4444", " 1  22   333", "3.14 1,000",
    "\u0661\u0662\u0663\u0664", "\u00b2\u00b3 \u00bd \u2167", "12\u0663\u06644",
    "it's", "I'm we've you'll he'd they're can't", "IT'S I'M WE'VE YOU'LL HE'D THEY'RE", "'S 's'd",
    "it 's '' 'tis", "x'll'd", "d'accord", "\u2019s it\u2019s",
    "hello!", "a.b", "a,b;c", "(a)", " (a) ", "...", "?!\n", "!!!\n\n  a", "a+b=c", "x<y>z ^ ~|`",
    "$5 $a", "$$ ++ ==", "a_b __c__", "# a", "//a /b", "!/\n/a", "*/\n", "a-b--c", "\"a\" 'b'",
    " .a .. b", "@user #tag", "\u3002\uff0c", "\u00bfa?", "\u00ab a \u00bb", "\u20ac5 \u00a35",
    "HelloWorld", "helloWorld", "HELLOWorld", "iPhone", "XMLHttpRequest", "aB Ab AB ab",
    "ABCdef GHi'S",
    " Hello HELLO", "don'T DON'T", "Abc.Def", ".abc .Abc", "\tabc\tAbc", "1a A1",
    "\u4f60\u597d\u4e16\u754c", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "a\u4f60\u597db",
    " \u4f60\u597d \u4e16", "1\u4f602", "\u3053\u3093\u306b\u3061\u306f", "\u30ab\u30bf\u30ab\u30ca",
    "\uc548\ub155 \ud558\uc138\uc694", "\u0800\u0e01\u0e02", "\u9fa5\u9fa6\u9fff\u3400",
    "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e20\u0e32\u0e29\u0e32", "e\u0301e \u0301a", "a\u0323\u0301b", "\u1100\u1161\u11a8",
    "\U0001f600\U0001f44d\U0001f3fd", "a\U0001f600b", " \U0001f600", "\u2192 \u2211 \u00b0",
    "def f(x):\n    return x**2  # y\n", "for (i=0; i<10; ++i) {\n\tx[i] = 0x1F;\n}\n",
    "http://a.bc/d?e=f&g", "a@b.cd", "2024-01-31T12:34:56", "1st 2nd 3x", "qzj xqzjx qzj",
    "'m", "'sab", "'LLab", "\r\r", " \r", "ab\u01c5cd\u01c5", "\u01c5cd", "a\u02b0b\u02b0C",
    *(" " + c for c in "$^+<=>~|`_*&%\u20ac"),
]


def vocabulary():
    """Every text becomes one token; so does "qzj", but by no merge."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [t for t in TEXTS if "qzj" not in t]
    texts += sorted({unicodedata.normalize("NFC", t) for t in texts} - set(texts))
    trainer = trainers.BpeTrainer(vocab_size=1 << 20, min_frequency=1, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    document = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(document["vocab"], key=document["vocab"].get) + ["qzj"]
    merges = [" ".join(pair) for pair in document["merges"]]
    return tokens, merges


def write_vocab(path, tokens, merges, pre):
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(64)
    out.add_embedding_length(32)
    out.add_block_count(1)
    out.add_feed_forward_length(32)
    out.add_head_count(1)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(32)
    out.add_tokenizer_model("gpt2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    out.add_token_merges(merges)
    out.add_bos_token_id(len(tokens) - 1)
    out.add_tokenizer_pre(pre)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()
    data = path.read_bytes()
    path.write_bytes(data[:data.rindex(pre.encode()) + len(pre)])  # without padding


def encode_all(path, texts):
    """Whether a text begins with BOS unless the file says otherwise, and the ids of each text."""
    params = low.llama_model_default_params()
    params.vocab_only = True
    model = low.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise SystemExit("llama.cpp does not know it")
    vocab, rows = low.llama_model_get_vocab(model), []
    for text in texts:
        data = text.encode()
        ids = (ctypes.c_int32 * (4 * len(data) + 16))()
        n = low.llama_tokenize(vocab, data, len(data), ids, len(ids), False, False)
        rows.append(list(ids[:n]))
    bos = bool(low.llama_vocab_get_add_bos(vocab))
    low.llama_model_free(model)
    return bos, rows


def encode_by(splits, tokens, merges, texts, ignore_merges):
    """The ids that `tokenizers` gives when each of the expressions cuts what the one before left."""
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)},
                                     [tuple(m.split(" ")) for m in merges],
                                     ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(s), behavior="isolated") for s in splits]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return [tokenizer.encode(t).ids for t in texts]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    low.llama_backend_init()
    tokens, merges = vocabulary()
    ways = []
    with tempfile.TemporaryDirectory() as tmp:
        path = pathlib.Path(tmp, "vocab.gguf")
        for name in NAMES:
            texts = [unicodedata.normalize("NFC", t) if name in NFC else t for t in TEXTS]
            write_vocab(path, tokens, merges, name)
            bos, rows = encode_all(path, texts)
            if name in OWN:
                own = encode_by(OWN[name], tokens, merges, texts, name == "tekken")
                print(name, "llama.cpp departs in:",
                      *(repr(t) for t, a, b in zip(texts, rows, own) if a != b))
                rows = own
            way = next((w for w in ways if (w["bos"], w["ids"]) == (bos, rows)), None)
            if way is None:
                way = {"names": [], "bos": bos, "ids": rows}
                ways.append(way)
            way["names"].append(name)
    write_vocab(folder / "vocab.gguf", tokens, merges, "gpt-2")
    lines = ",\n".join(json.dumps(way, separators=(",", ":")) for way in ways)
    text = '{"texts":%s,\n"ways":[\n%s\n]}\n' % (json.dumps(TEXTS), lines)
    (folder / "ids.json").write_text(text, encoding="ascii")
    for way in ways:
        print(*way["names"], way["bos"], sum(map(len, way["ids"])))


if __name__ == "__main__":
    main()
