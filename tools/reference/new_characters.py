"""new_characters.py - write tokenizer/newchars.inc and newforms.inc: where Unicode versions differ.

The `tokenizers` library classifies characters by a newer Unicode than Debian's PCRE2. For every
character that is unassigned there and assigned here, newchars.inc names an older character of the
same category, script type (Han or not) and UTF-8 length that stands in for it while text is split.

Its normal forms, on the other hand, are those of an older Unicode than utf8proc's: newforms.inc
lists the marks and the decomposable characters that it leaves alone.

Which characters its StripAccents takes for marks, and its Punctuation for punctuation, comes from
older tables still: newmarks.inc and newpunct.inc list those where utf8proc's category says otherwise.

    python3 tools/reference/new_characters.py split > tokenizer/newchars.inc
    python3 tools/reference/new_characters.py forms > tokenizer/newforms.inc
    python3 tools/reference/new_characters.py marks > tokenizer/newmarks.inc
    python3 tools/reference/new_characters.py punct > tokenizer/newpunct.inc
"""
import ctypes
import ctypes.util
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

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


def split_rows():
    unknown = unknown_to_pcre2()
    kind = {}
    for category in CATEGORIES:
        kind.update((c, category) for c in known_to_tokenizers(category) & unknown)
    kind.update((c, "Han") for c in known_to_tokenizers("Han") & unknown)
    return [(c, STAND_INS[kind[c], len(chr(c).encode())]) for c in sorted(kind)]


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


def form_rows():
    utf8proc = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    utf8proc.utf8proc_get_property.restype = ctypes.POINTER(Property)
    stable, compat, decompose = 2, 4, 16

    def ours(text):
        out = ctypes.c_char_p()
        data = text.encode()
        n = utf8proc.utf8proc_map(data, len(data), ctypes.byref(out), stable | compat | decompose)
        return ctypes.string_at(out, n).decode()

    theirs = normalizers.NFKD().normalize_str
    rows = []
    for c in CHARACTERS:
        mark = utf8proc.utf8proc_get_property(c).contents.combining_class != 0
        # a mark sorts after U+0334 (class 1) or before U+0345 (class 240)
        sorts = (theirs("x" + chr(c) + "\u0334") == "x\u0334" + chr(c)
                 or theirs("x\u0345" + chr(c)) == "x" + chr(c) + "\u0345")
        if ours(chr(c)) != theirs(chr(c)) or (mark and not sorts and ours(chr(c)) == chr(c)):
            rows.append((c, 0))
            rows.extend((ord(part), 0) for part in ours(chr(c))[1:] if len(ours(chr(c))) > 1
                        and ours(part) == part and ord(part) > 0x10000)
    return sorted(set(rows))


def of_category(first):
    """All characters whose category begins with this letter, by utf8proc."""
    utf8proc = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
    return {c for c in CHARACTERS if utf8proc.utf8proc_category_string(c).decode()[0] == first}


def mark_rows():
    strip, marks = normalizers.StripAccents().normalize_str, of_category("M")
    return [(c, 0) for c in CHARACTERS if (strip(chr(c)) == "") != (c in marks)]


def punct_rows():
    cut = pre_tokenizers.Punctuation("removed").pre_tokenize_str
    signs = of_category("P") | set(map(ord, "$+<=>^`|~"))
    return [(c, 0) for c in CHARACTERS if (not cut(chr(c))) != (c in signs)]


def main():
    forms = sys.argv[1:] != ["split"]
    make = {"split": split_rows, "forms": form_rows, "marks": mark_rows, "punct": punct_rows}
    rows = []
    for c, stand_in in make[sys.argv[1]]():
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == stand_in:
            rows[-1][1] = c
        else:
            rows.append([c, c, stand_in])
    print("/* written by tools/reference/new_characters.py: first, last%s */"
          % ("" if forms else ", what stands in"))
    for i in range(0, len(rows), 3):
        print(" ".join("{0x%05x, 0x%05x, 0}," % tuple(row[:2]) if forms else
                       "{0x%05x, 0x%05x, 0x%05x}," % tuple(row) for row in rows[i:i + 3]))


if __name__ == "__main__":
    main()
