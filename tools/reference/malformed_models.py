"""malformed_models.py - the models of malformed.py: for each format a good file, and what spoils it."""
import io
import json
import pathlib
import struct
import zipfile

CONFIG = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16,
          "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "hidden_act": "silu", "tie_word_embeddings": True}
SHAPES = {"model.embed_tokens.weight": [16, 8], "model.norm.weight": [8],
          "model.layers.0.input_layernorm.weight": [8],
          "model.layers.0.post_attention_layernorm.weight": [8],
          "model.layers.0.self_attn.q_proj.weight": [8, 8],
          "model.layers.0.self_attn.k_proj.weight": [4, 8],
          "model.layers.0.self_attn.v_proj.weight": [4, 8],
          "model.layers.0.self_attn.o_proj.weight": [8, 8],
          "model.layers.0.mlp.gate_proj.weight": [16, 8],
          "model.layers.0.mlp.up_proj.weight": [16, 8],
          "model.layers.0.mlp.down_proj.weight": [8, 16]}
EMBED, NORM = "model.embed_tokens.weight", "model.norm.weight"


def product(shape):
    n = 1
    for d in shape:
        n *= d
    return n


# ---- safetensors -----------------------------------------------------------------------------------

def header(shapes=SHAPES, dtype="F32", size=4):
    out, at = {}, 0
    for name, shape in shapes.items():
        n = product(shape) * size
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return out, at


def safetensors(text, n_data, n_header=None):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text) if n_header is None else n_header) + text + bytes(n_data)


def folder(config=None, data=None, **files):
    head, n = header()
    config = CONFIG if config is None else config
    return {"config.json": config if isinstance(config, (str, bytes)) else json.dumps(config),
            "model.safetensors": safetensors(json.dumps(head), n) if data is None else data, **files}


def changed(name, **fields):
    head, n = header()
    head[name].update(fields)
    return safetensors(json.dumps(head), n)


def replaced(old, new, n_more=0):
    head, n = header()
    text = json.dumps(head)
    assert old in text
    return safetensors(text.replace(old, new, 1), n + n_more)


