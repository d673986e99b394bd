"""malformed_tokenizers.py - the tokenizers of malformed.py: for each format what spoils a good file."""
import base64
import json
import struct

from malformed_models import F32, I32, KEYS, STRING, ARRAY, TENSORS, dictionary, gguf, number, text

BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}


def document(model=None, whole=None, **stages):
    return json.dumps({"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
                       "post_processor": None, "decoder": None, "model": whole or {**BPE, **(model or {})}, **stages})


def replaced(old, new, **stages):
    whole = document(**stages)
    assert old in whole
    return whole.replace(old, new, 1)


def unigram(**fields):
    return document(whole={"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]], **fields})


def added(**fields):
    return document(added_tokens=[{"id": 4, "content": "<x>", "single_word": False, "lstrip": False,
                                   "rstrip": False, "normalized": False, "special": True, **fields}])


def split(pattern):
    return document(pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})


def template(**fields):
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return document(post_processor={"type": "TemplateProcessing", "single": single, "pair": [],
                                    "special_tokens": {}, **fields})


def json_cases():
    yield "empty-object", "an object with nothing in it", "{}"
    yield "cut", "ends in the middle", document()[:-10]
    yield "utf8", "not UTF-8", document().encode().replace(b'"ab"', b'"a\xff"', 1)
    yield "nul", "NUL in a token", replaced('"ab"', '"a\\u0000"')
    yield "surrogate", "half a surrogate pair in a token", replaced('"ab"', '"\\ud800"')
    yield "deep", "100,000 brackets", '{"model":{"vocab":' + "[" * 100_000
    yield "duplicate-key", "a token twice", replaced('"c": 3', '"a": 3')
    yield "version", "a version yet to come", replaced('"1.0"', '"9.0"')
    yield "model-unknown", "a model that is not known", document({"type": "WordPiece"})
    yield "model-number", "a number as the model's type", document({"type": 3})
    yield "vocab-missing", "no vocabulary", document(whole={"type": "BPE", "merges": []})
    yield "vocab-list", "the vocabulary of a BPE is a list of numbers", document({"vocab": [1, 2]})
    yield "vocab-empty", "a vocabulary of nothing", document({"vocab": {}, "merges": []})
    yield "id-negative", "a negative id", document({"vocab": {"a": -1}, "merges": []})
    yield "id-large", "an id above 2^21", document({"vocab": {"a": 2**21}, "merges": []})
    yield "id-huge", "an id above 2^63", replaced('"c": 3', '"c": 99999999999999999999')
    yield "id-fraction", "an id of 1.5", document({"vocab": {"a": 1.5}, "merges": []})
    yield "id-text", "an id as text", document({"vocab": {"a": "1"}, "merges": []})
    yield "id-twice", "two tokens with one id", document({"vocab": {"a": 0, "b": 0}, "merges": []})
    yield "merge-part", "a merge of what is no token", document({"merges": ["a z"]})
    yield "merge-result", "a merge to what is no token", document({"merges": ["b a"]})
    yield "merge-twice", "a merge twice", document({"merges": ["a b", "a b"]})
    yield "merge-three", "a merge of three", document({"merges": ["a b c"]})
    yield "merge-one", "a merge of one", document({"merges": ["ab"]})
    yield "merge-list", "a merge as a list of three", document({"merges": [["a", "b", "c"]]})
    yield "merge-number", "a number as a merge", document({"merges": [7]})
    yield "merges-text", "merges as one text", document({"merges": "a b"})
    yield "unk", "an unknown token that is no token", document({"unk_token": "<unk>"})
    yield "dropout", "a BPE that merges at random", document({"dropout": 0.1})
    yield "prefix", "a prefix for what continues a word", document({"continuing_subword_prefix": "##"})
    yield "byte-fallback", "bytes without a decoder for them", document({"byte_fallback": True})
    yield "normalizer", "a normalizer that is not known", document(normalizer={"type": "Nmt2"})
    yield "normalizer-number", "a number as normalizer", document(normalizer=7)
    yield "normalizer-deep", "sequences in sequences", document(normalizer=nested(40, "normalizers", {"type": "NFC"}))
    yield "charsmap-short", "a normalization map of three bytes", document(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    yield "charsmap-base64", "a normalization map that is not base64", document(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "!!!!"})
    yield "charsmap-size", "a normalization map longer than it is", document(
        normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(struct.pack("<I", 1 << 30) + bytes(8)).decode()})
    yield "pre-tokenizer", "a pre-tokenizer that is not known", document(pre_tokenizer={"type": "Scissors"})
    yield "regex", "an expression that is none", split("(a")
    yield "regex-long", "an expression of 5,000 bytes", split("a" * 5000)
    yield "regex-empty", "an expression of nothing", split("")
    yield "regex-byte", "an expression for single bytes", split("\\C")
    yield "regex-call", "an expression that calls back", split("(?C1)a")
    yield "regex-recursive", "an expression within itself", split("(?R)")
    yield "behavior", "a behaviour that is not known", document(
        pre_tokenizer={"type": "Split", "pattern": {"String": "a"}, "behavior": "Shuffled", "invert": False})
    yield "decoder", "a decoder that is not known", document(decoder={"type": "CTC2"})
    yield "decoder-byte-level", "bytes decoded that were never encoded", document(decoder={"type": "ByteLevel"})
    yield "post-processor", "a post-processor that is not known", document(post_processor={"type": "Wrap"})
    yield "template-token", "a template with a token that it does not explain", template()
    yield "template-id", "a template with an id beyond the vocabulary", template(
        special_tokens={"<s>": {"id": "<s>", "ids": [77], "tokens": ["<s>"]}})
    yield "truncation", "a stride longer than the text", document(
        truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 4})
    yield "added-empty", "an added token without text", added(content="")
    yield "added-id", "an added token with another's id", added(id=1)
    yield "added-name", "an added token with another's text", added(content="ab")
    yield "added-id-large", "an added token with an id above 2^21", added(id=2**21)
    yield "added-id-text", "an added token with text as id", added(id="4")
    yield "added-content", "an added token whose text is a number", added(content=7)
    yield "added-flag", "an added token's flag as text", added(lstrip="no")
    yield "unigram-score", "a score as text", unigram(vocab=[["<unk>", "0"]])
    yield "unigram-pair", "a token without a score", unigram(vocab=[["<unk>"]])
    yield "unigram-twice", "a token twice", unigram(vocab=[["a", 0.0], ["a", -1.0]])
    yield "unigram-unk", "an unknown id beyond the vocabulary", unigram(unk_id=2)
    yield "unigram-unk-negative", "a negative unknown id", unigram(unk_id=-1)
    yield "unigram-empty", "a vocabulary of nothing", unigram(vocab=[])


