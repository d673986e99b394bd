"""Tells stories of its own making: a small world of children, animals, things and places, and plots.

A plot (plots.txt) is a list of beats, a beat is a few ways of telling it. In a beat `[a|b|c]` is a
choice and `$word` is filled from the cast: the hero, a friend, a grown-up, the thing, the place. The
cast is drawn once for a story, so names, pronouns and things stay what they are. Seeded; no story twice.
"""

import argparse
import random
import re
from pathlib import Path

import data

GIRLS = ("Lily Anna Sara Mia Lucy Emma Zoe Amy Ella Kate Molly Sue Jane Alice Daisy Emily Grace Jenny Lisa Lola "
         "Mary Rosie Sally Sandy Sarah Sophie Nora Ruby Clara Ivy Hannah Bella Maria Tina Betty Polly").split()
BOYS = ("Tom Ben Max Tim Jack Sam Leo Bob Jim Peter Mark Ted Billy Henry James Joe John Josh Paul Tommy Finn "
        "Oscar Danny Fred George Harry Luke Mike Andy Toby Will Adam Charlie Noah Jake Timmy").split()
ANIMALS = ("rabbit bear fox mouse squirrel duck frog turtle hedgehog pig kitten puppy owl monkey elephant lion "
           "deer mole beaver penguin goat lamb pony otter").split()
PETS = "dog cat bird rabbit kitten puppy hamster duck turtle parrot pony goldfish".split()
PET_NAMES = "Spot Fluffy Max Bella Snowy Patch Coco Daisy Buddy Pip Ginger Shadow Lucky Biscuit Peanut Rex".split()
TOYS = ("ball|doll|kite|toy car|toy train|teddy bear|robot|puzzle|drum|wooden boat|toy truck|jump rope|paper plane|"
        "toy horse|music box|yo-yo|spinning top|toy rocket|toy boat|stuffed bunny").split("|")
SMALL = ("key|ring|coin|button|shell|feather|stone|bell|whistle|ribbon|marble|spoon|necklace|watch|pencil|"
         "flower|leaf|star|locket|thimble").split("|")
FOOD = ("cake|pie|soup|bread|cookies|muffins|pancakes|jam|pizza|salad|apple tart|stew|biscuits|"
        "sandwiches|porridge").split("|")
FRUIT = "apple pear banana orange peach plum berry cherry melon carrot tomato pumpkin".split()
COLORS = "red blue green yellow pink purple orange brown black white golden silver".split()
LOOKS = "big small shiny soft old new pretty round bright tiny lovely special funny long heavy".split()
NATURE = ("kind|curious|brave|shy|clever|happy|careful|cheerful|gentle|playful|friendly|quiet|busy|helpful|"
          "silly|lazy|stubborn|proud").split("|")
OUTSIDE = ("park|garden|forest|meadow|beach|farm|river|lake|field|hill|playground|village|yard|"
           "orchard|woods|pond").split("|")
NEAR = {"at": {"park", "beach", "farm", "river", "lake", "playground", "pond"}, "on": {"hill"}}
ROOMS = "kitchen bedroom attic garage cellar closet playroom hallway".split()
WEATHER = ("The sun was [shining|warm|bright|high in the sky].|It was a [warm|sunny|cold|windy|bright|quiet] "
           "[day|morning|afternoon].|The sky was [blue|grey|clear] and [the birds were singing|a soft wind blew|"
           "the air smelled [sweet|of flowers|of rain]].").split(".|")
GROWN = "mom mother mommy grandma aunt teacher dad father daddy grandpa uncle".split()
NAMED_KIN = "mom mommy dad daddy grandma grandpa".split()  # those that are called so
JOBS = ("baker farmer doctor gardener painter fisherman sailor shopkeeper librarian postman builder "
        "policeman").split()


def read_plots(path):
    """{name: (lesson, beats)}, a beat the list of ways to tell it; plots.txt says how it is written"""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    plots = {}
    for part in re.split(r"^= ", text, flags=re.M)[1:]:
        head, *beats = re.split(r"^==$", part, flags=re.M)
        name, lesson = head.split(":")
        plots[name] = lesson.strip(), [[" ".join(way.split()) for way in re.split(r"^- ", beat, flags=re.M)[1:]]
                                       for beat in beats]
    return plots


