"""malformed.py - writes tests/malformed: small files, each wrong in one way, and what is to be said.

Each case is a folder in cases.zip; index.txt has a line for it: its name, what is opened (model FILE,
tokenizer FILE, or session: changes made to a saved sequence), the rule that refuses it, a fragment of
the message, and what is wrong. malformed_expected.txt holds rules and fragments, looked through by
hand; --learn KVASS_TEST_PROGRAM writes what the program says now, for looking through again.

    python3 tools/reference/malformed.py tests/malformed [--learn build/tests/malformed/test_malformed]
"""
import argparse
import base64
import json
import pathlib
import struct
import subprocess
import sys
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from malformed_models import model_cases  # noqa: E402
from malformed_tokenizers import tokenizer_cases  # noqa: E402

NOTES = pathlib.Path(__file__).parent / "malformed_expected.txt"


def patch(*changes):
    """Changes to a saved sequence: (offset, bytes), or (length, None) to cut it there; negative
    places count from its end."""
    return b"".join(struct.pack("<ii", at, -1 if new is None else len(new)) + (new or b"")
                    for at, new in changes)


def session_cases():
    # magic 8, version 4, order 4, bytes 8, fingerprint 8, 5 names of 8, 11 numbers of 4,
    # tokens 4, has logits 4, per layer 16; tokens
    numbers = 32 + 40
    cases = [
        ("empty", "no byte of it", (0, None)),
        ("magic", "another magic", (0, b"KVASSEX\x1a")),
        ("gguf", "a GGUF file", (0, b"GGUF\x03\0\0\0")),
        ("version", "a version yet to come", (8, struct.pack("<I", 99))),
        ("order", "written by a big-endian machine", (12, b"\x01\x02\x03\x04")),
        ("declared", "says that it is longer", (16, struct.pack("<Q", 1 << 40))),
        ("fingerprint", "saved with other weights", (24, b"\0" * 8)),
        ("retain", "another cache: window", (32, b"window\0\0")),
        ("store", "another store: q4", (40, b"q4\0\0\0\0\0\0")),
        ("layers", "more layers", (numbers + 4, struct.pack("<i", 1 << 30))),
        ("kv-heads", "fewer KV heads", (numbers + 12, struct.pack("<i", -1))),
        ("vocabulary", "another vocabulary", (numbers + 20, struct.pack("<i", 7))),
        ("tokens", "more tokens than the context holds", (numbers + 44, struct.pack("<i", 1 << 20))),
        ("tokens-negative", "a negative number of tokens", (numbers + 44, struct.pack("<i", -2))),
        ("logits", "neither with nor without logits", (numbers + 48, struct.pack("<i", 2))),
        ("window", "a layer with another window", (numbers + 52 + 4, struct.pack("<i", 5))),
        ("id", "a token beyond the vocabulary", (numbers + 52 + 32, struct.pack("<i", 1 << 20))),
        ("flip-pages", "a byte of a page changed", (-20, b"\x55\xaa\x55")),
        ("flip-sum", "the last checksum changed", (-1, b"\x5a")),
        ("cut", "its last byte is missing", (-1, None)),
        ("cut-header", "cut within its header", (50, None)),
    ]
    for name, wrong, change in cases:
        yield "session-" + name, "session", wrong, {"patch": patch(change)}


def all_cases():
    yield from model_cases()
    yield from tokenizer_cases()
    yield from session_cases()


def write(folder, expected):
    cases = list(all_cases())
    names = [name for name, *_ in cases]
    assert len(set(names)) == len(names), "a name is there twice"
    with zipfile.ZipFile(folder / "cases.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name, _, _, files in cases:
            for path, data in files.items():
                data = data.encode() if isinstance(data, str) else data
                out.writestr(zipfile.ZipInfo("%s/%s" % (name, path)), data, zipfile.ZIP_DEFLATED)
    lines = ["\t".join((name, opened, *expected.get(name, ("?", "?")), wrong))
             for name, opened, wrong, _ in cases]
    (folder / "index.txt").write_text("\n".join(lines) + "\n")
    print("%d cases" % len(cases))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--learn", type=pathlib.Path)
    args = parser.parse_args()
    lines = NOTES.read_text().splitlines() if NOTES.exists() else []
    expected = {name: (rule, says) for name, rule, says in (line.split("\t") for line in lines)}
    write(args.folder, expected)
    if args.learn:
        for program in (args.learn, str(args.learn) + "_sessions"):
            subprocess.run([program, args.folder, ".", "--say"], check=True)


if __name__ == "__main__":
    main()