def safetensors_cases():
    head, n = header()
    text = json.dumps(head)
    good = safetensors(text, n)
    norm = '"model.norm.weight": {'
    holes = json.loads(text)
    last = list(holes)[-1]
    begin, end = holes[last]["data_offsets"]
    holes[last]["data_offsets"] = [begin + 64, end + 64]
    yield "empty", "no byte of it", b""
    yield "seven-bytes", "shorter than the length of its header", good[:7]
    yield "html", "a web page saved in its place", b"<!DOCTYPE html><html><head><title>404</title></head></html>"
    yield "lfs", "a Git LFS pointer in its place", (b"version https://git-lfs.github.com/spec/v1\noid sha256:"
                                                    + b"0" * 64 + b"\nsize 538090408\n")
    yield "header-zero", "a header of no bytes", safetensors(text, n, 0)
    yield "header-one", "a header of one byte", safetensors("{", 0)
    yield "header-too-long", "a header above 100 MB", safetensors(text, n, 100_000_001)
    yield "header-beyond", "a header longer than the file", safetensors(text, 0, len(text) + 1)
    yield "header-wraps", "a header of 2^64 - 1 bytes", safetensors(text, n, 2**64 - 1)
    yield "header-cut", "the header ends in the middle", safetensors(text[:100], n)
    yield "header-list", "the header is a list", safetensors("[]", 0)
    yield "header-utf8", "a name that is not UTF-8", safetensors(text.encode().replace(b"norm", b"n\xffrm", 1), n)
    yield "header-bom", "a byte order mark first", safetensors(b"\xef\xbb\xbf" + text.encode(), n)
    yield "header-nul", "NUL in a name", replaced("model.norm", "model\\u0000norm")
    yield "header-surrogate", "half a surrogate pair in a name", replaced("model.norm", "model\\ud800norm")
    yield "header-deep", "100,000 brackets", safetensors('{"a":' + "[" * 100_000, 0)
    yield "header-trailing", "text after the header's object", safetensors(text + "{}", n)
    yield "header-nan", "NaN as a dimension", replaced('"shape": [16, 8]', '"shape": [NaN, 8]')
    again = json.dumps({"dtype": "F32", "shape": [8], "data_offsets": [n, n + 32]})
    yield "duplicate", "a name twice", replaced(norm, norm[:-1] + again + ", " + norm, 32)
    yield "duplicate-escaped", "a name twice, once with an escape", replaced(
        norm, '"model.n\\u006frm.weight": ' + again + ", " + norm, 32)
    yield "metadata-number", "a number in __metadata__", replaced("{", '{"__metadata__": {"a": 1}, ')
    yield "metadata-list", "__metadata__ is a list", replaced("{", '{"__metadata__": [], ')
    yield "tensor-number", "a number in a tensor's place", safetensors('{"a": 1}', 0)
    yield "no-tensors", "no tensor at all", safetensors("{}", 0)
    yield "dtype-unknown", "an element type that there is not", changed(NORM, dtype="F99")
    yield "dtype-number", "a number as element type", changed(NORM, dtype=32)
    yield "dtype-missing", "no element type", replaced('"dtype": "F32", "shape": [8]', '"shape": [8]')
    f8, m = header(dtype="F8_E4M3", size=1)
    yield "dtype-f8", "an element type that is not supported", safetensors(json.dumps(f8), m)
    i64, m = header(dtype="I64", size=8)
    yield "dtype-i64", "whole numbers as weights", safetensors(json.dumps(i64), m)
    yield "shape-negative", "a negative dimension", changed(NORM, shape=[-8])
    yield "shape-fraction", "a dimension of 8.5", changed(NORM, shape=[8.5])
    yield "shape-exponent", "a dimension written 8e0", replaced('"shape": [8]', '"shape": [8e0]')
    yield "shape-huge", "a dimension above 2^63", replaced('"shape": [8]', '"shape": [9223372036854775808]')
    yield "shape-rank", "nine dimensions", changed(NORM, shape=[8] + [1] * 8)
    yield "shape-product", "more elements than can be counted", changed(NORM, shape=[2**32, 2**32, 8])
    yield "shape-bytes", "more bytes than can be counted", changed(NORM, shape=[2**61, 8])
    yield "shape-text", "a shape that is no list", changed(NORM, shape="8")
    yield "offsets-reversed", "the end before the beginning", changed(NORM, data_offsets=[544, 512])
    yield "offsets-overlap", "two tensors in one place", changed(NORM, data_offsets=[0, 32])
    yield "offsets-hole", "bytes between two tensors", safetensors(json.dumps(holes), n + 64)
    yield "offsets-beyond", "beyond the end of the file", safetensors(text, n - 4)
    yield "offsets-trailing", "bytes after the last tensor", safetensors(text, n + 1)
    yield "offsets-span", "fewer bytes than its shape needs", changed(NORM, shape=[7])
    yield "offsets-claim", "a gigabyte that is not there", changed(NORM, shape=[2**28], data_offsets=[512, 512 + 2**30])
    yield "offsets-missing", "no offsets", replaced(', "data_offsets": [0, 512]', "")
    yield "offsets-three", "three offsets", changed(NORM, data_offsets=[512, 544, 544])
    yield "offsets-negative", "a negative offset", changed(NORM, data_offsets=[-32, 0])
    missing = {k: v for k, v in SHAPES.items() if k != NORM}
    head, n = header(missing)
    yield "tensor-missing", "a weight is not there", safetensors(json.dumps(head), n)
    other = {**SHAPES, "model.layers.0.mlp.up_proj.weight": [16, 7]}
    head, n = header(other)
    yield "tensor-shape", "a weight of another shape than config.json says", safetensors(json.dumps(head), n)


