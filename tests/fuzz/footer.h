/* A bundle of a payload and a table: the frames around them and a footer whose sizes and digests fit, since these would stop nearly every
 * input at the first step. */
#ifndef SDEE_FUZZ_FOOTER_H
#define SDEE_FUZZ_FOOTER_H

#include "fuzz.h"
#include "launcher/bundle/bundle.h"
#include "launcher/bundle/sha256.h"
#include "lib/bytes.h"

static inline uint8_t *with_footer(const uint8_t *payload, size_t payload_size, const uint8_t *table, size_t table_size, size_t *whole)
{
    const size_t launcher = 1, at = launcher + payload_size + 8; /* a byte stands for it */
    *whole = at + table_size + FOOTER_SIZE;
    uint8_t *file = calloc(1, *whole), *footer = file + *whole - FOOTER_SIZE;
    if (payload_size > 0)
        memcpy(file + launcher, payload, payload_size);
    put_number(file + at - 8, MAGIC_TABLE, 4);
    put_number(file + at - 4, table_size, 4);
    if (table_size > 0)
        memcpy(file + at, table, table_size);
    put_number(footer + FOOTER_AT_MAGIC, MAGIC_FOOTER, 4);
    put_number(footer + FOOTER_AT_SIZE, FOOTER_SIZE - 8, 4);
    memcpy(footer + FOOTER_AT_NAME, FOOTER_NAME, sizeof FOOTER_NAME - 1);
    put_number(footer + FOOTER_AT_VERSION, FORMAT_VERSION, 4);
    put_number(footer + FOOTER_AT_LAUNCHER, launcher, 8);
    put_number(footer + FOOTER_AT_PAYLOAD, payload_size, 8);
    put_number(footer + FOOTER_AT_TABLE, at, 8);
    put_number(footer + FOOTER_AT_TABLE_SIZE, table_size, 8);
    put_number(footer + FOOTER_AT_WHOLE, *whole, 8);
    sha256(file + at, table_size, footer + FOOTER_AT_TABLE_DIGEST);
    sha256(file, launcher, footer + FOOTER_AT_LAUNCHER_DIGEST);
    return file;
}

/* A table of these sections, each where it must be. */
static inline uint8_t *with_heads(const uint8_t *const sections[6], const size_t sizes[6], size_t *whole)
{
    static const char tags[] = "STRSENTRSHASFRAMCONFMETA";
    size_t at = 16 + 6 * 24;
    *whole = at;
    for (int i = 0; i < 6; i++)
        *whole = (*whole + 7) / 8 * 8 + sizes[i];
    uint8_t *table = calloc(1, *whole + 8);
    memcpy(table, "SDEETOC1", 8);
    put_number(table + 8, 6, 4);
    for (int i = 0; i < 6; i++) {
        at = (at + 7) / 8 * 8;
        memcpy(table + 16 + 24 * i, tags + 4 * i, 4);
        put_number(table + 16 + 24 * i + 8, at, 8);
        put_number(table + 16 + 24 * i + 16, sizes[i], 8);
        if (sizes[i] > 0)
            memcpy(table + at, sections[i], sizes[i]);
        at += sizes[i];
    }
    return table;
}

/* CONF with which bundle_parse() is content. */
static const char LEAST_CONF[] = "machine\0x86_64\0program\0/p\0arg\0p\0cwd\0/\0umask\0" "022\0os\0debian 12";

#endif
