/* Decoded frames, a few of them, for several threads: each frame is decoded once while it is there. */
#ifndef SDEE_LAUNCHER_LAZY_CACHE_H
#define SDEE_LAUNCHER_LAZY_CACHE_H

#include <pthread.h>

#include "launcher/bundle/frame.h"

struct slot {
    uint32_t frame; /* or NO_FRAME */
    uint32_t users; /* of its content; while there are any it stays */
    bool decoding;
    uint64_t used; /* when last, by `clock` */
};

struct cache {
    const struct bundle *bundle;
    pthread_mutex_t lock; /* of all below but what the content holds */
    pthread_cond_t decoded;
    struct slot *slots;
    uint32_t slot_count;
    uint32_t *slot_of; /* for each frame, or NO_SLOT */
    uint8_t *reads;    /* for each frame: by how many requests, up to 255 */
    uint64_t clock;
    uint8_t *room; /* of all slots' content */
    uint64_t room_of_one;
};

/* Room for as many frames as `users` threads may hold at once, two each, and for some more. False without memory. */
bool cache_make(struct cache *cache, const struct bundle *bundle, unsigned users);
void cache_free(struct cache *cache);

/* Bytes that it takes when it is full. */
uint64_t cache_memory(const struct bundle *bundle, unsigned users);

/* A frame's content, which stays until cache_give_back(); NULL when it cannot be read, or is not what the table says. A thread holds two at most.
 * Errors: EXIT_BUNDLE. */
const uint8_t *cache_take(struct cache *cache, const struct decoder *decoder, uint32_t frame, struct error *error);
void cache_give_back(struct cache *cache, uint32_t frame);

/* One more request has read of this frame: is it the `nth`? */
bool cache_was_read(struct cache *cache, uint32_t frame, unsigned nth);

#endif
