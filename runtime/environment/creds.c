#include "creds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static int open_slack(pid_t tid, int flags)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/timerslack_ns", tid);
    return open(name, flags | O_CLOEXEC);
}

bool creds_of(pid_t tid, struct creds *creds)
{
    *creds = ROOT;
    if (!creds_used())
        return false;
    char text[32];
    const int fd = open_slack(tid, O_RDONLY);
    const ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return false;
    text[length] = '\0';
    const unsigned long number = strtoul(text, NULL, 10) - SLACK;
    pthread_mutex_lock(&lock);
    const bool found = number >= 1 && number <= count;
    if (found)
        *creds = known[number - 1];
    pthread_mutex_unlock(&lock);
    return found;
}

int creds_set(pid_t tid, const struct creds *creds)
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
    const int fd = open_slack(tid, O_WRONLY);
    if (fd < 0)
        return -errno;
    const int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
    close(fd);
    return result;
}
