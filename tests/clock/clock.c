/*
 * A clock of the wall that a test can turn while a process runs: preloaded, it adds the seconds in the file of
 * PIPETTE_CLOCK (eight bytes, as the machine writes a number) to the time of day, and leaves the monotonic clock alone.
 *
 * As with a clock that was really set, a wait for a time of day that has begun before the turn ends by the new time:
 * it is cut into short waits. A waiter may be woken for nothing, which C allows.
 *
 * Built and used by tests/it/support/clock.rs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 20000000L
#define SECOND_NS 1000000000L

static const volatile long long *turned;

static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PIPETTE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *turned, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        abort();
    turned = page;
}

static int real_time(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))next("clock_gettime");
    return real(clock, time);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = real_time(clock, time);
    if (!failed && turned && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += *turned;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* How librdkafka waits. */
int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec now, end;
    if (!real)
        real = (int (*)(cnd_t *, mtx_t *, const struct timespec *))next("cnd_timedwait");
    clock_gettime(CLOCK_REALTIME, &now);
    real_time(CLOCK_REALTIME, &end);
    long long left = (until->tv_sec - now.tv_sec) * SECOND_NS + (until->tv_nsec - now.tv_nsec);
    long long slice = left < 0 ? 0 : left < SLICE_NS ? left : SLICE_NS;
    end.tv_nsec += slice;
    end.tv_sec += end.tv_nsec / SECOND_NS;
    end.tv_nsec %= SECOND_NS;
    int woken = real(cond, mutex, &end);
    return woken == thrd_timedout && slice < left ? thrd_success : woken;
}