def nested(depth, key, inner):
    for _ in range(depth):
        inner = {"type": "Sequence", key: [inner]}
    return inner


def pair_cases():
    vocab = json.dumps({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})
    files = lambda **changes: {k.replace("__", "."): v for k, v in
                               {"vocab__json": vocab, "merges__txt": "#version: 0.2\na b\n", **changes}.items() if v is not None}
    yield "no-merges", "no merges.txt beside it", files(merges__txt=None)
    yield "merge-one", "a line with one token", files(merges__txt="ab\n")
    yield "merge-three", "a line with three tokens", files(merges__txt="a b ab\n")
    yield "merge-part", "a merge of what is no token", files(merges__txt="a z\n")
    yield "merge-twice", "a merge twice", files(merges__txt="a b\na b\n")
    yield "merges-nul", "NUL in merges.txt", files(merges__txt="a\0 b\n")
    yield "id-negative", "a negative id", files(vocab__json='{"a": 0, "b": -1}')
    yield "id-text", "an id as text", files(vocab__json='{"a": 0, "b": "1"}')
    yield "class", "a class of tokenizer that is not known", files(tokenizer_config__json='{"tokenizer_class": "BertTokenizer"}')
    yield "config", "a tokenizer_config.json that is none", files(tokenizer_config__json="[")
    yield "added", "an added token's id that is no number", files(
        tokenizer_config__json='{"added_tokens_decoder": {"x": {"content": "<x>"}}}')


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(tag, data):
    if isinstance(data, int):
        return varint(tag << 3) + varint(data)
    if isinstance(data, float):
        return varint(tag << 3 | 5) + struct.pack("<f", data)
    return varint(tag << 3 | 2) + varint(len(data)) + data