def index_cases():
    names = list(SHAPES)
    halves = [{k: SHAPES[k] for k in names[:5]}, {k: SHAPES[k] for k in names[5:]}]
    shards = {}
    for i, half in enumerate(halves):
        head, n = header(half)
        shards["model-%05d-of-00002.safetensors" % (i + 1)] = safetensors(json.dumps(head), n)
    first, second = shards
    weight_map = {k: first if k in halves[0] else second for k in names}

    def index(files=shards, **changes):
        text = json.dumps({"metadata": {"total_size": 2240}, "weight_map": {**weight_map, **changes}})
        return {"config.json": json.dumps(CONFIG), "model.safetensors.index.json": text, **files}

    for name, wrong, shard in [("absolute", "an absolute path of a shard", "/etc/passwd"),
                               ("parent", "a shard in the folder above", "../" + first),
                               ("folder", "a shard in another folder", "a/" + first),
                               ("dots", "a shard named ..", ".."), ("empty-name", "a shard without a name", ""),
                               ("shard-missing", "a shard that is not there", "model-3.safetensors"),
                               ("shard-kind", "config.json as a shard", "config.json")]:
        yield name, wrong, index(**{NORM: shard})
    yield "name-number", "a number as a shard", index(**{NORM: 7})
    yield "wrong-shard", "a tensor that is in another shard", index(**{NORM: second})
    yield "tensor-nowhere", "a tensor that no shard has", index(**{"model.layers.0.extra.weight": first})
    yield "nul", "NUL in a shard's name", {
        **index(), "model.safetensors.index.json":
        json.dumps({"weight_map": {**weight_map, NORM: "a\\u0000b"}}).replace("\\\\u", "\\u")}
    for name, wrong, text in [("no-map", "no weight_map", "{}"), ("map-list", "weight_map is a list", '{"weight_map": []}'),
                              ("map-empty", "weight_map is empty", '{"weight_map": {}}'),
                              ("list", "a list in place of an object", "[]"), ("cut", "ends in the middle", '{"weight_map": {"a"')]:
        yield name, wrong, {**index(), "model.safetensors.index.json": text}
    twice = dict(SHAPES)
    head, n = header(twice)
    yield "twice", "a tensor in two shards", index({**shards, second: safetensors(json.dumps(head), n)})


# ---- config.json -----------------------------------------------------------------------------------

def without(key):
    return {k: v for k, v in CONFIG.items() if k != key}


def config_cases():
    def change(**fields):
        return {**CONFIG, **fields}

    text = json.dumps(CONFIG)
    scaled = lambda **s: change(rope_scaling=s)
    yield "missing", "no config.json", None
    yield "empty", "no byte of it", ""
    yield "cut", "ends in the middle", text[:-20]
    yield "list", "a list in place of an object", "[]"
    yield "duplicate", "a key twice", text.replace("{", '{"hidden_size": 8, ', 1)
    yield "deep", "100,000 brackets", '{"a":' + "[" * 100_000
    yield "nan", "NaN, which is no JSON", text.replace("10000.0", "NaN")
    yield "infinite", "1e999, which is no number", text.replace("10000.0", "1e999")
    yield "utf8", "not UTF-8", text.encode().replace(b"silu", b"sil\xff")
    yield "html", "a web page in its place", "<html>Not found</html>"
    yield "model-type-missing", "no model_type", without("model_type")
    yield "model-type-unknown", "a model_type that is not known", change(model_type="bloom")
    yield "model-type-number", "a number as model_type", change(model_type=3)
    yield "key-missing", "no hidden_size", without("hidden_size")
    yield "key-text", "a number written as text", change(hidden_size="8")
    yield "key-real", "8.0 where a whole number belongs", change(hidden_size=8.0)
    yield "key-null", "null where a number belongs", change(num_hidden_layers=None)
    yield "key-bool", "true where a number belongs", change(vocab_size=True)
    yield "tie-number", "a number where true or false belongs", change(tie_word_embeddings=1)
    yield "activation", "an activation that is not known", change(hidden_act="swish2")
    for key, values in {"num_hidden_layers": (0, -1, 10**9), "hidden_size": (0, -8, 2**31),
                        "vocab_size": (0, 2**31), "max_position_embeddings": (0, 2**40),
                        "num_attention_heads": (0, 3), "num_key_value_heads": (0, 3, 4),
                        "intermediate_size": (0, 2**30), "head_dim": (0, 3, 10**6)}.items():
        for value in values:
            yield "%s-%d" % (key.replace("_", "-"), value), "%s %d" % (key, value), change(**{key: value})
    for name, value in (("zero", 0.0), ("negative", -1e-5), ("text", "1e-5")):
        yield "eps-" + name, "rms_norm_eps %r" % value, change(rms_norm_eps=value)
    for name, value in (("one", 1.0), ("zero", 0), ("negative", -10000.0)):
        yield "theta-" + name, "rope_theta %r" % value, change(rope_theta=value)
    yield "scaling-unknown", "a rope scaling that is not known", scaled(rope_type="ntk", factor=2.0)
    yield "scaling-factor-missing", "linear scaling without a factor", scaled(rope_type="linear")
    yield "scaling-factor-zero", "a scaling factor of 0", scaled(rope_type="linear", factor=0.0)
    yield "scaling-factor-text", "a scaling factor as text", scaled(rope_type="linear", factor="2")
    yield "scaling-llama3", "llama3 scaling without its frequencies", scaled(rope_type="llama3", factor=8.0)
    yield "scaling-longrope", "longrope factors for another head", scaled(
        rope_type="longrope", short_factor=[1.0], long_factor=[1.0, 1.0, 1.0], original_max_position_embeddings=16)
    yield "scaling-list", "rope_scaling is a list", change(rope_scaling=[])
    yield "window-negative", "a negative window", change(model_type="mistral", sliding_window=-1)
    yield "layer-types-many", "more layer types than layers", change(model_type="kvass", layer_types=["full_attention"] * 3)
    yield "layer-types-unknown", "a layer type that is not known", change(
        model_type="kvass", layer_types=["banded_attention"])
    yield "quantized", "quantized by another program", change(quantization_config={"quant_method": "gptq", "bits": 4})
    yield "gpt2-heads", "heads that do not divide n_embd", {
        "model_type": "gpt2", "n_embd": 8, "n_head": 3, "n_layer": 1, "vocab_size": 16, "n_positions": 32}
    yield "owner-later", "a layer that reads a later one's keys", {
        **CONFIG, "model_type": "kvass", "kv_owner": [1], "layer_types": ["full_attention"]}


