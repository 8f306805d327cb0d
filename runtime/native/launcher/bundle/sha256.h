/* SHA-256 (FIPS 180-4). */
#ifndef SDEE_LAUNCHER_BUNDLE_SHA256_H
#define SDEE_LAUNCHER_BUNDLE_SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const uint8_t *data, size_t size, uint8_t digest[32]);

#endif
