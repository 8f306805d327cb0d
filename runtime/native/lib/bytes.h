/* Little-endian numbers of a bundle, at any address. */
#ifndef SDEE_LIB_BYTES_H
#define SDEE_LIB_BYTES_H

#include <stdint.h>

static inline uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint64_t read_u64(const uint8_t *bytes)
{
    return read_u32(bytes) | (uint64_t)read_u32(bytes + 4) << 32;
}

#endif
