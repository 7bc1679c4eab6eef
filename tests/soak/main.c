/* soak PART [OPTION...] GOLDEN TABLE: soak.h says what it does, run.py runs it. */
#define _GNU_SOURCE

#include "soak.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

settings set;

void fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "FAILED %s:%d, seed %llu: ", file, line, (unsigned long long)set.seed);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "; the library's last text here: \"%s\"\n", wfvae_last_error(NULL));
    va_end(arguments);
    _exit(EXIT_FAILURE);
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    MUST(memory, "no memory for %zu bytes", size);
    return memory;
}

size_t chance(uint64_t *state, size_t below)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (size_t)((z ^ z >> 31) % below);
}

static void usage(void)
{
    fprintf(stderr, "usage: soak stream|open|threads [-n COUNT] [-s SECONDS] [-i INTERVAL] [-r SEED] [-p PLANT] GOLDEN TABLE\n"
                    "    PLANT: memory:BYTES, descriptor, thread or bit\n");
    exit(2);
}

static void read_plant(const char *text)
{
    if (!strncmp(text, "memory:", 7)) {
        set.planted = PLANT_MEMORY;
        set.planted_bytes = strtoul(text + 7, NULL, 10);
    } else if (!strcmp(text, "descriptor")) {
        set.planted = PLANT_DESCRIPTOR;
    } else if (!strcmp(text, "thread")) {
        set.planted = PLANT_THREAD;
    } else if (!strcmp(text, "bit")) {
        set.planted = PLANT_BIT;
    } else {
        usage();
    }
}

int main(int argc, char **argv)
{
    void (*part)(void) = NULL;
    int option;

    set.count = 1000;
    set.seconds = 10;
    set.interval = 2;
    set.seed = 1;
    while ((option = getopt(argc, argv, "n:s:i:r:p:")) != -1) {
        switch (option) {
        case 'n': set.count = strtoull(optarg, NULL, 10); break;
        case 's': set.seconds = strtod(optarg, NULL); break;
        case 'i': set.interval = strtod(optarg, NULL); break;
        case 'r': set.seed = strtoull(optarg, NULL, 10); break;
        case 'p': read_plant(optarg); break;
        default: usage();
        }
    }
    if (argc - optind != 3)
        usage();
    if (!strcmp(argv[optind], "stream"))
        part = part_stream;
    else if (!strcmp(argv[optind], "open"))
        part = part_open;
    else if (!strcmp(argv[optind], "threads"))
        part = part_threads;
    else
        usage();
    set.golden = argv[optind + 1];
    set.table = argv[optind + 2];
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    printf("part %s, seed %llu\n", argv[optind], (unsigned long long)set.seed);
    part();
    return 0;
}
