"""tokenizer_compare.py - kvass's token ids against the `tokenizers` library, on whole texts.

For each tokenizer and each text: the first megabyte must give the same ids, and the ids must give
the bytes back. Adds two texts of its own: every Unicode character in a few surroundings, and a long
random mixture. A tokenizer is a tokenizer.json, or a folder with vocab.json and merges.txt (GPT-2's
splitting is assumed for the library's side); the text's name is a file.

    python3 tools/reference/tokenizer_compare.py build/engine/libkvass.so \
        --tokenizers A/tokenizer.json B/ --texts a.txt b.txt
"""
import argparse
import ctypes
import pathlib
import random
import sys

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


def reference(path):
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


def compare(name, theirs, ours, text):
    data = text.encode()
    want, got = theirs.encode(text, add_special_tokens=False).ids, ours.encode(data)
    if want != got:
        at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
        print("  %s: DIFFERENT at id %d: %s, expected %s, near %r"
              % (name, at, got[at:at + 5], want[at:at + 5], theirs.decode(want[max(0, at - 5):at + 5])))
        return False
    round_trip = "same bytes back"
    if ours.decode(got) != data:  # normalized, or a space was put first
        library_too = theirs.decode(want, skip_special_tokens=False) != text
        round_trip = "not the same bytes back, as from the library" if library_too else "bytes DIFFER"
    print("  %s: %d ids the same, %s" % (name, len(got), round_trip))
    return "DIFFER" not in round_trip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--tokenizers", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--texts", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    library = ctypes.CDLL(args.library)
    texts = list(own_texts(args.seed))
    for path in args.texts:
        data = path.read_bytes()[:MEGABYTE]
        texts.append((path.name, data.decode("utf-8", "ignore")))
    same = True
    for path in args.tokenizers:
        print(path)
        theirs, ours = reference(path), Kvass(library, path)
        for name, text in texts:
            same = compare(name, theirs, ours, text) and same
        ours.close()
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
