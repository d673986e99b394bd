"""Trains the tokenizer and turns stories files into token streams (uint16), END before each story.

pack/tokenizer.json       byte-level BPE with GPT-2's split, id 0 is <|endoftext|>
pack/<name>.bin           one stream for every stories file given, named after it
pack/recall-<n>.bin       recall documents of at most n tokens, a new draw of fillers and facts
pack/echo.bin             lists of words said twice and more
pack/valid.bin            what train.py judges by
"""

import argparse
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import data
from recall import echo_document, echo_words, recall_document


def train_tokenizer(stories, n_vocab):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(stories, trainers.BpeTrainer(
        vocab_size=n_vocab, special_tokens=[data.END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{data.END} $A", pair=f"{data.END} $A $B", special_tokens=[(data.END, 0)])
    return tokenizer


def pack(tokenizer, stories):
    """One stream: the tokenizer itself puts END in front of every story."""
    encoded = tokenizer.encode_batch(stories)
    return np.concatenate([np.array(e.ids, dtype=np.uint16) for e in encoded])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="stories files, as data.py and write_stories.py write them")
    parser.add_argument("--valid", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--recall", type=int, nargs="*", default=[120, 250, 1000], help="longest documents, in tokens")
    parser.add_argument("--untaught", nargs="*", help="those of the files that the tokenizer is not trained on")
    parser.add_argument("--recall-tokens", type=int, default=1_500_000, help="for each length")
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    stories = {Path(f).stem: data.read_stories_file(f) for f in args.files}
    if not (out / "tokenizer.json").exists():
        taught = [s for f in args.files if f not in (args.untaught or []) for s in stories[Path(f).stem]]
        rng = random.Random(0)  # names and numbers of the recall documents become single pieces
        taught += [recall_document(rng, taught, len, 250) for _ in range(4000)] if args.recall else []
        train_tokenizer(taught, args.vocab).save(str(out / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    streams = {name: pack(tokenizer, group) for name, group in stories.items()}
    streams["valid"] = pack(tokenizer, data.read_stories_file(args.valid))
    everything = [s for group in stories.values() for s in group]

    def count_tokens(text):
        return len(text) / 3.9

    for length in args.recall:
        rng = random.Random(length)
        documents = [recall_document(rng, everything, count_tokens, length)
                     for _ in range(args.recall_tokens // (length // 2))]
        streams[f"recall-{length}"] = pack(tokenizer, documents)
    if args.recall:
        rng = random.Random(0)
        words = echo_words(everything)
        streams["echo"] = pack(tokenizer, [echo_document(rng, words) for _ in range(args.recall_tokens // 60)])
    for name, stream in streams.items():
        stream.tofile(out / f"{name}.bin")
        print(f"{name}: {len(stream)} tokens, {(stream == 0).sum()} documents")


if __name__ == "__main__":
    main()
