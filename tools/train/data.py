"""Text files in, stories out.

A story starts on a line of its own and its paragraphs are parted by blank lines, so a single
newline ends a story; prose in hard-wrapped lines is recognised and cut every few paragraphs. Every
file is cleaned the same way: mojibake undone, quotes and dashes made ASCII, lower-case text truecased
by a simple rule, duplicates dropped. Written are one stories file for each text, with END after
each story, and valid.txt and heldout.txt. The bytes held out by --holdout are cut off before anything else looks at them.
"""

import argparse
import collections
import hashlib
import random
import re
from pathlib import Path

END = "<|endoftext|>"  # id 0: stands before every document and after it
STORY_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
MOJIBAKE = [("â€œ", '"'), ("â€˜", "'"), ("â€™", "'"), ("â€¦", "..."), ("â€“", "-"), ("â€”", " - "),
            ("â€\x9d", '"'), ("â€", '"'), ("“", '"'), ("”", '"'), ("’", "'"), ("‘", "'"), ("…", "..."),
            ("–", "-"), ("—", " - "), ("\u00a0", " "), ("Ã©", "é"), ("ã©", "é"), ("«", '"'), ("»", '"')]
SPEECH = set("said asked replied answered shouted yelled cried called exclaimed whispered thought "
             "says asks replies answers shouts yells cries calls whispers thinks laughed agreed "
             "explained continued screamed begged told added wondered".split())
SUBJECTS = set("he she they it his her their my the a an one".split())


def clean(text):
    for bad, good in MOJIBAKE:
        text = text.replace(bad, good)
    text = re.sub(r"[ \t\r]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n\n+", "\n\n", text).strip()


def split_stories(text):
    """A single newline ends a story, unless most of them only wrap a line; empty pieces are dropped."""
    text = text.replace("\r", "")
    pieces = [s for s in (clean(p) for p in STORY_BREAK.split(text)) if s]
    if len(pieces) > 20 and sorted(map(len, pieces))[len(pieces) // 2] < 100:
        paragraphs = [" ".join(p.split()) for p in re.split(r"\n[ \t]*\n", text) if p.strip()]
        return [clean("\n\n".join(paragraphs[i:i + 10])) for i in range(0, len(paragraphs), 10)]
    return pieces


def learn_case(stories):
    """Words that are capital more often than not where no sentence starts: names, mostly."""
    upper, lower = collections.Counter(), collections.Counter()
    for story in stories:
        for word in re.findall(r"(?<=[a-z,] )[A-Za-z]+", story):
            (upper if word[0].isupper() else lower)[word.lower()] += 1
    return {w for w, n in upper.items() if n >= 2 and n > lower[w]}


def truecase(story, names):
    """Give a lower-case story its capitals: names, I, sentence starts, and speech after a quote."""
    names = names | set(re.findall(r"\b(?:named|called) ([a-z]{3,})\b(?! (?:it|him|her|them)\b)", story))
    names -= {"the", "after", "and", "his", "her", "for", "out", "over", "back", "their"}
    words = re.split(r"([A-Za-z]+(?:'[a-z]+)?)", story)
    start, in_quote = True, False
    for i, piece in enumerate(words):
        if i % 2 == 0:  # between words: is a sentence starting?
            for c in piece:
                if c in ".!?":
                    start = True
                elif c == "\n":
                    start, in_quote = True, False
                elif c == '"':
                    in_quote = not in_quote
                    if in_quote:  # speech opens with a capital unless it goes on after a comma
                        start = True
            closed_by = re.search(r'([,.!?])" ?$', piece)
            if closed_by and not in_quote:
                tail = [words[j].lower() for j in range(i + 1, min(i + 7, len(words)), 2)]
                speaks = bool(tail) and (tail[0] in SPEECH or (
                    (tail[0] in SUBJECTS or tail[0] in names) and bool(set(tail[1:]) & SPEECH)))
                start = closed_by.group(1) != "," and not speaks
        else:
            head = piece.split("'")[0]
            if start or head in names or head == "i":
                words[i] = piece[0].upper() + piece[1:]
            start = False
    return "".join(words)


def learn_names(stories):
    """Names of lower-case stories: words that often stand after "named"."""
    text = " ".join(stories)
    total = collections.Counter(re.findall(r"[a-z]+", text))
    named = collections.Counter(re.findall(r"\b(?:named|name was|name is) ([a-z]{3,})\b", text))
    return {w for w, n in named.items() if n >= 2 and n * 30 >= total[w]}


def is_lower_case(text):
    return sum(c.isupper() for c in text) < len(text) / 2000


def load_corpus(paths, holdout=None, holdout_bytes=0):
    """(stories of every file, truecased where needed; the held-out bytes)"""
    held, texts = b"", []
    for path in map(Path, paths):
        raw = path.read_bytes()
        if holdout and path.resolve() == Path(holdout).resolve():
            raw, held = raw[:-holdout_bytes], raw[-holdout_bytes:]
            raw = raw[:raw.rfind(b"\n")]  # the story that the cut goes through is not used
        texts.append(raw.decode("utf-8", errors="ignore"))
    stories = [split_stories(t) for t in texts]
    natural = [not is_lower_case(t) for t in texts]
    names = learn_case([s for group, ok in zip(stories, natural) if ok for s in group])
    for i, group in enumerate(stories):
        if not natural[i]:
            known = names | learn_names(group)
            stories[i] = [truecase(s, known) for s in group]
    return stories, held


def evaluation_pieces(held):
    """The fixed way to cut held-out bytes: single newlines, first piece dropped, >= 400 bytes, 800 used."""
    pieces = re.split(rb"(?<!\n)\n(?!\n)", held)[1:]
    return [p[:800] for p in pieces if len(p) >= 400]


def is_validation(story, one_in):
    return int(hashlib.sha256(story.encode()).hexdigest()[:8], 16) % one_in == 0


def write_stories_file(path, stories):
    Path(path).write_text("".join(s + "\n" + END + "\n" for s in stories), encoding="utf-8")


def read_stories_file(path):
    text = Path(path).read_text(encoding="utf-8")
    return [s.strip("\n") for s in text.split(END + "\n") if s.strip("\n")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="text files to train on")
    parser.add_argument("--out", required=True, help="folder for the stories files")
    parser.add_argument("--holdout", help="one of the files: its last bytes are never trained on")
    parser.add_argument("--holdout-bytes", type=int, default=94000)
    parser.add_argument("--valid-one-in", type=int, default=20)
    args = parser.parse_args()
    groups, held = load_corpus(args.files, args.holdout, args.holdout_bytes)
    # validation comes from the file whose manner counts: the one that holds the held-out text
    judged = args.files.index(args.holdout) if args.holdout else None
    out, seen, valid = Path(args.out), set(), []
    out.mkdir(parents=True, exist_ok=True)
    for i, (path, group) in enumerate(zip(args.files, groups)):
        train = []
        for story in group:
            if len(story) < 80 or story in seen:
                continue
            seen.add(story)
            judge = judged in (None, i) and is_validation(story, args.valid_one_in)
            (valid if judge else train).append(story)
        random.Random(0).shuffle(train)
        write_stories_file(out / f"{Path(path).stem}.txt", train)
        print(f"{path}: {len(train)} stories to train on, {sum(map(len, train))} characters")
    write_stories_file(out / "valid.txt", valid)
    (out / "heldout.txt").write_bytes(held)
    print(f"{len(valid)} stories to validate; {len(held)} bytes held out")


if __name__ == "__main__":
    main()
