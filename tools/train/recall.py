"""Documents that plant facts early and ask for them later, to train and to measure a memory.

    The secret number of Lily is 47. The secret friend of Tom is Mia.
    ... other text, a chosen number of tokens ...
    What is the secret number of Lily? The secret number of Lily is 47.

Facts are split by a hash of the whole sentence: held=True draws only facts that no training document
holds. Who has what is drawn anew for every document, so an answer must be read out of the context.
Echoes, lists of words said twice, teach the same skill faster. Run as a program it prints prompts as
JSON lines.
"""

import argparse
import collections
import hashlib
import json
import random
import re

PEOPLE = ("Lily Tom Ben Anna Sara Max Mia Tim Lucy Jack Sam Emma Leo Bob Amy Ella Jim Kate Peter Molly Sue "
          "Mark Jill Ted Jane Alice Billy Daisy Emily Grace Henry James Jenny Joe John Josh Lisa Lola Mary "
          "Paul Rosie Sally Sandy Sarah Sophie Tommy").split()
THINGS = ("dog cat bird fish rabbit horse mouse frog duck bear pig fox bunny puppy kitten ball book key hat cup "
          "shell ring coin doll kite drum flag star leaf spoon bell brush button candle feather ribbon stone "
          "basket blanket lamp clock pencil apple cookie mirror pillow whistle boat car train truck tree flower "
          "garden river house door window bed table chair box bag cake bread milk soup egg nest rock sand water "
          "rain snow sun moon cloud hill park road school shop farm zoo beach lake forest bridge rope stick "
          "wheel balloon puzzle robot crown sword castle tent").split()


def is_held(fact):
    """One fact in eight is never trained on."""
    return hashlib.sha256(fact.encode()).digest()[0] % 8 == 0


def fact(rng, person, held):
    """(question, the words before the answer, the answer)"""
    while True:
        kind = rng.randrange(3)
        value = (str(rng.randrange(10, 100)), rng.choice(PEOPLE), rng.choice(THINGS))[kind]
        what = f"secret {('number', 'friend', 'word')[kind]} of {person}"
        if value != person and is_held(f"{what} {value}") == held:
            return f"What is the {what}?", f"The {what} is", value


def sentences(rng, stories):
    """Endless filler: the sentences of random stories, in order."""
    while True:
        story = rng.choice(stories)
        for part in story.replace("\n\n", " ").split(". "):
            yield part if part.endswith((".", "!", "?", '"')) else part + "."


def filler(rng, stories, count_tokens, target):
    """Sentences of about `target` tokens."""
    parts, used = [], 0
    for part in sentences(rng, stories):
        n = count_tokens(" " + part)
        if used + n > target + 20:
            return " ".join(parts)
        parts.append(part)
        used += n


def recall_prompt(rng, stories, count_tokens, distance, n_facts, held=True):
    """(text, answer): the facts, `distance` tokens of other text, one question."""
    facts = [fact(rng, p, held) for p in rng.sample(PEOPLE, n_facts)]
    head = " ".join(f"{stem} {value}." for _, stem, value in facts)
    question, stem, value = rng.choice(facts)
    return f"{head}\n\n{filler(rng, stories, count_tokens, distance)}\n\n{question} {stem}", f" {value}"


def recall_document(rng, stories, count_tokens, max_tokens):
    """Facts, other text, every fact asked: at most about max_tokens."""
    facts = [fact(rng, p, False) for p in rng.sample(PEOPLE, rng.randint(2, min(8, max_tokens // 35)))]
    rounds = rng.randint(1, max(1, min(3, (max_tokens - 11 * len(facts)) // (18 * len(facts)))))
    room = max_tokens - (11 + 18 * rounds) * len(facts)
    parts = [" ".join(f"{stem} {value}." for _, stem, value in facts)]
    target = int(room * rng.random() ** 1.5)
    if target > 20:
        parts.append(filler(rng, stories, count_tokens, target))
    for _ in range(rounds):
        parts.append(" ".join(f"{q} {stem} {value}." for q, stem, value in rng.sample(facts, len(facts))))
    return "\n\n".join(p for p in parts if p)


def echo_document(rng, words):
    """A list of random words, said two to four times: nothing but copying pays."""
    listed = [rng.choice(words) for _ in range(rng.randint(6, 40))]
    return "\n\n".join([" ".join(listed) + "."] * rng.randint(2, 4))


def echo_words(stories, n_words=1500):
    """The commonest words of the stories, and all that facts may be about."""
    counts = collections.Counter(word for story in stories for word in re.findall(r"[A-Za-z]+", story))
    numbers = [str(n) for n in range(10, 100)]
    return [word for word, _ in counts.most_common(n_words)] + PEOPLE + THINGS + numbers


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
            prompt, answer = recall_prompt(rng, stories, lambda t: len(tokenizer.encode(t).ids) - 1,
                                           distance, args.facts)
            print(json.dumps({"distance": distance, "prompt": prompt, "answer": answer}))


if __name__ == "__main__":
    main()