def piece(s, score=0.0, kind=1):
    s = s if isinstance(s, bytes) else s.encode()
    return field(1, field(1, s) + field(2, float(score)) + field(3, kind))


PIECES = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("a", -1) + piece("\u2581", -2)


def trainer(kind=1, **_):
    return field(2, field(3, kind))


def sentencepiece_cases():
    good = PIECES + trainer()
    yield "cut", "cut within a piece", good[:20]
    yield "length-beyond", "a piece longer than the file", b"\x0a\xff\xff\xff\x7fab"
    yield "varint", "a number of more than ten bytes", b"\x0a" + b"\xff" * 12
    yield "wire-type", "a kind of field that there is not", good + b"\x0b"
    yield "word", "a model of words", PIECES + trainer(3)
    yield "model-type", "a model that there is not", PIECES + trainer(9)
    yield "no-pieces", "no piece", trainer()
    yield "no-unk", "no unknown piece", piece("a") + piece("b", -1) + trainer()
    yield "two-unk", "two unknown pieces", PIECES + piece("<u>", 0, 2) + trainer()
    yield "score-nan", "a score that is not a number", PIECES + piece("b", float("nan")) + trainer()
    yield "score-infinite", "an infinite score", PIECES + piece("b", float("inf")) + trainer()
    yield "piece-type", "a kind of piece that there is not", PIECES + piece("b", 0, 9) + trainer()
    yield "piece-empty", "a piece of no text", PIECES + piece("") + trainer()
    yield "piece-twice", "a piece twice", PIECES + piece("a", -3) + trainer()
    yield "byte-name", "a byte piece that names no byte", PIECES + piece("<0xZZ>", 0, 6) + trainer()
    yield "byte-sign", "a byte piece with a sign", PIECES + piece("<0x-1>", 0, 6) + trainer()
    yield "charsmap-short", "a normalization map of three bytes", good + field(3, field(2, b"abc"))
    yield "charsmap-size", "a normalization map longer than it is", good + field(3, field(2, struct.pack("<I", 1 << 30) + bytes(8)))


def tok_bin(*tokens, longest=7):
    return struct.pack("<I", longest) + b"".join(struct.pack("<fi", score, n if n is not None else len(t)) + t
                                                  for score, t, n in tokens)


def llama2c_cases():
    base = [(0.0, b"<unk>", None), (0.0, b"<s>", None), (0.0, b"</s>", None)]
    yield "cut", "cut within the first number", tok_bin()[:3]
    yield "longest-zero", "a longest token of no bytes", tok_bin(*base, longest=0)
    yield "longest-huge", "a longest token of 2^31 bytes", tok_bin(*base, longest=2**31)
    yield "length-negative", "a token of -1 bytes", tok_bin(*base, (0.0, b"a", -1))
    yield "length-beyond", "a token beyond the end", tok_bin(*base, (0.0, b"a", 5))
    yield "length-longest", "a token longer than the longest", tok_bin(*base, (0.0, b"a" * 9, None))
    yield "score-nan", "a score that is not a number", tok_bin(*base, (float("nan"), b"a", None))
    yield "token-cut", "cut within a score", tok_bin(*base, (0.0, b"a", None)) + b"ab"
    yield "none", "no token", tok_bin()


def ranks_cases():
    line = lambda token, rank: base64.b64encode(token).decode() + " %s\n" % rank
    every = "".join(line(bytes([b]), b) for b in range(256))
    yield "pattern", "nothing tells how it cuts text", every
    yield "base64", "a line that is not base64", every + "!!!! 300\n"
    yield "rank-text", "a rank that is no number", every + "YWI= x\n"
    yield "rank-large", "a rank above 2^21", every + line(b"ab", 2**21)
    yield "rank-twice", "a rank twice", every + line(b"ab", 7)
    yield "token-twice", "a token twice", every + line(b"a", 300)
    yield "byte-missing", "a byte without a rank", every[every.index("\n") + 1:]


