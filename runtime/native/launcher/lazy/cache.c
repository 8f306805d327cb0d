#include "launcher/lazy/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_FRAME UINT32_MAX
#define NO_SLOT UINT32_MAX

enum { USUAL = 32 << 20 /* bytes: by measurement enough for frames of 512 KiB */, LEAST = 16, MOST = 256 /* slots */ };

static uint32_t slots_for(const struct bundle *bundle, unsigned users)
{
    const uint64_t usual = USUAL / frame_largest(bundle);
    const uint32_t count = usual > MOST ? MOST : usual < LEAST ? LEAST : (uint32_t)usual;
    return count > 2 * users ? count : 2 * users;
}

uint64_t cache_memory(const struct bundle *bundle, unsigned users)
{
    return slots_for(bundle, users) * frame_largest(bundle) + bundle->frame_count * (uint64_t)(sizeof(uint32_t) + 1);
}

bool cache_make(struct cache *cache, const struct bundle *bundle, unsigned users)
{
    *cache = (struct cache){.bundle = bundle, .lock = PTHREAD_MUTEX_INITIALIZER, .decoded = PTHREAD_COND_INITIALIZER};
    cache->slot_count = slots_for(bundle, users);
    cache->room_of_one = (frame_largest(bundle) + 4095) / 4096 * 4096;
    cache->slots = calloc(cache->slot_count, sizeof *cache->slots);
    cache->slot_of = malloc((bundle->frame_count + (size_t)1) * sizeof *cache->slot_of);
    cache->reads = calloc(bundle->frame_count + (size_t)1, 1);
    void *const room = mmap(NULL, cache->slot_count * cache->room_of_one, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cache->room = room != MAP_FAILED ? room : NULL;
    if (cache->slots == NULL || cache->slot_of == NULL || cache->reads == NULL || cache->room == NULL)
        return false;
    memset(cache->slot_of, 0xff, (bundle->frame_count + (size_t)1) * sizeof *cache->slot_of);
    for (uint32_t i = 0; i < cache->slot_count; i++)
        cache->slots[i].frame = NO_FRAME;
    return true;
}

void cache_free(struct cache *cache)
{
    free(cache->slots);
    free(cache->slot_of);
    free(cache->reads);
    if (cache->room != NULL)
        munmap(cache->room, cache->slot_count * cache->room_of_one);
}

/* Is the file the one that was opened, as far as that can be told for nothing? Written in place: its time tells, and then its footer, which has
 * the table's digest. */
static bool is_unchanged(const struct bundle *bundle, struct error *error)
{
    static const char hint[] = "copy a new bundle under another name and rename(2) it, as cp --remove-destination does";
    const size_t at = bundle->map_size - FOOTER_SIZE;
    uint8_t footer[FOOTER_SIZE];
    struct stat status;
    if (fstat(bundle->fd, &status) != 0)
        return fail(error, EXIT_BUNDLE, NULL, "cannot read %s: %s", bundle->name, strerror(errno));
    if (status.st_size < (off_t)bundle->map_size)
        return fail(error, EXIT_BUNDLE, hint, "%s was truncated while the job ran: %llu bytes of %zu", bundle->name, (unsigned long long)status.st_size,
                    bundle->map_size);
    if (status.st_mtim.tv_sec == bundle->mtime.tv_sec && status.st_mtim.tv_nsec == bundle->mtime.tv_nsec)
        return true;
    return (pread(bundle->fd, footer, sizeof footer, (off_t)at) == FOOTER_SIZE && memcmp(footer, bundle->map + at, sizeof footer) == 0) ||
           fail(error, EXIT_BUNDLE, hint, "%s was changed while the job ran", bundle->name);
}

/* By pread(2) into memory of our own: what is checked is what is decoded, and a file that is cut meanwhile is an error and no signal. */
static bool read_frame(const struct bundle *bundle, uint32_t index, const struct decoder *decoder, uint8_t *content, struct error *error)
{
    const struct frame *frame = &bundle->frames[index];
    if (!frame_fits(bundle, index, error))
        return false;
    for (uint64_t done = 0; done < frame->compressed;) {
        const ssize_t count = pread(bundle->fd, decoder->source + done, frame->compressed - done, (off_t)(frame->at + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return fail(error, EXIT_BUNDLE, NULL, "cannot read %s: %s", bundle->name, strerror(errno));
        if (count == 0)
            return is_unchanged(bundle, error) && fail(error, EXIT_BUNDLE, NULL, "%s ends in frame %u", bundle->name, index);
        done += (uint64_t)count;
    }
    return is_unchanged(bundle, error) && frame_decode(bundle, index, decoder, content, error);
}

/* The slot that was used longest ago. There is one: each of cache_make()'s users holds two at most. */
static uint32_t oldest(const struct cache *cache)
{
    uint32_t found = NO_SLOT;
    for (uint32_t i = 0; i < cache->slot_count; i++) {
        const struct slot *slot = &cache->slots[i];
        if (slot->users == 0 && !slot->decoding && (found == NO_SLOT || slot->used < cache->slots[found].used))
            found = i;
    }
    return found;
}

const uint8_t *cache_take(struct cache *cache, const struct decoder *decoder, uint32_t frame, struct error *error)
{
    bool good = true;
    pthread_mutex_lock(&cache->lock);
    uint32_t at = cache->slot_of[frame];
    while (at != NO_SLOT && cache->slots[at].decoding) { /* by another thread; of a frame that it cannot decode nothing is left */
        pthread_cond_wait(&cache->decoded, &cache->lock);
        at = cache->slot_of[frame];
    }
    const bool there = at != NO_SLOT;
    if (!there)
        at = oldest(cache);
    struct slot *slot = &cache->slots[at];
    uint8_t *content = cache->room + at * cache->room_of_one;
    if (!there) {
        if (slot->frame != NO_FRAME)
            cache->slot_of[slot->frame] = NO_SLOT;
        *slot = (struct slot){.frame = frame, .decoding = true};
        cache->slot_of[frame] = at;
        pthread_mutex_unlock(&cache->lock);
        good = read_frame(cache->bundle, frame, decoder, content, error);
        pthread_mutex_lock(&cache->lock);
        slot->decoding = false;
        if (!good) {
            slot->frame = NO_FRAME;
            cache->slot_of[frame] = NO_SLOT;
        }
        pthread_cond_broadcast(&cache->decoded);
    }
    if (good) {
        slot->users++;
        slot->used = ++cache->clock;
    }
    pthread_mutex_unlock(&cache->lock);
    return good ? content : NULL;
}

void cache_give_back(struct cache *cache, uint32_t frame)
{
    pthread_mutex_lock(&cache->lock);
    cache->slots[cache->slot_of[frame]].users--;
    pthread_mutex_unlock(&cache->lock);
}

bool cache_was_read(struct cache *cache, uint32_t frame, unsigned nth)
{
    pthread_mutex_lock(&cache->lock);
    const bool is_nth = cache->reads[frame] < UINT8_MAX && ++cache->reads[frame] == nth;
    pthread_mutex_unlock(&cache->lock);
    return is_nth;
}
