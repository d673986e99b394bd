"""tokenizer_compare.py - kvass's token ids against `tokenizers`, `sentencepiece` and `tiktoken`.

For each tokenizer and each text: the first megabyte, cut into slices, must give the same ids, and
the ids the same bytes back. Adds texts of its own: the Unicode characters in a few surroundings,
samples of code and scripts, a long random mixture, and for SentencePiece bytes that are no UTF-8. A
tokenizer is a tokenizer.json, a SentencePiece .model, a .tiktoken file named as tiktoken names it, or a
folder with vocab.json and merges.txt (GPT-2's splitting is assumed for the library's side); the text's
name is a file.

    python3 tools/reference/tokenizer_compare.py build/engine/libkvass.so \
        --tokenizers A/tokenizer.json B/ C.model --texts a.txt b.txt
"""
import argparse
import ctypes
import pathlib
import random
import sys
import unicodedata

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


SAMPLES = [
    "static int f(const char *s) {\n\treturn s[0] == '\\n' ? -1 : 0x1F;\n}\n",
    "def f(x):\n    return x**2\n", "<p class=\"a\">&amp;</p>\r\n", "{\"k\": [1.5e-3, null]}",
    "https://example.org/a?b=c#d ", "\U0001F600", "\U0001F468\u200d\U0001F469\u200d\U0001F467",
    "\U0001F1E9\U0001F1EA", "\u2764\ufe0f", "\U0001F44D\U0001F3FD",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "\u1112\u1161\u11ab",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
    "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1", "na\u00efve caf\u00e9",
    "e\u0301a\u0308o\u0302\u0323", "Z\u0351\u036b\u0343\u036a\u0302a\u0334", "\u00bd \u00b2\u00b3 \u2160\u2161",
    "\u0661\u0662\u0663", "\ufb01\ufb02 \uff21\uff22\uff11", "\x01\x02\x7f\x85",
    "\u200b\u200f\u202e\ufeff\u00ad", "\u00a0\u2003\u3000 ", "\n\n\n", "   ", "\t\t ", "\r",
    "I'm don't we'LL they'VE 's'T", "1234567890 3,141.59 0b1010", "....!!!???---___",
    "\u201cquoted\u201d \u2014 \u2026", "aaaaaaaaaaaaaaaaaaaaaaaa",
]


def mixed_text(seed, n_chars):
    """Code, emoji, scripts, combining marks, control characters and words beside each other."""
    choose = random.Random(seed)
    parts, n = [], 0
    while n < n_chars:
        part = choose.choice(SAMPLES)
        if choose.random() < 0.3:
            at = choose.randrange(len(part))
            part = part[at:at + choose.choice((1, 2, 3, 8))]
        if choose.random() < 0.4:
            part += choose.choice((" ", " ", "\n", " the", " a", "word "))
        parts.append(part)
        n += len(part)
    return "".join(parts)


def own_texts(seed, every):
    characters = [c for i, c in enumerate(CHARACTERS)
                  if every or i % 97 == 0 or unicodedata.category(c) not in ("Cn", "Co")]
    yield "%d characters" % len(characters), "".join(c + " " + c + "a1" + c for c in characters)
    yield "samples, seed %d" % seed, mixed_text(seed, 1_000_000)
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
    """What is wrong with one slice, or None, and the number of ids."""
    data = part if isinstance(part, bytes) else part.encode()
    want, got = theirs.encode(part, add_special_tokens=False).ids, ours.encode(data)
    if want == got:
        return None, len(want)
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    return ("DIFFERENT at id %d: %s, expected %s, near %r"
            % (at, got[at:at + 5], want[at:at + 5], theirs.decode(want[max(0, at - 5):at + 5]))), 0


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
        difference, n = differing(theirs, ours, part)
        if difference:
            print("  %s, slice at %d: %s" % (name, at, difference), flush=True)
            return False
        n_ids += n
        if at // size % 4 == 0:
            results.add(round_trip(theirs, ours, part))
    n_bytes = len(text if isinstance(text, bytes) else text.encode())
    print("  %s: %d bytes, %d ids the same, %s"
          % (name, n_bytes, n_ids, ", or ".join(sorted(results))), flush=True)
    return "bytes DIFFER" not in results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--tokenizers", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--texts", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--slice", type=int, default=20_000, help="characters encoded at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", action="store_true",
                        help="each character that is not assigned, too, not one in 97")
    args = parser.parse_args()
    library = ctypes.CDLL(args.library)
    texts = list(own_texts(args.seed, args.every))
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
