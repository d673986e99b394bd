"""tokenizer_goldens.py - small tokenizers of our own, and what the `tokenizers` library makes of texts.

Writes tests/golden/tokenizers/texts.json and, for each tokenizer, <name>/tokenizer.json,
<name>/ids.json: for each text [ids, ids with special tokens parsed and added], the second only
where it differs; and for those that do not work on bytes <name>/decoded.json: what the ids of the
texts decode to.
The vocabularies are trained on a public-domain play; the texts are made here, from the characters
that tokenizers disagree about.

    python3 tools/reference/tokenizer_goldens.py CORPUS.txt tests/golden/tokenizers
"""
import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=options.pop("add_prefix_space", False),
                                    **options)


def split_by(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior=behavior, invert=invert),
        byte_level(use_regex=False)])


def train(tokenizer, text, n_vocab, **options):
    trainer = trainers.BpeTrainer(vocab_size=n_vocab, show_progress=False, **options)
    tokenizer.train_from_iterator(text.split("\n\n"), trainer)


def byte_tokenizer(text, pretok, normalizer=None, n_vocab=420, added=(), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pretok
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    train(tokenizer, text, n_vocab, initial_alphabet=ALPHABET)
    tokenizer.add_tokens(list(added))
    return tokenizer


def sentencepiece_like(text):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"),
                                                 normalizers.Replace(" ", "\u2581")])
    train(tokenizer, text, 700, special_tokens=["<unk>", "<s>", "</s>"]
          + ["<0x%02X>" % i for i in range(256)])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]  # bytes are no added tokens
    return Tokenizer.from_str(json.dumps(document))


def rows_of(trained):
    return json.loads(trained.to_str())


def metaspace(scheme="always", **options):
    return pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme=scheme, **options)


LLAMA_DECODERS = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                  decoders.Strip(" ", 1, 0)]
BYTES = ["<0x%02X>" % i for i in range(256)]


