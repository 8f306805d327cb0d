/* One frame of the payload: checked, then decoded. What both ways to a closure's content share: unpack.c and lazy/. */
#ifndef SDEE_LAUNCHER_BUNDLE_FRAME_H
#define SDEE_LAUNCHER_BUNDLE_FRAME_H

#include "launcher/bundle/table.h"

/* What a thread decodes with: room for a frame's bytes, and libzstd's context. */
struct decoder {
    uint8_t *source;
    struct ZSTD_DCtx_s *context;
};

/* False without memory; what was allocated is still decoder_free()'s. */
bool decoder_make(struct decoder *decoder, const struct bundle *bundle);
void decoder_free(struct decoder *decoder);

/* Bytes that a decoder takes. */
uint64_t decoder_memory(const struct bundle *bundle);

/* Bytes of content of the largest frame; at least 1. */
uint64_t frame_largest(const struct bundle *bundle);

/* Index of the frame that holds this byte of the stream; frame_count behind its end. */
uint32_t frame_at(const struct bundle *bundle, uint64_t offset);

/* Is there room for the frame's bytes in a decoder? Errors: EXIT_BUNDLE. */
bool frame_fits(const struct bundle *bundle, uint32_t index, struct error *error);

/* Decode the frame whose bytes are in decoder->source, which nobody can change any more, into `content`, of its size. Its head, length and
 * checksum are compared with the table. Errors: EXIT_BUNDLE. */
bool frame_decode(const struct bundle *bundle, uint32_t index, const struct decoder *decoder, uint8_t *content, struct error *error);

/* Index of the first content that ends behind this byte of the stream; content_count for none. */
uint32_t content_behind(const struct bundle *bundle, uint64_t offset);

#endif
