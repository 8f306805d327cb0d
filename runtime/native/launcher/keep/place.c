#include "launcher/keep/place.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { OPEN = 64 /* so many of a chain stay open */ };

int keep_open_place(struct place *place)
{
    while (place->fd < 0) {
        struct place *next = place;
        while (next->above != NULL && next->above->fd < 0)
            next = next->above;
        if (next->above == NULL) {
            errno = ENOENT;
            return -1;
        }
        next->fd = openat(next->above->fd, next->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next->fd < 0)
            return -1;
        keep_spare_place(next);
    }
    return place->fd;
}

void keep_spare_place(struct place *place)
{
    for (int i = 0; i < OPEN && place != NULL; i++)
        place = place->above;
    if (place == NULL || place->above == NULL || place->fd < 0)
        return;
    close(place->fd);
    place->fd = -1;
}
