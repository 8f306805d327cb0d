#include "env/supervisor/steps.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "lib/beneath.h"
#include "lib/sys.h"

void steps_identify(struct steps *steps, int root)
{
    for (unsigned i = 0; i < steps->count; i++) {
        struct statx buffer;
        const int fd = in_root(root, steps->items[i].path, true);
        if (fd >= 0 && sys_statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &buffer) == 0 && (buffer.stx_mask & STATX_MNT_ID) != 0) {
            steps->items[i].mount_id = buffer.stx_mnt_id;
            steps->items[i].device[0] = buffer.stx_dev_major;
            steps->items[i].device[1] = buffer.stx_dev_minor;
        }
        if (fd >= 0)
            close(fd);
    }
}

const struct step *step_of(const struct steps *steps, const struct statx *file)
{
    for (unsigned i = steps->count; i-- > 0;)
        if (steps->items[i].mount_id == file->stx_mnt_id && steps->items[i].kind != STEP_DIR && steps->items[i].kind != STEP_LINK)
            return &steps->items[i];
    for (unsigned i = steps->count; i-- > 0;) {
        const struct step *step = &steps->items[i];
        if (step->kind == STEP_OVERLAY && step->mount_id != 0 && step->device[0] == file->stx_dev_major && step->device[1] == file->stx_dev_minor)
            return step;
    }
    return NULL;
}
