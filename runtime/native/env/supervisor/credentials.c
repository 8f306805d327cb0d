#include "env/supervisor/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/supervisor/waiting.h"
#include "lib/arena.h"

enum { SLACK = 50000 }; /* the kernel's own default: 50 microseconds; a nanosecond more or less is nothing */

static struct creds *known;
static unsigned count;
static atomic_uint published;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const struct creds ROOT = {.group_count = -1, .permitted = 1, .effective = 1};

bool creds_used(void)
{
    return atomic_load_explicit(&published, memory_order_relaxed) > 0;
}

/* By the text of /proc/PID/timerslack_ns. */
static bool find(const char *text, struct creds *creds)
{
    const unsigned long number = strtoul(text, NULL, 10) - SLACK;
    pthread_mutex_lock(&lock);
    const bool found = number >= 1 && number <= count;
    if (found)
        *creds = known[number - 1];
    pthread_mutex_unlock(&lock);
    return found;
}

enum creds_kind creds_of(const struct stop *stop, struct creds *creds)
{
    char text[32];
    *creds = ROOT;
    if (!creds_used())
        return CREDS_ROOT;
    if (!text_of(stop, "timerslack_ns", text, sizeof text))
        return still_waits(stop) ? CREDS_ROOT : CREDS_GONE;
    return find(text, creds) ? CREDS_OTHERS : CREDS_ROOT;
}

bool creds_of_process(pid_t pid, struct creds *creds)
{
    char name[64], text[32];
    *creds = ROOT;
    if (!creds_used())
        return false;
    snprintf(name, sizeof name, "/proc/%d/timerslack_ns", (int)pid);
    const int fd = open(name, O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
    return length > 0 && find(text, creds);
}

int creds_set(const struct stop *stop, const struct creds *creds)
{
    unsigned number = 0;
    pthread_mutex_lock(&lock);
    if (memcmp(creds, &ROOT, sizeof ROOT) != 0) {
        while (number < count && memcmp(&known[number], creds, sizeof *creds) != 0)
            number++;
        if (number == count) {
            known = reallocate(known, count + 1, sizeof *known);
            known[count++] = *creds;
            atomic_store(&published, count);
        }
        number++;
    }
    pthread_mutex_unlock(&lock);
    char text[32];
    const int length = snprintf(text, sizeof text, "%u", SLACK + number);
    const int fd = open_of(stop, "timerslack_ns", O_WRONLY);
    if (fd < 0)
        return fd;
    const int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
    close(fd);
    return result;
}
