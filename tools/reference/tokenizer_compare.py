"""tokenizer_compare.py - kvass's token ids against `tokenizers`, `sentencepiece` and `tiktoken`.

For each tokenizer and each text: the first megabyte, cut into slices, must give the same ids, and
the ids the same bytes back. Adds texts of its own: every Unicode character in a few surroundings, a
long random mixture, and for SentencePiece bytes that are no UTF-8. A tokenizer is a tokenizer.json,
a SentencePiece .model, a .tiktoken file named as tiktoken names it, or a folder with vocab.json and
merges.txt (GPT-2's splitting is assumed for the library's side); the text's name is a file.

    python3 tools/reference/tokenizer_compare.py build/engine/libkvass.so \
        --tokenizers A/tokenizer.json B/ C.model --texts a.txt b.txt
"""
import argparse
import ctypes
import pathlib
import random
import sys

import sentencepiece
import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tiktoken_ext import openai_public
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

MEGABYTE = 1_000_000
CHARACTERS = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("rule", ctypes.c_char_p),
                ("message", ctypes.c_char * 512)]


class Kvass:
    """A tokenizer opened through the C library."""

    def __init__(self, library, path):
        self.lib = library
        self.tok = ctypes.c_void_p()
        self.check(self.lib.kvass_tokenizer_open(ctypes.byref(self.tok), str(path).encode(), 0,
                                                 self.error()))

    def error(self):
        self.err = Error()
        return ctypes.byref(self.err)

    def check(self, status):
        if status != 0:
            raise SystemExit("%s: %s" % (self.err.rule.decode(), self.err.message.decode()))

    def encode(self, text, cap=0):
        cap = cap or len(text) + 16
        ids, n = (ctypes.c_int32 * cap)(), ctypes.c_size_t()
        self.check(self.lib.kvass_tokenizer_encode(
            self.tok, text, ctypes.c_size_t(len(text)), None, ids, ctypes.c_size_t(cap),
            ctypes.byref(n), self.error()))
        return ids[:n.value] if n.value <= cap else self.encode(text, n.value)

    def decode(self, ids):
        stream, out = ctypes.c_void_p(), []
        data, n = ctypes.c_void_p(), ctypes.c_size_t()
        self.check(self.lib.kvass_stream_open(ctypes.byref(stream), self.tok, True, self.error()))
        for token in ids:
            self.check(self.lib.kvass_stream_put(stream, token, ctypes.byref(data),
                                                 ctypes.byref(n), self.error()))
            out.append(ctypes.string_at(data, n.value))
        self.lib.kvass_stream_end(stream, ctypes.byref(data), ctypes.byref(n))
        out.append(ctypes.string_at(data, n.value))
        self.lib.kvass_stream_close(ctypes.byref(stream))
        return b"".join(out)

    def close(self):
        self.lib.kvass_tokenizer_close(ctypes.byref(self.tok))


class Pieces:
    """SentencePiece with the face of `tokenizers`, as far as it is needed here."""

    def __init__(self, path):
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text, **_):
        return type("Encoding", (), {"ids": self.model.encode(text)})

    def decode(self, ids, **_):
        return self.model.decode(ids)


class Ranks:
    """tiktoken with that face; its patterns are those of the names it knows."""

    def __init__(self, path):
        constructor = openai_public.ENCODING_CONSTRUCTORS[path.stem]
        ranks = load_tiktoken_bpe(str(path))
        openai_public.load_tiktoken_bpe = lambda *_, **__: ranks
        openai_public.data_gym_to_mergeable_bpe_ranks = lambda *_, **__: ranks
        self.encoding = tiktoken.Encoding(**constructor())

    def encode(self, text, **_):
        ids = (self.encoding._encode_bytes(text) if isinstance(text, bytes) else
               self.encoding.encode_ordinary(text))
        return type("Encoding", (), {"ids": ids})

    def decode(self, ids, **_):
        return self.encoding.decode(ids)


def reference(path):
    if path.suffix == ".tiktoken":
        return Ranks(path)
    if path.suffix == ".model":
        return Pieces(path)
    if path.is_file():
        tokenizer = Tokenizer.from_file(str(path))
    elif (path / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    else:
        tokenizer = Tokenizer(models.BPE.from_file(str(path / "vocab.json"),
                                                   str(path / "merges.txt")))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    tokenizer.encode_special_tokens = True
    return tokenizer


def own_texts(seed):
    yield "every character", "".join(c + " " + c + "a1" + c for c in CHARACTERS)
    choose = random.Random(seed)
    blocks = [range(a, a + 128) for a in range(0, len(CHARACTERS) - 128, 128)]
    blocks = blocks[:400] * 5 + blocks + [[CHARACTERS.index(c) for c in " '\r\n\tsStTdD09\u180e"]] * 2000
    parts = []
    for _ in range(100_000):
        block = choose.choice(blocks)
        parts += [CHARACTERS[choose.choice(block)] for _ in range(choose.choice((1, 1, 2, 5)))]
    yield "a mixture, seed %d" % seed, "".join(parts)


def broken_text(seed):
    """Words, and bytes that are no UTF-8."""
    choose = random.Random(seed)
    words = [b" the", b"a", b"\xe2\x96\x81", b" ", b"  ", "\u00e9".encode(), "\u4f60".encode()]
    return b"".join(choose.choice(words) if choose.random() < 0.7 else
                    bytes(choose.choices(range(128, 256), k=choose.choice((1, 1, 2, 3))))
                    for _ in range(100_000))


def differing(theirs, ours, part):
    """What is wrong with one slice, or None."""
    data = part if isinstance(part, bytes) else part.encode()
    want, got = theirs.encode(part, add_special_tokens=False).ids, ours.encode(data)
    if want == got:
        return None
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    return ("DIFFERENT at id %d: %s, expected %s, near %r"
            % (at, got[at:at + 5], want[at:at + 5], theirs.decode(want[max(0, at - 5):at + 5])))


def round_trip(theirs, ours, part):
    if isinstance(part, bytes):
        return "not decoded"
    got = ours.encode(part.encode())
    if ours.decode(got) == part.encode():
        return "same bytes back"
    # normalized, or a space was put first
    library_too = theirs.decode(got, skip_special_tokens=False) != part
    return "not the same bytes back, as from the library" if library_too else "bytes DIFFER"


def compare(name, theirs, ours, text, size):
    results, n_ids = set(), 0
    for at in range(0, len(text), size):
        part = text[at:at + size]
        difference = differing(theirs, ours, part)
        if difference:
            print("  %s, slice at %d: %s" % (name, at, difference), flush=True)
            return False
        n_ids += len(theirs.encode(part, add_special_tokens=False).ids)
        results.add(round_trip(theirs, ours, part))
    print("  %s: %d ids the same, %s" % (name, n_ids, ", or ".join(sorted(results))), flush=True)
    return "bytes DIFFER" not in results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--tokenizers", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--texts", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--slice", type=int, default=20_000, help="characters encoded at once")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    library = ctypes.CDLL(args.library)
    texts = list(own_texts(args.seed))
    for path in args.texts:
        data = path.read_bytes()[:MEGABYTE]
        texts.append((path.name, data.decode("utf-8", "ignore")))
    same = True
    for path in args.tokenizers:
        print(path, flush=True)
        theirs, ours = reference(path), Kvass(library, path)
        broken = [("broken UTF-8", broken_text(args.seed))] if path.suffix == ".model" else []
        for name, text in texts + broken:
            same = compare(name, theirs, ours, text, args.slice) and same
        ours.close()
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
