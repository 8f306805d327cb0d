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
    *whole = payload_size + 8 + table_size + FOOTER_SIZE;
    uint8_t *file = calloc(1, *whole), *footer = file + *whole - FOOTER_SIZE;
    if (payload_size > 0)
        memcpy(file, payload, payload_size);
    put_number(file + payload_size, 0x184D2A50, 4);
    put_number(file + payload_size + 4, table_size, 4);
    if (table_size > 0)
        memcpy(file + payload_size + 8, table, table_size);
    put_number(footer, 0x184D2A5D, 4);
    put_number(footer + 4, 120, 4);
    memcpy(footer + 8, "SDEEBNDL", 8);
    put_number(footer + 16, 1, 4);
    put_number(footer + 32, payload_size, 8);
    put_number(footer + 40, payload_size + 8, 8);
    put_number(footer + 48, table_size, 8);
    put_number(footer + 56, *whole, 8);
    sha256(file + payload_size + 8, table_size, footer + 64);
    sha256(file, 0, footer + 96);
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
static const char LEAST_CONF[] = "machine\0x86_64\0program\0/p\0arg\0p\0cwd\0/\0umask\0" "022";

#endif
