/* What the process holds, as lines of a table, and what is planted to be found in it. */
#define _GNU_SOURCE

#include "os.h"
#include "soak.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static FILE *table;
static double start, last;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double seconds_since_start(void)
{
    return now() - start;
}

/* A line of /proc/self/status, in bytes. */
static unsigned long long status(const char *name)
{
    const size_t length = strlen(name);
    unsigned long long kib = 0;
    char line[256];
    int found = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && !found && fgets(line, sizeof line, file))
        found = !strncmp(line, name, length) && sscanf(line + length, ": %llu kB", &kib) == 1;
    MUST(found, "/proc/self/status has no %s", name);
    fclose(file);
    return kib * 1024;
}

/* Without the one that reads the folder. */
static int descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = -1;

    MUST(folder, "/proc/self/fd");
    while ((entry = readdir(folder)))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* A thread that was joined stays listed for a moment. */
static int threads(void)
{
    static int before;
    int count = os_thread_count(), tries;

    for (tries = 0; tries < 50 && count > before && before; tries++) {
        usleep(2000);
        count = os_thread_count();
    }
    before = count;
    return count;
}

void sample(uint64_t done, size_t held)
{
    const struct mallinfo2 heap = mallinfo2();

    last = now();
    fprintf(table, "%.3f,%llu,%llu,%llu,%llu,%d,%d\n", last - start, (unsigned long long)done, status("VmRSS"), status("RssAnon"),
            (unsigned long long)(heap.uordblks + heap.hblkhd - held), descriptors(), threads());
    MUST(!fflush(table), "%s cannot be written", set.table);
}

void samples_open(void)
{
    table = fopen(set.table, "w");
    MUST(table, "%s cannot be written", set.table);
    fprintf(table, "seconds,done,resident,anonymous,heap,descriptors,threads\n");
    start = now();
}

int sample_is_due(void)
{
    return now() - last >= set.interval;
}

void samples_close(void)
{
    MUST(!fclose(table), "%s cannot be written", set.table);
}

/* ---- what is planted ---- */

/* Descriptors and threads are limited, so that many are as bad as one for each. */
enum { RARE = 50, MOST = 300 };

static void *sleeps(void *unused)
{
    for (;;)
        pause();
    return unused;
}

void plant_something(uint64_t done)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int planted;
    static void *volatile lost;
    pthread_t thread;
    int rare;

    if (set.planted == PLANT_NOTHING)
        return;
    pthread_mutex_lock(&lock);
    rare = done % RARE == 0 && planted < MOST;
    if (set.planted == PLANT_MEMORY)
        lost = allocate(set.planted_bytes);
    if (set.planted == PLANT_DESCRIPTOR && rare) {
        planted++;
        MUST(dup(STDOUT_FILENO) >= 0, "dup");
    }
    if (set.planted == PLANT_THREAD && rare) {
        planted++;
        MUST(!pthread_create(&thread, NULL, sleeps, NULL), "thread");
    }
    (void)lost;
    pthread_mutex_unlock(&lock);
}

int plant_bit(int late)
{
    static int planted;
    const int now_it_is = set.planted == PLANT_BIT && late && !planted;

    planted = planted || now_it_is;
    return now_it_is;
}
