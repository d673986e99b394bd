"""gguf_folder_check.py - the tokenizer.json that kvass makes out of a GGUF file, by `tokenizers`.

    python3 gguf_folder_check.py --kvass ../../build/tools/kvass [--text FILE]... MODEL.gguf...

Converts each MODEL to safetensors and compares three lists of ids for each text: of the GGUF file
and of the folder by kvass, and of the folder's tokenizer.json by `tokenizers`. The texts: those of
tests/golden/tokenizers, where tokenizers differ, one after the other; and each FILE.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).parents[2]


def by_kvass(args, path, text, tmp):
    (tmp / "text").write_bytes(text.encode())
    out = subprocess.run([args.kvass, "tokenize", "--tokenizer", path, "--bos", "--ids", "-f",
                          tmp / "text"], check=True, capture_output=True)
    return [int(i) for i in out.stdout.split()]


def check(args, model, texts):
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        out = tmp / "folder"
        done = subprocess.run([args.kvass, "convert", model, out], capture_output=True, text=True)
        if done.returncode:
            return f"refused: {done.stderr.strip()}"
        tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
        tokenizer.encode_special_tokens = True  # names of special tokens are text
        n_ids = n_wrong = 0
        for text in texts:
            source = by_kvass(args, model, text, tmp)
            ours = by_kvass(args, out, text, tmp)
            theirs = tokenizer.encode(text).ids
            n_ids += len(source)
            if not source == ours == theirs:
                n_wrong += 1
                rows = enumerate(zip(source, ours, theirs))
                at = next((i for i, row in rows if len(set(row)) > 1),
                          min(len(source), len(ours), len(theirs)))
                print(f"    id {at} of {text[:40]!r}: gguf {source[at:at + 4]}, folder "
                      f"{ours[at:at + 4]}, tokenizers {theirs[at:at + 4]}")
        return f"{len(texts)} texts, {n_ids} ids: {n_wrong or 'none'} differ"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--kvass", default="build/tools/kvass")
    parser.add_argument("--text", action="append", default=[])
    args = parser.parse_args()
    texts = json.loads((ROOT / "tests/golden/tokenizers/texts.json").read_text())["texts"]
    texts = ["\n".join(texts), " ".join(texts[::-1])]
    texts += [pathlib.Path(f).read_text(encoding="utf-8", errors="replace") for f in args.text]
    for model in args.models:
        print(f"{model}\n    {check(args, model, texts)}", flush=True)


if __name__ == "__main__":
    main()
