/* splits.h - the expressions by which well-known byte-level vocabularies cut text into words, in
 * Oniguruma's dialect (pattern.h). Formats that only name them look them up here.
 */
#ifndef KVASS_TOKENIZER_SPLITS_H
#define KVASS_TOKENIZER_SPLITS_H

#define SPLIT_GPT2                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPLIT_ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPLIT_LLAMA3                                                                               \
    SPLIT_ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"      \
                  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SPLIT_QWEN2                                                                                \
    SPLIT_ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"           \
                  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SPLIT_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SPLIT_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SPLIT_O200K                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" SPLIT_UPPER "*" SPLIT_LOWER "+" SPLIT_ENDINGS                         \
    "?|[^\\r\\n\\p{L}\\p{N}]?" SPLIT_UPPER "+" SPLIT_LOWER "*" SPLIT_ENDINGS                       \
    "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)"                      \
    "|\\s+"
#define SPLIT_TEKKEN                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" SPLIT_UPPER "*" SPLIT_LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" SPLIT_UPPER    \
    "+" SPLIT_LOWER "*"                                                                            \
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* as SPLIT_LLAMA3, but what a text ends with is one word even when it holds a line's end */
#define SPLIT_CL100K                                                                               \
    SPLIT_ENDINGS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"      \
                  "|\\s+\\z|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#endif
