#include "launcher/keep/clock.h"

enum { TICK = 100000000 /* ns: file systems' clock and the others differ by less than that */ };

static long long nanoseconds(struct timespec time)
{
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

struct timespec keep_begun(struct timespec begun, struct timespec steady, struct timespec now, struct timespec steady_now)
{
    const long long back = nanoseconds(steady_now) - nanoseconds(steady) - (nanoseconds(now) - nanoseconds(begun));
    if (begun.tv_sec == 0 || back < TICK)
        return begun;
    const long long then = nanoseconds(begun) - back;
    return (struct timespec){then / 1000000000, then % 1000000000};
}