def character_bpe(text, pretok, normalizer=None, decoder=None, n_vocab=700, **model):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, **model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pretok
    names = ["<unk>", "<s>", "</s>"] + (BYTES if model.get("byte_fallback") else [])
    train(tokenizer, text, n_vocab, special_tokens=names)
    if decoder:
        tokenizer.decoder = decoder
    document = rows_of(tokenizer)
    document["added_tokens"] = document["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(document))


def unigram(text, normalizer, pretok, decoder, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pretok
    tokenizer.decoder = decoder
    trainer = trainers.UnigramTrainer(vocab_size=600, show_progress=False, unk_token="<unk>",
                                      special_tokens=["<unk>", "<s>"])
    tokenizer.train_from_iterator(text.split("\n\n"), trainer)
    if byte_fallback:
        document = rows_of(tokenizer)
        document["model"]["vocab"] += [[name, 0.0] for name in BYTES]
        document["model"]["byte_fallback"] = True
        return Tokenizer.from_str(json.dumps(document))
    return tokenizer


def charsmap(text):
    """A small normalization map made by SentencePiece from rules of our own."""
    rules = [("A", "a"), ("e \u0301", "\u00e9"), ("\u0301", ""), ("\ufb01", "fi"), ("\u3000", " "),
             ("\t", " "), ("\u00e9", "E"), ("\u1100 \u1161", "\uac00"), ("\u200d", ""),
             ("\r \n", "\n"), ("\u0600", "x y"), ("\u0645 \u0631", "MR"), ("I '", "i")]
    with tempfile.TemporaryDirectory() as folder:
        tsv = pathlib.Path(folder, "rules.tsv")
        spell = lambda part: " ".join("%04X" % ord(c) for c in part)
        tsv.write_text("".join("%s\t%s\n" % (" ".join(spell(c) for c in a.replace(" ", "") or " "),
                                             " ".join(spell(c) for c in b))
                               for a, b in rules), encoding="ascii")
        proto = spm_train(text, folder, vocab_size=200, hard_vocab_limit=False,
                          normalization_rule_tsv=str(tsv))
        return proto.normalizer_spec.precompiled_charsmap


def word_level(text):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Strip(), normalizers.NFD(), normalizers.Lowercase(),
        normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=500, show_progress=False,
                                        special_tokens=["<unk>", "<s>"])
    tokenizer.train_from_iterator(text.split("\n\n"), trainer)
    return tokenizer


def spm_train(text, folder, **options):
    """A small SentencePiece model; the trainer's own notes are left out of the file."""
    corpus = pathlib.Path(folder, "text")
    corpus.write_text(text, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=folder + "/m", minloglevel=2, num_threads=1, **options)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(pathlib.Path(folder, "m.model").read_bytes())
    proto.trainer_spec.ClearField("input")
    proto.trainer_spec.ClearField("model_prefix")
    proto.trainer_spec.ClearField("accept_language")
    return proto


def spm_models(text):
    with tempfile.TemporaryDirectory() as folder:
        plain = dict(normalization_rule_name="identity", hard_vocab_limit=False)
        yield "spm-bpe", spm_train(text, folder, model_type="bpe", vocab_size=700,
                                   byte_fallback=True, remove_extra_whitespaces=False,
                                   user_defined_symbols=["<pad>", "word", "  ", "\u4f60\u597d"],
                                   control_symbols=["<ctl>"], **plain)
        yield "spm-plain", spm_train(text, folder, model_type="bpe", vocab_size=300,
                                     add_dummy_prefix=False, bos_id=-1, **plain)
        proto = spm_train(text, folder, model_type="unigram", vocab_size=500,
                          user_defined_symbols=["<pad>", "wordy", "<le"], **plain)
        proto.normalizer_spec.precompiled_charsmap = charsmap(text)
        proto.pieces[-1].type = proto.pieces[-1].UNUSED
        yield "spm-unigram", proto
        yield "spm-bytes", spm_train(text, folder, model_type="unigram", vocab_size=600,
                                     byte_fallback=True, remove_extra_whitespaces=False, **plain)


def more_tokenizers(text):
    """Those that do not work on bytes: SentencePiece-like ones, and whole words."""
    llama = character_bpe(text, metaspace("first", split=False),
                          decoder=decoders.Sequence(LLAMA_DECODERS), byte_fallback=True)
    llama.add_tokens([special("<|im_start|>"), special("<stripped>", rstrip=True),
                      AddedToken("word", normalized=True)])
    yield "metaspace", llama
    gemma = character_bpe(text, pre_tokenizers.Split(" ", "merged_with_previous"),
                          normalizers.Replace(" ", "\u2581"),
                          decoders.Sequence(LLAMA_DECODERS[:3]), byte_fallback=True)
    gemma.add_tokens([AddedToken("\n" * n, normalized=False) for n in (2, 3)]
                     + [AddedToken("\u2581" * n, normalized=False) for n in (2, 3)])
    yield "gemma", gemma
    yield "unigram", unigram(
        text, normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                    normalizers.Replace(Regex(" {2,}"), " ")]),
        metaspace(), decoders.Metaspace())
    yield "precompiled", unigram(
        text, normalizers.Sequence([normalizers.Precompiled(charsmap(text)),
                                    normalizers.Strip(False, True)]),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("first")]),
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), byte_fallback=True)
    yield "wordlevel", word_level(text)
    yield "punctuation", character_bpe(text, pre_tokenizers.Sequence([
        pre_tokenizers.CharDelimiterSplit("e"), pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.Digits(), metaspace("never")]), n_vocab=300,
        decoder=decoders.Metaspace(prepend_scheme="never"))
    roberta = byte_tokenizer(text, byte_level(), n_vocab=300, added=[
        special("<s>"), special("</s>"), special("<mask>", lstrip=True)])
    roberta.post_processor = processors.RobertaProcessing(("</s>", 301), ("<s>", 300))
    yield "roberta", roberta


def special(text, **options):
    return AddedToken(text, special=True, normalized=False, **options)


def tokenizers(text):
    yield "gpt2", byte_tokenizer(text, byte_level(), added=[special("<|endoftext|>")])
    yield "spaces", byte_tokenizer(
        text, byte_level(add_prefix_space=True), normalizers.NFC(),
        added=[special("<|endoftext|>")] + [AddedToken(" " * n, normalized=True)
                                            for n in range(2, 9)])
    qwen = byte_tokenizer(text, split_by(QWEN), normalizers.NFC(),
                          added=[special("<|im_start|>"), special("<|im_end|>"),
                                 AddedToken("<think>", special=False, normalized=False)])
    yield "qwen2", qwen
    llama = byte_tokenizer(text, split_by(LLAMA3), ignore_merges=True,
                           added=[special("<|begin_of_text|>"), special("<|end_of_text|>")])
    llama.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A",
            special_tokens=[("<|begin_of_text|>", llama.token_to_id("<|begin_of_text|>"))])])
    yield "llama3", llama
    yield "o200k", byte_tokenizer(text, split_by(O200K), normalizers.NFKC())
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    yield "digits", byte_tokenizer(text, digits, normalizers.NFD(), added=[
        special("<stripped>", lstrip=True, rstrip=True), special("<left>", lstrip=True),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("\u00e9t\u00e9", normalized=True), AddedToken("<", normalized=False),
        AddedToken("<le", normalized=False)])
    for name, behavior, invert in (("previous", "merged_with_previous", False),
                                   ("next", "merged_with_next", True),
                                   ("contiguous", "contiguous", False),
                                   ("removed", "removed", False)):
        yield name, byte_tokenizer(text, split_by(r"\w+$|x*|\s", behavior, invert),
                                   normalizers.NFKD(), n_vocab=300)
    yield "sentencepiece", sentencepiece_like(text)


