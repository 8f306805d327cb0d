/* Files of an environment's directory: its mount plan and its list of owners. Input: u8 which, the file. */
#include <sys/stat.h>

#include "env/plan.c"
#include "env/supervisor/owners.c"

#include "fuzz.h"

int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
    (void)path, (void)mode; /* overlay_options() makes the work directory */
    return 0;
}

static void read_plan(const char *file)
{
    static char options[4096];
    struct steps plan;
    struct error error = {0};
    const bool good = plan_read(file, &plan, &error);
    for (unsigned i = 0; i < plan.count; i++) {
        struct step *step = &plan.items[i];
        MUST(!good || step->path[0] == '/');
        if (step->kind == STEP_OVERLAY && overlay_options(options, sizeof options, step))
            MUST(strlen(options) + 2 < sizeof options);
        free(step->path);
        free(step->argument);
        free(step->work);
        free(step->lower);
    }
    free(plan.items);
}

static void read_owners(const uint8_t *data, size_t size)
{
    static int directory = -1;
    if (directory < 0)
        directory = open(fuzz_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int file = openat(directory, "owners", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    close(file);
    owners_load(directory);
    for (size_t i = 0; i < entry_count; i++)
        MUST(find(&entries[i]) == &entries[i]);
    close(log_fd);
    free(entries);
    free(slots);
    entries = NULL;
    slots = NULL;
    entry_count = entry_room = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const int before = fuzz_descriptors();
    if (take(&input) % 2 == 0)
        read_plan(fuzz_file(input.at, input.left));
    else
        read_owners(input.at, input.left);
    static int kept = 2; /* of the harness: the file and the directory, once each */
    const int more = fuzz_descriptors() - before;
    MUST(more >= 0 && (kept -= more) >= 0);
    return 0;
}