# ---- GGUF ------------------------------------------------------------------------------------------

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10


def string(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def value(kind, v):
    if kind == STRING:
        return string(v)
    if kind == ARRAY:
        item, items = v
        return struct.pack("<IQ", item, len(items)) + b"".join(value(item, i) for i in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q"}[kind], v)


KEYS = {"general.architecture": (STRING, "llama"), "llama.context_length": (U32, 32),
        "llama.embedding_length": (U32, 8), "llama.block_count": (U32, 1),
        "llama.feed_forward_length": (U32, 16), "llama.attention.head_count": (U32, 2),
        "llama.attention.head_count_kv": (U32, 1), "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "llama.rope.dimension_count": (U32, 4)}
TENSORS = {"token_embd.weight": [8, 16], "output_norm.weight": [8], "blk.0.attn_norm.weight": [8],
           "blk.0.ffn_norm.weight": [8], "blk.0.attn_q.weight": [8, 8], "blk.0.attn_k.weight": [8, 4],
           "blk.0.attn_v.weight": [8, 4], "blk.0.attn_output.weight": [8, 8],
           "blk.0.ffn_gate.weight": [8, 16], "blk.0.ffn_up.weight": [8, 16], "blk.0.ffn_down.weight": [16, 8]}


def gguf(keys=KEYS, tensors=TENSORS, version=3, n_tensors=None, n_keys=None, cut=0, raw_keys=b"",
         infos=None, alignment=32, magic=b"GGUF"):
    pairs = b"".join(string(k) + struct.pack("<I", kind) + value(kind, v) for k, (kind, v) in keys.items())
    rows, at = b"", 0
    for name, dims in tensors.items():
        info = (infos or {}).get(name, {})
        dims = info.get("dims", dims)
        rows += string(info.get("name", name)) + struct.pack("<I", info.get("n_dims", len(dims)))
        rows += b"".join(struct.pack("<q", d) for d in dims)
        rows += struct.pack("<IQ", info.get("type", 0), info.get("offset", at) % 2**64)
        at += -(-product(tensors[name]) * 4 // alignment) * alignment
    n_keys = len(keys) if n_keys is None else n_keys
    head = magic + struct.pack("<IQQ", version, (len(tensors) if n_tensors is None else n_tensors) % 2**64,
                               n_keys % 2**64) + pairs + raw_keys + rows
    head += bytes(-len(head) % alignment)
    data = head + bytes(at)
    return data[:len(data) - cut] if cut else data


def gguf_cases():
    def keys(**changes):
        return {**KEYS, **{k.replace("__", "."): v for k, v in changes.items()}}

    def info(name="output_norm.weight", **fields):
        return gguf(infos={name: fields})

    good = gguf()
    one = lambda raw: gguf(n_keys=len(KEYS) + 1, raw_keys=raw)
    yield "magic", "a magic of another format", gguf(magic=b"GGXX")
    yield "version-0", "version 0", gguf(version=0)
    yield "version-1", "version 1, with short lengths", gguf(version=1)
    yield "version-99", "a version yet to come", gguf(version=99)
    yield "big-endian", "written by a big-endian machine", b"GGUF" + struct.pack(">I", 3) + good[8:]
    yield "head-cut", "cut within the first numbers", good[:20]
    yield "tensors-negative", "2^64 - 1 tensors", gguf(n_tensors=-1)
    yield "keys-negative", "2^64 - 1 keys", gguf(n_keys=-1)
    yield "keys-many", "10^9 keys in a small file", gguf(n_keys=10**9)
    yield "tensors-many", "10^9 tensors in a small file", gguf(n_tensors=10**9)
    yield "key-length", "a key of 2^64 - 1 bytes", one(struct.pack("<Q", 2**64 - 1) + b"abcd")
    yield "key-long", "a key of 70,000 bytes", one(string(b"k" * 70_000) + struct.pack("<II", U32, 1))
    yield "key-empty", "a key of no bytes", one(string("") + struct.pack("<II", U32, 1))
    yield "key-duplicate", "a key twice", one(string("llama.block_count") + struct.pack("<II", U32, 1))
    yield "value-type", "a value of a type that there is not", one(string("k") + struct.pack("<II", 77, 1))
    yield "string-beyond", "a string longer than the file", one(string("k") + struct.pack("<IQ", STRING, 1 << 30) + b"ab")
    yield "string-wraps", "a string of 2^63 bytes", one(string("k") + struct.pack("<IQ", STRING, 1 << 63) + b"ab")
    yield "array-beyond", "an array longer than the file", one(string("k") + struct.pack("<IIQ", ARRAY, U32, 1 << 40))
    yield "array-wraps", "an array of 2^62 numbers", one(string("k") + struct.pack("<IIQ", ARRAY, U64, 1 << 62))
    yield "array-nested", "an array of arrays", one(string("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1)
                                                     + struct.pack("<IQI", U32, 1, 1))
    yield "array-type", "an array of a type that there is not", one(string("k") + struct.pack("<IIQ", ARRAY, 55, 1) + b"a")
    for a in (0, 3, 2**31):
        yield "alignment-%d" % a, "an alignment of %d" % a, gguf(keys(general__alignment=(U32, a)))
    yield "alignment-text", "an alignment that is text", gguf(keys(general__alignment=(STRING, "32")))
    yield "name-long", "a tensor's name of 70,000 bytes", gguf(
        infos={"output_norm.weight": {"name": "n" * 70_000}})
    yield "name-duplicate", "a tensor's name twice", gguf(infos={"blk.0.ffn_norm.weight": {"name": "output_norm.weight"}})
    yield "name-empty", "a tensor without a name", gguf(infos={"output_norm.weight": {"name": ""}})
    yield "dims-5", "five dimensions", info(dims=[8, 1, 1, 1, 1])
    yield "dims-many", "2^32 - 1 dimensions", info(n_dims=2**32 - 1)
    yield "dim-zero", "a dimension of 0", info(dims=[0])
    yield "dim-negative", "a negative dimension", info(dims=[-8])
    yield "dims-product", "more elements than can be counted", info(dims=[2**32, 2**31, 4])
    yield "dims-bytes", "more bytes than can be counted", info(dims=[2**61, 2])
    yield "block", "a row that is no whole number of blocks", info(type=2)
    yield "type-unknown", "an element type that there is not", info(type=99)
    yield "type-removed", "an element type that was removed", info(type=4)
    yield "offset-unaligned", "a place that is not aligned", info(offset=513)
    yield "offset-beyond", "a place beyond the end", info(offset=1 << 40)
    yield "offset-wraps", "a place near 2^64", info(offset=-32)
    yield "offset-overlap", "two tensors in one place", info(offset=0)
    yield "offset-first", "bytes before the first tensor", info(name="token_embd.weight", offset=32)
    yield "data-cut", "cut within the last tensor", gguf(cut=100)
    yield "data-none", "no tensor's data", gguf(cut=2700)
    yield "no-tensors", "no tensor at all", gguf(tensors={})
    yield "architecture-missing", "no architecture", gguf({k: v for k, v in KEYS.items() if k != "general.architecture"})
    yield "architecture-number", "a number as architecture", gguf(keys(general__architecture=(U32, 7)))
    yield "architecture-unknown", "an architecture that is not known", gguf(keys(general__architecture=(STRING, "rwkv6")))
    yield "layers-many", "2^31 layers", gguf(keys(llama__block_count=(U32, 2**31)))
    yield "layers-million", "a million layers", gguf(keys(llama__block_count=(U32, 10**6)))
    yield "layers-zero", "no layer", gguf(keys(llama__block_count=(U32, 0)))
    yield "heads-zero", "no head", gguf(keys(llama__attention__head_count=(U32, 0)))
    yield "heads-text", "the number of heads as text", gguf(keys(llama__attention__head_count=(STRING, "2")))
    yield "heads-divide", "heads that do not divide the width", gguf(keys(llama__attention__head_count=(U32, 3)))
    yield "key-missing", "no number of layers", gguf({k: v for k, v in KEYS.items() if k != "llama.block_count"})
    yield "eps-zero", "an epsilon of 0", gguf(keys(llama__attention__layer_norm_rms_epsilon=(F32, 0.0)))
    yield "tensor-missing", "a weight is not there", gguf(tensors={k: v for k, v in TENSORS.items() if k != "output_norm.weight"})
    yield "tensor-shape", "a weight of another shape", gguf(tensors={**TENSORS, "blk.0.ffn_up.weight": [8, 24]})
    yield "split-missing", "the first of three parts, alone", gguf(keys(
        split__no=(U32, 0), split__count=(U32, 3), split__tensors__count=(I32, 11)))
    yield "split-second", "the second of two parts", gguf(keys(
        split__no=(U32, 1), split__count=(U32, 2), split__tensors__count=(I32, 11)))


# ---- llama2.c --------------------------------------------------------------------------------------

def llama2c(dim=8, ffn=16, layers=1, heads=2, kv=1, vocab=16, ctx=32, more=0, version=None, group=None):
    head = struct.pack("<7i", dim, ffn, layers, heads, kv, vocab, ctx)
    n = 16 * 8 + 8 + 8 + 64 + 32 + 32 + 64 + 3 * 128 + 8 + (32 * 4 if version is None else 0)
    if version is None:
        return head + bytes(max(4 * n + more, 0))
    start = struct.pack("<Ii", 0x616B3432, version) + head + b"\x01" + (b"" if group is None else struct.pack("<i", group))
    return start + bytes(256 - len(start)) + bytes(max(4 * n + more, 0))


def llama2c_cases():
    yield "header-cut", "cut within the header", llama2c()[:20]
    for name, fields in {"dim-zero": {"dim": 0}, "dim-negative": {"dim": -8}, "layers-zero": {"layers": 0},
                         "layers-many": {"layers": 2**31 - 1}, "heads-zero": {"heads": 0}, "heads-divide": {"heads": 3},
                         "kv-zero": {"kv": 0}, "kv-divide": {"heads": 4, "kv": 3}, "head-odd": {"heads": 8},
                         "vocab-zero": {"vocab": 0}, "vocab-min": {"vocab": -2**31}, "ctx-zero": {"ctx": 0},
                         "products": {"dim": 2**30, "ffn": 2**30, "vocab": 2**30}}.items():
        yield name, "%s" % ", ".join("%s %d" % f for f in fields.items()), llama2c(**fields)
    yield "short", "four bytes too few", llama2c(more=-4)
    yield "long", "four bytes too many", llama2c(more=4)
    yield "half", "a download that was cut off", llama2c()[:1800]
    yield "version-0", "version 0 with a magic", llama2c(version=0)
    yield "version-3", "a version yet to come", llama2c(version=3)
    yield "v1-short", "version 1, a byte too few", llama2c(version=1, more=-1)
    yield "v1-header", "version 1, cut within the header", llama2c(version=1)[:100]
    yield "v2-group-zero", "groups of no elements", llama2c(version=2, group=0)
    yield "v2-group-negative", "groups of -4 elements", llama2c(version=2, group=-4)
    yield "v2-group-divide", "groups that do not divide a row", llama2c(version=2, group=3)
    yield "v2-short", "version 2, too few bytes", llama2c(version=2, group=4, more=-3000)


# ---- PyTorch ---------------------------------------------------------------------------------------

def text(s):
    s = s.encode()
    return b"X" + struct.pack("<I", len(s)) + s


def number(n):
    return b"J" + struct.pack("<i", n) if abs(n) < 2**31 else b"\x8a\x08" + n.to_bytes(8, "little", signed=True)


def numbers(ns):
    return b"(" + b"".join(number(n) for n in ns) + b"t"


def storage(key="0", n=8, kind="FloatStorage"):
    return b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(n) + b"tQ"


def tensor(shape, strides=None, offset=0, stored=None, function=b"torch._utils\n_rebuild_tensor_v2"):
    strides = strides or [product(shape[i + 1:]) for i in range(len(shape))]
    return (b"c" + function + b"\n(" + (stored or storage(n=product(shape))) + number(offset) + numbers(shape)
            + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR")


def dictionary(items):
    return b"}(" + b"".join(text(k) + v for k, v in items) + b"u"


def archive(pickle, entries=(), prefix="archive/", method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        z.writestr(zipfile.ZipInfo(prefix + "data.pkl"), pickle)
        for name, data in entries:
            z.writestr(zipfile.ZipInfo(prefix + name), data, method)
    return out.getvalue()


def torch_cases():
    def whole(change=None, **kwargs):
        items = [(name, tensor(shape, stored=storage(str(i), product(shape)))) for i, (name, shape) in enumerate(SHAPES.items())]
        items = [(k, change.get(k, v)) for k, v in items] if change else items
        entries = [("data/%d" % i, bytes(4 * product(s))) for i, s in enumerate(SHAPES.values())]
        return archive(b"\x80\x02" + dictionary(items) + b".", entries, **kwargs)

    def weight(pickled):
        return whole({NORM: pickled})

    good = whole()
    code = lambda pickle: archive(b"\x80\x02" + pickle, [("data/0", bytes(32))])
    yield "no-pickle", "a zip archive of something else", archive(b"", prefix="a/x")
    yield "cut", "cut in the middle", good[:len(good) // 2]
    yield "directory-cut", "the archive's directory is cut", good[:-30]
    yield "zip-magic", "only the first bytes of a zip archive", b"PK\x03\x04" + bytes(60)
    yield "tar", "an older PyTorch file, no archive", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + bytes(40)
    yield "system", "a pickle that wants to run a command", code(b"cos\nsystem\n(" + text("true") + b"tR.")
    yield "eval", "a pickle that wants to evaluate text", code(b"c__builtin__\neval\n(" + text("1") + b"tR.")
    yield "opcode", "an instruction that is not known", code(b"}\xff.")
    yield "instance", "an instruction that makes objects", code(b"(i__main__\nA\n.")
    yield "stack", "a pickle that takes more than is there", code(b"t.")
    yield "stack-store", "an item stored into nothing", code(text("a") + text("b") + b"s.")
    yield "memo", "a value that was never kept", code(b"h\x07.")
    yield "string-beyond", "a string longer than the pickle", code(b"X\xff\xff\xff\x7fab.")
    yield "protocol", "protocol 9", archive(b"\x80\x09}.")
    yield "no-stop", "a pickle without an end", code(b"}")
    yield "pickle-empty", "a pickle of no bytes", archive(b"")
    yield "self", "a list that holds itself", code(b"]q\x00h\x00a.")
    yield "root-list", "a list in place of the weights", code(b"].")
    yield "root-none", "None in place of the weights", code(b"N.")
    yield "weight-number", "a number in a weight's place", weight(number(7))
    yield "weight-name", "a number as a weight's name", code(b"}" + number(1) + tensor([8]) + b"s.")
    yield "storage-missing", "a storage that is not in the archive", weight(tensor([8], stored=storage("99")))
    yield "storage-name", "a storage outside the archive", weight(tensor([8], stored=storage("../../etc/passwd")))
    yield "storage-small", "a storage smaller than its weight", weight(tensor([8], stored=storage("1", 4)))
    yield "storage-kind", "a storage of a kind that is not known", weight(tensor([8], stored=storage("1", 8, "QInt8Storage")))
    yield "storage-complex", "complex numbers", weight(tensor([8], stored=storage("1", 8, "ComplexFloatStorage")))
    yield "stride-negative", "a negative stride", weight(tensor([8], [-1], stored=storage("1", 8)))
    yield "stride-beyond", "strides that lead beyond the storage", weight(tensor([8], [2], stored=storage("1", 8)))
    yield "stride-count", "more strides than dimensions", weight(tensor([8], [1, 1], stored=storage("1", 8)))
    yield "offset-beyond", "an offset beyond the storage", weight(tensor([8], offset=4, stored=storage("1", 8)))
    yield "offset-negative", "a negative offset", weight(tensor([8], offset=-1, stored=storage("1", 8)))
    yield "shape-overflow", "more elements than can be counted", weight(tensor([2**40, 2**40], [1, 1], stored=storage("1", 8)))
    yield "shape-negative", "a negative dimension", weight(tensor([-8], [1], stored=storage("1", 8)))
    yield "shape-wrong", "a weight of another shape than config.json says", weight(tensor([4], stored=storage("1", 8)))
    yield "rebuild", "weights of a kind that is not known", weight(tensor([8], function=b"torch._utils\n_rebuild_sparse_tensor"))
    yield "compressed", "compressed weights", archive(b"\x80\x02" + dictionary([(NORM, tensor([8]))]) + b".",
                                                       [("data/0", bytes(32))], method=zipfile.ZIP_DEFLATED)
    yield "byte-order", "written by a big-endian machine", archive(b"\x80\x02" + dictionary([(NORM, tensor([8]))]) + b".",
                                                                    [("byteorder", b"big"), ("data/0", bytes(32))])
    yield "no-weights", "no weight at all", code(b"}.")


def arguments_cases():
    def checkpoint(args):
        return archive(b"\x80\x02" + dictionary([("model", dictionary([("transformer.wte.weight", tensor([2, 4]))])),
                                                 ("model_args", args)]) + b".", [("data/0", bytes(32))])

    good = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 16, "vocab_size": 16}
    items = lambda **changes: dictionary([(k, v if isinstance(v, bytes) else number(v)) for k, v in {**good, **changes}.items()])
    yield "unknown", "arguments of another program", checkpoint(dictionary([("depth", number(3))]))
    yield "text", "a number as text", checkpoint(items(n_layer=text("1")))
    yield "heads-zero", "no head", checkpoint(items(n_head=0))
    yield "layers-many", "2^40 layers", checkpoint(items(n_layer=2**40))
    yield "bias", "a bias that is neither true nor false", checkpoint(items(bias=text("yes")))
    yield "weights", "weights that do not fit the arguments", checkpoint(items())


def other_cases():
    yield "unknown", "none of the formats", b"\x7fELF" + bytes(60)
    yield "text", "a text", b"Once upon a time there was a file that was no model.\n"
    yield "pdf", "a PDF document", b"%PDF-1.4\n" + bytes(60)
    yield "png", "a picture", b"\x89PNG\r\n\x1a\n" + bytes(60)
    yield "gzip", "compressed by gzip", b"\x1f\x8b\x08\0" + bytes(60)
    yield "short", "three bytes", b"abc"


def model_cases():
    for name, wrong, data in safetensors_cases():
        yield "safetensors-" + name, "model .", wrong, folder(data=data)
    for name, wrong, files in index_cases():
        yield "index-" + name, "model .", wrong, files
    for name, wrong, config in config_cases():
        files = folder(config=CONFIG if config is None else config)
        if config is None:
            del files["config.json"]
        yield "config-" + name, "model .", wrong, files
    for name, wrong, data in gguf_cases():
        yield "gguf-" + name, "model a.gguf", wrong, {"a.gguf": data}
    for name, wrong, data in llama2c_cases():
        yield "llama2c-" + name, "model a.bin", wrong, {"a.bin": data}
    for name, wrong, data in torch_cases():
        yield "torch-" + name, "model .", wrong, {"config.json": json.dumps(CONFIG), "pytorch_model.bin": data}
    for name, wrong, data in arguments_cases():
        yield "arguments-" + name, "model ckpt.pt", wrong, {"ckpt.pt": data}
    for name, wrong, data in other_cases():
        yield "other-" + name, "model a.model", wrong, {"a.model": data}
    yield "folder-empty", "model .", "a folder with a note in it", {"note.txt": "no model\n"}
