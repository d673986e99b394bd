"""Documents that plant facts early and ask for them later, to train and to measure a memory.

    The secret number of Lily is 472. The dog of Tom is called Bami.
    ... other text, a chosen number of tokens ...
    What is the secret number of Lily? The secret number of Lily is 472.

Values are split by a hash: `held=True` draws only from those that no training document holds, so
an answer must be read out of the context. Run as a program it prints prompts as JSON lines.
"""

import argparse
import hashlib
import json
import random

PEOPLE = ("Lily Tom Ben Anna Sara Max Mia Tim Lucy Jack Sam Emma Leo Zoe Bob Amy Nora Finn Ella Jim "
          "Kate Peter Rose Dan Molly Sue Mark Jill Ted Eve").split()
PETS = "dog cat bird fish rabbit horse mouse frog duck turtle".split()
THINGS = ("ball book key hat cup shell ring coin doll kite drum flag star leaf spoon bell brush button candle "
          "feather ribbon stone basket blanket lamp clock pencil apple cookie mirror pillow whistle").split()
COLORS = "red blue green yellow pink purple orange brown black white gray golden silver".split()
SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


def is_held(value):
    """One value in eight is never trained on."""
    return hashlib.sha256(value.encode()).digest()[0] % 8 == 0


def draw(rng, make, held):
    while True:
        value = make()
        if is_held(value) == held:
            return value


def fact(rng, person, held):
    """(question, the words before the answer, the answer)"""
    kind = rng.randrange(3)
    if kind == 0:
        stem = f"secret number of {person} is"
        value = draw(rng, lambda: str(rng.randrange(100, 1000)), held)
    elif kind == 1:
        stem = f"{rng.choice(PETS)} of {person} is called"
        value = draw(rng, lambda: "".join(rng.sample(SYLLABLES, 2)).capitalize(), held)
        return f"What is the {stem}?", f"The {stem}", value
    else:
        stem = f"secret word of {person} is"
        value = draw(rng, lambda: f"{rng.choice(COLORS)} {rng.choice(THINGS)}", held)
    return f"What is the {stem[:-3]}?", f"The {stem}", value


def sentences(rng, stories):
    """Endless filler: the sentences of random stories, in order."""
    while True:
        story = rng.choice(stories)
        for part in story.replace("\n\n", " ").split(". "):
            yield part if part.endswith((".", "!", "?", '"')) else part + "."


def recall_document(rng, stories, count_tokens, max_tokens, held=False, n_facts=None, distance=None):
    """A document of at most about max_tokens, as text; with `distance`, as (prompt, answer)."""
    people = rng.sample(PEOPLE, n_facts or rng.randint(1, 8 if max_tokens > 200 else 4))
    facts = [fact(rng, p, held) for p in people]
    room = max_tokens - 45 * len(facts)
    target = distance if distance is not None else int(room * rng.random() ** 1.5)
    text, filler, used = [f"{stem} {value}." for _, stem, value in facts], [], 0
    source = sentences(rng, stories)
    while used < target:
        part = next(source)
        n = count_tokens(" " + part)
        if used + n > target + 20:
            break
        filler.append(part)
        used += n
    head = " ".join(text) + ("\n\n" + " ".join(filler) if filler else "")
    asked = rng.sample(facts, len(facts))
    if distance is not None:
        question, stem, value = asked[0]
        return f"{head}\n\n{question} {stem}", f" {value}"
    return head + "\n\n" + "\n\n".join(f"{q} {stem} {value}." for q, stem, value in asked)


def main():
    import data
    from tokenizers import Tokenizer
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--stories", required=True, help="the filler, a stories file as data.py writes it")
    parser.add_argument("--distances", type=int, nargs="+", default=[32, 64, 128, 256, 512, 900])
    parser.add_argument("-n", type=int, default=50, help="prompts at each distance")
    parser.add_argument("--facts", type=int, default=3)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(args.tokenizer)
    stories = data.read_stories_file(args.stories)
    rng = random.Random(7)
    for distance in args.distances:
        for _ in range(args.n):
            prompt, answer = recall_document(rng, stories, lambda t: len(tokenizer.encode(t).ids), 0,
                                             held=True, n_facts=args.facts, distance=distance)
            print(json.dumps({"distance": distance, "prompt": prompt, "answer": answer}))


if __name__ == "__main__":
    main()