PLOTS = read_plots(Path(__file__).with_name("plots.txt"))
OPEN, ASIDE, CLOSE = (PLOTS.pop(part)[1][0] for part in ("open", "aside", "close"))


def expand(rng, text):
    """Take one of every [a|b|c], innermost first."""
    while "[" in text:
        text = re.sub(r"\[([^\[\]]*)\]", lambda m: rng.choice(m.group(1).split("|")), text)
    return text


def person(rng, taken):
    """(name, kind, pronouns); animals have names, too"""
    girl = rng.random() < 0.5
    name = rng.choice([n for n in (GIRLS if girl else BOYS) if n not in taken])
    kind = rng.choice(ANIMALS) if rng.random() < 0.35 else "girl" if girl else "boy"
    return name, kind, ("she", "her", "her") if girl else ("he", "him", "his")


def cast(rng, lesson):
    hero, kind, (he, him, his) = person(rng, [])
    friend, fkind, (fhe, fhim, fhis) = person(rng, [hero])
    kin = rng.choice(GROWN)
    place, place2 = rng.sample(OUTSIDE, 2)
    natures = rng.sample(NATURE, 3)
    room, room2 = rng.sample(ROOMS, 2)
    before = next((word for word, places in NEAR.items() if place in places), "in")
    words = dict(hero=hero, kind=kind, he=he, him=him, his=his, friend=friend, fkind=fkind, fhe=fhe, fhim=fhim,
                 fhis=fhis, kin=kin, kin_name=kin.capitalize() if kin in NAMED_KIN else f"{his} {kin}", place=place, place2=place2, at_place=f"{before} the {place}",
                 outdoors=f"{before} the {place}", nature=natures[0], nature2=natures[1], nature3=natures[2], room=room,
                 room2=room2, toy=rng.choice(TOYS), small=rng.choice(SMALL), food=rng.choice(FOOD),
                 color=rng.choice(COLORS), look=rng.choice(LOOKS), animal=rng.choice(ANIMALS), pet=rng.choice(PETS),
                 petname=rng.choice([n for n in PET_NAMES if n not in (hero, friend)]), fruit=rng.choice(FRUIT),
                 job=rng.choice(JOBS), weather=rng.choice(WEATHER).rstrip(".") + ".", lesson=lesson,
                 lesson_did=f"knew that {lesson}", lesson_said=lesson)
    words["fruit_s"] = words["fruit"][:-1] + "ies" if words["fruit"].endswith("y") else words["fruit"] + "s"
    words["weather"] = expand(rng, words["weather"])
    return words


def fill(text, words):
    def word(m):
        name = m.group(1)
        value = words[name if name in words else name[0].lower() + name[1:]]
        return value if name in words else value[0].upper() + value[1:]
    text = re.sub(r"\$([A-Za-z_]+2?3?)", word, text)
    text = re.sub(r"\b([Aa]) (?=[aeiou](?!ni|se|ne\b))", r"\1n ", text)
    text = re.sub(r" */ *", "\n\n", re.sub(r"  +", " ", text)).strip()
    return re.sub(r"(^|[.!?]\"? |\n\n\"?|, \"|[.!?] \")([a-z])",
                  lambda m: m.group(1) + m.group(2).upper() if not m.group(1).endswith('!" ')
                  and not m.group(1).endswith('?" ') else m.group(0), text)


def story(rng):
    lesson, beats = PLOTS[rng.choice(list(PLOTS))]
    told = [rng.choice(OPEN)] + [rng.choice(beat) for beat in beats]
    if rng.random() < 0.15:  # not every story has every beat
        del told[rng.randrange(2, len(told) - 1)]
    if rng.random() < 0.5:
        told.insert(rng.randrange(2, len(told)), rng.choice(ASIDE))
    joined = told[0] + (" " if rng.random() < 0.3 else " / ") + " ".join(told[1:]) + " / " + rng.choice(CLOSE)
    return fill(expand(rng, joined), cast(rng, lesson))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="a stories file")
    parser.add_argument("--bytes", type=float, default=8e6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, stories, size = random.Random(args.seed), {}, 0
    while size < args.bytes:
        text = story(rng)
        if text not in stories:
            stories[text] = True
            size += len(text)
    data.write_stories_file(args.out, stories)
    print(f"{len(stories)} stories, {size} characters")


if __name__ == "__main__":
    main()
