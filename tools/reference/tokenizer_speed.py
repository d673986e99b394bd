"""tokenizer_speed.py - encoding a text by kvass and by the library, in user CPU time.

Both take turns, on one thread, on the same slices; the least of the repetitions counts. Tokenizers and
texts are as for tokenizer_compare.py.

    RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python3 tools/reference/tokenizer_speed.py \
        build/engine/libkvass.so --tokenizers A/tokenizer.json B/ C.model --texts a.txt
"""
import argparse
import ctypes
import pathlib
import resource

from tokenizer_compare import Kvass, reference


def user_time():
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def kvass_run(tokenizer, slices, ids):
    begin = user_time()
    n = ctypes.c_size_t()
    for _, data in slices:
        tokenizer.check(tokenizer.lib.kvass_tokenizer_encode(
            tokenizer.tok, data, ctypes.c_size_t(len(data)), None, ids, ctypes.c_size_t(len(ids)),
            ctypes.byref(n), tokenizer.error()))
    return user_time() - begin


def library_run(tokenizer, slices):
    begin = user_time()
    for text, _ in slices:
        tokenizer.encode(text, add_special_tokens=False)
    return user_time() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--tokenizers", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--texts", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--slice", type=int, default=20_000, help="characters encoded at once")
    parser.add_argument("--bytes", type=int, default=1_000_000)
    parser.add_argument("--reps", type=int, default=5)
    args = parser.parse_args()
    library = ctypes.CDLL(args.library)
    for path in args.tokenizers:
        theirs, ours = reference(path), Kvass(library, path)
        for name in args.texts:
            text = name.read_bytes()[:args.bytes].decode("utf-8", "ignore")
            parts = [text[at:at + args.slice] for at in range(0, len(text), args.slice)]
            slices = [(part, part.encode()) for part in parts]
            ids = (ctypes.c_int32 * (8 * args.slice))()
            times = [(kvass_run(ours, slices, ids), library_run(theirs, slices))
                     for _ in range(args.reps)]
            mine, other = (min(column) for column in zip(*times))
            n = sum(len(data) for _, data in slices) / 1e6
            print("%s, %s: kvass %.2f MB/s, the library %.2f MB/s, %.2f times as fast"
                  % (path, name.name, n / mine, n / other, other / mine), flush=True)
        ours.close()


if __name__ == "__main__":
    main()
