"""Tells real stories again with other names, animals, colors, foods and turns of phrase.

What is exchanged is drawn once for a story, so Lily who becomes Mia stays Mia and a cat stays the same
kind of animal to the end. The frame of a story is kept: it is what cannot be made up. Seeded.
"""

import argparse
import random
import re

import data
from tell import BOYS, GIRLS

# In a group every word can stand for every other, within one story always the same one.
NAMES = [GIRLS, BOYS]
NOUNS = [line.split() for line in """
dog cat rabbit puppy kitten bunny hamster
bear fox wolf tiger lion monkey deer squirrel mouse raccoon
bird duck owl parrot robin crow pigeon
cow horse pig goat sheep donkey
bee butterfly ant ladybug beetle spider
red blue green yellow pink purple orange
apple banana pear peach orange plum
cake pie cookie muffin sandwich pizza
carrot potato tomato pumpkin
scarf coat shirt dress jacket
necklace bracelet ring watch
doctor nurse
princess queen
prince king
baker farmer gardener
mom mum mommy mummy mama
dad daddy papa
grandma granny
spoon fork
""".strip().split("\n")]
PLURAL = {"mouse": "mice", "sheep": "sheep", "wolf": "wolves", "deer": "deer", "puppy": "puppies", "bunny": "bunnies",
          "cherry": "cherries", "daisy": "daisies", "butterfly": "butterflies", "potato": "potatoes",
          "tomato": "tomatoes", "fox": "foxes", "peach": "peaches", "sandwich": "sandwiches", "dress": "dresses",
          "watch": "watches", "granny": "grannies", "mummy": "mummies", "daddy": "daddies", "ladybug": "ladybugs"}
# Of these any may stand for any other, drawn anew each time.
TURNS = [line.split("|") for line in """
happy|glad|joyful
very happy|so happy|really happy|very glad|full of joy
sad|unhappy|upset
scared|afraid|frightened
big|large|huge
small|tiny
pretty|beautiful|lovely
fast|quick
nice|kind
smart|clever
started to|began to
wanted to see|wished to see
shouted|yelled|called out
looked at|gazed at|stared at
ran to|hurried to|rushed to
walked to|went to|headed to
jumped|leaped|hopped
saw|noticed|spotted
found|discovered
loved to|liked to
very|really|so
lots of|a lot of
soon|after a while|before long
Suddenly|All of a sudden|Just then
One day|One morning|One afternoon|One sunny day
Once upon a time|Long ago|Once|A long time ago
From that day on|From then on|After that day
The next day|The next morning|The following day
Finally|At last|In the end
smiled|grinned
all day|all day long|the whole day
together|with each other
decided to|chose to
excited|thrilled
surprised|amazed|astonished
angry|mad|cross
tired|sleepy
delicious|tasty|yummy
near|close to|next to
""".strip().split("\n")]


def plural(word):
    return PLURAL.get(word, word + "s")


def exchanges(rng, words):
    """{word: the word that stands for it in this story}"""
    out, lower = {}, {w.lower() for w in words}
    for group in NAMES + NOUNS:
        present = words if group in NAMES else lower
        used = [w for w in group if w in present or plural(w) in present]
        others = [w for w in group if w not in used]
        if len(others) < len(used) or group in NOUNS and rng.random() < 0.3:
            continue
        for word, other in zip(used, rng.sample(others, len(used))):
            for old, new in ((word, other), (plural(word), plural(other))):
                out[old], out[old.capitalize()] = new, new.capitalize()
    return out


def turn(rng, text, share):
    """Every turn of phrase keeps its words, or with some chance gets others of its line."""
    ways = {way: [w for w in line if w != way] for line in TURNS for way in line}
    pattern = r"\b(" + "|".join(sorted(map(re.escape, ways), key=len, reverse=True)) + r")\b"
    return re.sub(pattern, lambda m: rng.choice(ways[m.group(1)]) if rng.random() < share else m.group(1), text)


def retell(rng, story):
    given = exchanges(rng, set(re.findall(r"[A-Za-z]+", story)))
    story = re.sub(r"[A-Za-z]+", lambda m: given.get(m.group(), m.group()), story)
    story = turn(rng, story, 0.25)
    story = re.sub(r"\b([Aa])n? (?=[aeiou](?!ni|se|ne\b))", r"\1n ", story)
    return re.sub(r"\b([Aa])n (?=[bcdfgjklmnpqrstvwxyz])", r"\1 ", story)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="stories files")
    parser.add_argument("--out", required=True, help="a stories file")
    parser.add_argument("--times", type=int, default=4, help="how often every story is told again")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    stories = [s for path in args.files for s in data.read_stories_file(path)]
    rng, told = random.Random(args.seed), dict.fromkeys(stories)
    for _ in range(args.times):
        told.update(dict.fromkeys(retell(rng, story) for story in stories))
    again = list(told)[len(set(stories)):]
    rng.shuffle(again)
    data.write_stories_file(args.out, again)
    print(f"{len(again)} stories, {sum(map(len, again))} characters")


if __name__ == "__main__":
    main()
