/* The bundle format's numbers, and the rules on CONF. Written by .ci/generate from packer/format/bundle.toml: change that, not this. */
#ifndef SDEE_LAUNCHER_BUNDLE_RULES_H
#define SDEE_LAUNCHER_BUNDLE_RULES_H

#define FORMAT_VERSION 1u
#define MAGIC_FOOTER 0x184D2A5Du
#define MAGIC_TABLE 0x184D2A50u
#define FOOTER_NAME "SDEEBNDL"
#define TABLE_NAME "SDEETOC1"
#define FRAME_MAX 16777216u
#define LINK_MAX_BYTES 4095u
#define SECTIONS_MAX 16u
#define FOOTER_SIZE 128
#define ENTRY_SIZE 48

/* Offsets of fields. */
enum { FOOTER_AT_MAGIC = 0, FOOTER_AT_SIZE = 4, FOOTER_AT_NAME = 8, FOOTER_AT_VERSION = 16, FOOTER_AT_ZERO = 20, FOOTER_AT_LAUNCHER = 24,
    FOOTER_AT_PAYLOAD = 32, FOOTER_AT_TABLE = 40, FOOTER_AT_TABLE_SIZE = 48, FOOTER_AT_WHOLE = 56, FOOTER_AT_TABLE_DIGEST = 64,
    FOOTER_AT_LAUNCHER_DIGEST = 96 };
enum { ENTRY_AT_PATH = 0, ENTRY_AT_LINK = 4, ENTRY_AT_SIZE = 8, ENTRY_AT_OFFSET = 16, ENTRY_AT_MTIME = 24, ENTRY_AT_NSEC = 32, ENTRY_AT_MODE
    = 36, ENTRY_AT_FLAGS = 40, ENTRY_AT_ZERO = 44 };

enum { SECTION_STRS, SECTION_ENTR, SECTION_SHAS, SECTION_FRAM, SECTION_CONF, SECTION_META, SECTION_COUNT };
#define SECTION_TAGS "STRS", "ENTR", "SHAS", "FRAM", "CONF", "META"

/* What a value of CONF, or a word of it, may be. KIND_MORE: any more words. */
enum kind { KIND_END, KIND_MORE, KIND_TEXT, KIND_SOME, KIND_WORD, KIND_MACHINE, KIND_ABSOLUTE, KIND_PATH, KIND_PLACE, KIND_COUNT,
    KIND_OCTAL, KIND_VARIABLE, KIND_NAME, KIND_LIMIT, KIND_VERSION, KIND_USE, KIND_NEED };

/* ROW(key, least, most, what its value is called, kinds…) */
#define CONF_ROWS(ROW) \
    ROW("machine", 1, 1, "as uname -m prints", KIND_MACHINE) \
    ROW("program", 1, 1, "an absolute path", KIND_ABSOLUTE) \
    ROW("arg", 1, UINT32_MAX, "any text", KIND_TEXT) \
    ROW("kept-args", 0, 1, "a number from 1", KIND_COUNT) \
    ROW("cwd", 1, 1, "an absolute path", KIND_ABSOLUTE) \
    ROW("umask", 1, 1, "octal, 0 to 0777", KIND_OCTAL) \
    ROW("env", 0, UINT32_MAX, "NAME=VALUE", KIND_VARIABLE) \
    ROW("live-env", 0, UINT32_MAX, "not empty", KIND_SOME) \
    ROW("fixed-env", 0, UINT32_MAX, "not empty", KIND_SOME) \
    ROW("rlimit", 0, UINT32_MAX, "NAME LIMIT LIMIT", KIND_NAME, KIND_LIMIT, KIND_LIMIT) \
    ROW("os", 1, 1, "any text", KIND_TEXT) \
    ROW("libc", 0, 1, "an absolute path", KIND_ABSOLUTE) \
    ROW("interpreter", 0, UINT32_MAX, "an absolute path", KIND_ABSOLUTE) \
    ROW("live", 0, UINT32_MAX, "a normalised path or /", KIND_PLACE) \
    ROW("tree", 0, UINT32_MAX, "a normalised path or /", KIND_PLACE) \
    ROW("left-out", 0, UINT32_MAX, "a normalised path or /", KIND_PLACE) \
    ROW("unused", 0, UINT32_MAX, "a normalised path or /", KIND_PLACE) \
    ROW("fallback", 0, UINT32_MAX, "a normalised path", KIND_PATH) \
    ROW("host", 0, UINT32_MAX, "a normalised path or /", KIND_PLACE) \
    ROW("shared", 0, UINT32_MAX, "an absolute path", KIND_ABSOLUTE) \
    ROW("absent", 0, UINT32_MAX, "a normalised path", KIND_PATH) \
    ROW("looked-for", 0, UINT32_MAX, "an absolute path", KIND_ABSOLUTE) \
    ROW("incomplete", 0, UINT32_MAX, "any text", KIND_TEXT) \
    ROW("cpu", 0, 1, "a word", KIND_WORD) \
    ROW("isa", 0, 1, "WORD WORD", KIND_WORD, KIND_WORD) \
    ROW("kernel", 0, 1, "VERSION WORD", KIND_VERSION, KIND_WORD) \
    ROW("library-directory", 0, UINT32_MAX, "an absolute path", KIND_ABSOLUTE) \
    ROW("host-family", 0, UINT32_MAX, "WORD USE ...", KIND_WORD, KIND_USE, KIND_MORE) \
    ROW("host-need", 0, UINT32_MAX, "WORD NEED WORD ...", KIND_WORD, KIND_NEED, KIND_WORD, KIND_MORE) \
    ROW("host-symbols", 0, UINT32_MAX, "WORD WORD ...", KIND_WORD, KIND_WORD, KIND_MORE) \
    ROW("host-used", 0, UINT32_MAX, "a word", KIND_WORD) \
    ROW("provides", 0, UINT32_MAX, "WORD ...", KIND_WORD, KIND_MORE)

#endif