def texts():
    yield from ["", " ", "  ", "\n", "\r\n", "\t\n \r", "a", "Hello world", " Hello  world\n\n\n!",
                "I'll we'VE 'S 'ſ it's DON'T", "12345 6 78 ½ ²³ Ⅷ ٣٤", "foo<|endoftext|>bar",
                "<|im_start|>user\nhi<|im_end|>\n<think>x", "<|begin_of_text|><|begin_of_text|>",
                "a <stripped> b<stripped>  c<left>d  <left> e", "word words wordy a word. word",
                "\u00e9t\u00e9 e\u0301te\u0301 <le <l <left", "x" * 40, "ax" * 20, " " * 40,
                "a" + " " * 12 + "b", "\u180e \u180ex a\u180eb", "\u200b\u200d\ufeff",
                "\u1100\u1161\u11a8 \uac01", "\U0001f469\u200d\U0001f469\u200d\U0001f467",
                "\u0301\u0323a\u0323\u0301\u0345", "\u0dca\u0d3b\u031b\u035a", "\u031b\u0d3b \u0899\u0898 \u0345\u1dfa \U00011935\U00011930 \u32ff",
                "\u32ff\u3300\u32ff\u0301 \U00011938\u0301a\u0899\u0301",
                "\ufdfa \ufb01 \u3300",
                "\u2028\u2029\x85\xa0\u3000x", "\x01\x02\x7f\x1b[31m", "\u1c89\u1c8a\U00010d50 \U000105c0",
                "\u2581a\u2581\u2581b c", "<0x41><0x0A>", "\u4f60\u597d\u3002\u65e5\u672c\u8a9e",
                "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d"]
    pools = ["abcxyz ", " \t\r\n", "'sStTreveLlmMdD", "0123456789\u00b2\u00bd\u0663", "<|>_-.!?/\\",
             [chr(c) for c in range(0xa0, 0x250)], [chr(c) for c in range(0x300, 0x370)],
             [chr(c) for c in range(0x590, 0x700)], [chr(c) for c in range(0x900, 0x1000)],
             [chr(c) for c in range(0x1100, 0x1200)], [chr(c) for c in range(0x1e00, 0x2070)],
             [chr(c) for c in range(0x3040, 0x3100)], [chr(c) for c in range(0xac00, 0xad00)],
             [chr(c) for c in range(0x1f300, 0x1f700)], [chr(c) for c in range(0xf900, 0x10000)],
             [chr(c) for c in range(0x10d00, 0x12000)], [chr(c) for c in range(0x16000, 0x1d000)]]
    choose = random.Random(1)
    for _ in range(100):
        parts = ["".join(choose.choices(choose.choice(pools), k=choose.choice((1, 1, 2, 4))))
                 for _ in range(choose.randrange(1, 16))]
        yield "".join(parts)


def ids(tokenizer, text, parse):
    tokenizer.encode_special_tokens = not parse
    return tokenizer.encode(text, add_special_tokens=parse).ids


def main():
    corpus, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    text = corpus.read_text(encoding="utf-8")[:200000]
    all_texts = list(texts())
    write(folder / "texts.json", "texts", all_texts)
    of_bytes, others = dict(tokenizers(text)), dict(more_tokenizers(text))
    for name, tokenizer in {**of_bytes, **others}.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
        rows = []
        for one in all_texts:
            plain, parsed = ids(tokenizer, one, False), ids(tokenizer, one, True)
            rows.append([plain] if plain == parsed else [plain, parsed])
        write(folder / name / "ids.json", "ids", rows)
        decoded = [tokenizer.decode(row[0], skip_special_tokens=False) for row in rows]
        if name in others and decoded != all_texts:
            write(folder / name / "decoded.json", "texts", decoded)
    for name, proto in spm_models(text):
        write_spm(folder, name, proto, all_texts)


def write_spm(folder, name, proto, all_texts):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "tokenizer.model").write_bytes(proto.SerializeToString())
    model = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    rows = [model.encode(text) for text in all_texts]
    write(folder / name / "ids.json", "ids", [[row] for row in rows])
    # an unknown piece is decoded by its name here, not as a question mark
    unknown = model.id_to_piece(model.unk_id())
    write(folder / name / "decoded.json", "texts",
          [model.decode(row).replace(" \u2047 ", unknown) for row in rows])


def write(path, key, rows):
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path.write_text('{"%s":[\n%s\n]}\n' % (key, lines), encoding="ascii")


if __name__ == "__main__":
    main()
