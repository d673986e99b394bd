/* help.h - the words of --help (at most 40 lines each) and of `kvass help COMMAND`. */
#ifndef KVASS_TOOLS_HELP_H
#define KVASS_TOOLS_HELP_H

extern const char help_kvass[];
extern const char help_generate[], details_generate[];
extern const char help_inspect[];
extern const char help_tokenize[], help_detokenize[];
extern const char help_logits[];
extern const char help_eval[], details_eval[];
extern const char help_attention[], details_attention[];
extern const char help_report[], details_report[];
extern const char help_bench[], details_bench[];
extern const char help_tradeoff[], details_tradeoff[];
extern const char help_convert[], details_convert[];

#endif