def map_cases():
    pickle = lambda body: b"\x80\x02" + body + b"."
    stoi = lambda items: pickle(dictionary([("stoi", items)]))
    yield "system", "a pickle that wants to run a command", b"\x80\x02cos\nsystem\n(" + text("true") + b"tR."
    yield "list", "a list in place of the map", pickle(b"]")
    yield "none", "no map in it", pickle(dictionary([("vocab_size", number(3))]))
    yield "id-text", "an id as text", stoi(dictionary([("a", text("1"))]))
    yield "id-negative", "a negative id", stoi(dictionary([("a", number(-1))]))
    yield "id-twice", "two characters with one id", stoi(dictionary([("a", number(1)), ("b", number(1))]))
    yield "cut", "a pickle without an end", stoi(dictionary([("a", number(1))]))[:-1]


def gguf_cases():
    tokens = ["<unk>", "<s>", "</s>", "a"] + ["t%d" % i for i in range(12)]
    base = {**KEYS, "tokenizer.ggml.model": (STRING, "llama"), "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
            "tokenizer.ggml.scores": (ARRAY, (F32, [0.0] * 16)), "tokenizer.ggml.token_type": (ARRAY, (I32, [2, 3, 3] + [1] * 13))}

    def change(**fields):
        keys = {**base, **{"tokenizer.ggml." + k: v for k, v in fields.items()}}
        return gguf({k: v for k, v in keys.items() if v is not None}, TENSORS)

    yield "none", "no tokenizer in it", gguf()
    yield "model", "a tokenizer that is not known", change(model=(STRING, "bert"))
    yield "model-number", "a number as the tokenizer's kind", change(model=(I32, 1))
    yield "tokens-missing", "no tokens", change(tokens=None)
    yield "tokens-numbers", "tokens that are numbers", change(tokens=(ARRAY, (I32, [1] * 16)))
    yield "scores-short", "fewer scores than tokens", change(scores=(ARRAY, (F32, [0.0] * 15)))
    yield "scores-missing", "no scores", change(scores=None)
    yield "scores-nan", "a score that is not a number", change(scores=(ARRAY, (F32, [float("nan")] * 16)))
    yield "types-short", "fewer types than tokens", change(token_type=(ARRAY, (I32, [1])))
    yield "type-unknown", "a type of token that there is not", change(token_type=(ARRAY, (I32, [77] * 16)))
    bpe = {"model": (STRING, "gpt2"), "scores": None, "pre": (STRING, "gpt-2")}
    yield "merges-missing", "byte-level BPE without merges", change(**bpe)
    yield "merges-part", "a merge of what is no token", change(**bpe, merges=(ARRAY, (STRING, ["a z"])))
    yield "merges-one", "a merge of one", change(**bpe, merges=(ARRAY, (STRING, ["a"])))
    yield "pre", "a way to cut text that is not known", change(
        **{**bpe, "pre": (STRING, "scissors")}, merges=(ARRAY, (STRING, [])))


def tokenizer_cases():
    for name, wrong, data in json_cases():
        yield "json-" + name, "tokenizer tokenizer.json", wrong, {"tokenizer.json": data}
    for name, wrong, files in pair_cases():
        yield "pair-" + name, "tokenizer vocab.json", wrong, files
    for name, wrong, data in sentencepiece_cases():
        yield "sentencepiece-" + name, "tokenizer tokenizer.model", wrong, {"tokenizer.model": data}
    for name, wrong, data in llama2c_cases():
        yield "tokenizer-bin-" + name, "tokenizer tokenizer.bin", wrong, {"tokenizer.bin": data}
    for name, wrong, data in ranks_cases():
        path = "a.tiktoken" if name == "pattern" else "gpt2.tiktoken"
        yield "ranks-" + name, "tokenizer " + path, wrong, {path: data}
    for name, wrong, data in map_cases():
        yield "characters-" + name, "tokenizer meta.pkl", wrong, {"meta.pkl": data}
    for name, wrong, data in gguf_cases():
        yield "gguf-tokenizer-" + name, "tokenizer a.gguf", wrong, {"a.gguf": data}
    yield "tokenizer-missing", "tokenizer .", "a folder without a tokenizer", {"note.txt": "none here\n"}
    yield "tokenizer-html", "tokenizer tokenizer.json", "a web page in its place", {"tokenizer.json": "<html></html>"}
    yield "tokenizer-empty", "tokenizer tokenizer.json", "no byte of it", {"tokenizer.json": ""}
