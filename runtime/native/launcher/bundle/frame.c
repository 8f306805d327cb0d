#include "launcher/bundle/frame.h"

#include <stdlib.h>

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

static const char AGAIN[] = "copy or make the bundle again";

uint64_t frame_largest(const struct bundle *bundle)
{
    uint64_t largest = 1;
    for (uint32_t i = 0; i < bundle->frame_count; i++)
        if (bundle->frames[i].size > largest)
            largest = bundle->frames[i].size;
    return largest;
}

uint64_t decoder_memory(const struct bundle *bundle)
{
    return ZSTD_COMPRESSBOUND(frame_largest(bundle)) + ZSTD_estimateDCtxSize();
}

bool decoder_make(struct decoder *decoder, const struct bundle *bundle)
{
    decoder->source = malloc(ZSTD_COMPRESSBOUND(frame_largest(bundle)));
    decoder->context = ZSTD_createDCtx();
    return decoder->source != NULL && decoder->context != NULL;
}

void decoder_free(struct decoder *decoder)
{
    free(decoder->source);
    ZSTD_freeDCtx(decoder->context);
}

uint32_t frame_at(const struct bundle *bundle, uint64_t offset)
{
    uint32_t low = 0, high = bundle->frame_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (bundle->frames[middle].offset + bundle->frames[middle].size <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool frame_fits(const struct bundle *bundle, uint32_t index, struct error *error)
{
    const struct frame *frame = &bundle->frames[index];
    return frame->compressed <= ZSTD_COMPRESSBOUND(frame->size) ||
           fail(error, EXIT_BUNDLE, AGAIN, "%s is damaged or hostile: frame %u is larger than its content", bundle->name, index);
}

bool frame_decode(const struct bundle *bundle, uint32_t index, const struct decoder *decoder, uint8_t *content, struct error *error)
{
    const struct frame *frame = &bundle->frames[index];
    ZSTD_frameHeader header;
    if (ZSTD_getFrameHeader(&header, decoder->source, frame->compressed) != 0 || header.frameType != ZSTD_frame || !header.checksumFlag ||
        ZSTD_findFrameCompressedSize(decoder->source, frame->compressed) != frame->compressed) /* nothing behind it: see LEGACY in the Makefile */
        return fail(error, EXIT_BUNDLE, AGAIN, "%s is damaged: frame %u has no valid head", bundle->name, index);
    const size_t size = ZSTD_decompressDCtx(decoder->context, content, frame->size, decoder->source, frame->compressed);
    if (ZSTD_isError(size) || size != frame->size)
        return fail(error, EXIT_BUNDLE, AGAIN, "%s is damaged: frame %u: %s", bundle->name, index,
                    ZSTD_isError(size) ? ZSTD_getErrorName(size) : "shorter than the table says");
    return true;
}

uint32_t content_behind(const struct bundle *bundle, uint64_t offset)
{
    uint32_t low = 0, high = bundle->content_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct content *content = &bundle->contents[middle];
        if (content->offset + bundle->entries[content->entry].size <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
