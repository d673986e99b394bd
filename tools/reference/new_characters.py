"""new_characters.py - write tokenizer/newchars.inc: characters that PCRE2's tables do not know yet.

The `tokenizers` library classifies characters by a newer Unicode than Debian's PCRE2. For every
character that is unassigned there and assigned here, the table names an older character of the same
category, script type (Han or not) and UTF-8 length that stands in for it while text is split.

    python3 tools/reference/new_characters.py > tokenizer/newchars.inc
"""
import ctypes
import ctypes.util

from tokenizers import Regex, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cf".split()
STAND_INS = {  # (category, UTF-8 length): a character of Unicode 13 or older
    ("Lu", 3): 0x1E00, ("Lu", 4): 0x10400, ("Ll", 3): 0x1E01, ("Ll", 4): 0x10428,
    ("Lm", 4): 0x16B40, ("Lo", 3): 0x0E01, ("Lo", 4): 0x10000, ("Han", 4): 0x20000,
    ("Mn", 3): 0x0E31, ("Mn", 4): 0x101FD, ("Mc", 3): 0x0903, ("Mc", 4): 0x11000,
    ("Nd", 4): 0x104A0, ("No", 4): 0x10107, ("Po", 3): 0x0964, ("Po", 4): 0x10100,
    ("Pd", 4): 0x10EAD, ("So", 3): 0x2400, ("So", 4): 0x1F300, ("Sm", 4): 0x1D6C1,
    ("Cf", 4): 0x110BD,
}
CHARACTERS = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]


def known_to_tokenizers(name):
    """All characters of the property, by keeping nothing else of a text that holds each once."""
    split = pre_tokenizers.Split(Regex(r"\p{%s}" % name), behavior="removed", invert=True)
    parts = split.pre_tokenize_str("".join(map(chr, CHARACTERS)))
    return {ord(c) for part, _ in parts for c in part}


def unknown_to_pcre2():
    pcre2 = ctypes.CDLL(ctypes.util.find_library("pcre2-8"))
    pcre2.pcre2_compile_8.restype = ctypes.c_void_p
    pcre2.pcre2_match_data_create_8.restype = ctypes.c_void_p
    error, offset = ctypes.c_int(), ctypes.c_size_t()
    utf, ucp = 0x00080000, 0x00020000
    pattern = rb"\p{Cn}"
    code = pcre2.pcre2_compile_8(pattern, ctypes.c_size_t(len(pattern)), utf | ucp,
                                 ctypes.byref(error), ctypes.byref(offset), None)
    data = ctypes.c_void_p(pcre2.pcre2_match_data_create_8(1, None))
    unknown = set()
    for c in CHARACTERS:
        text = chr(c).encode()
        if pcre2.pcre2_match_8(ctypes.c_void_p(code), text, ctypes.c_size_t(len(text)),
                               ctypes.c_size_t(0), 0, data, None) > 0:
            unknown.add(c)
    return unknown


def main():
    unknown = unknown_to_pcre2()
    kind = {}
    for category in CATEGORIES:
        kind.update((c, category) for c in known_to_tokenizers(category) & unknown)
    kind.update((c, "Han") for c in known_to_tokenizers("Han") & unknown)
    rows = []
    for c in sorted(kind):
        stand_in = STAND_INS[kind[c], len(chr(c).encode())]
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == stand_in:
            rows[-1][1] = c
        else:
            rows.append([c, c, stand_in])
    print("/* written by tools/reference/new_characters.py: first, last, what stands in */")
    for i in range(0, len(rows), 3):
        print(" ".join("{0x%05x, 0x%05x, 0x%05x}," % tuple(row) for row in rows[i:i + 3]))


if __name__ == "__main__":
    main()
