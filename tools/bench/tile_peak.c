/* Measures the peak of the CPU's matrix unit (Intel AMX): products of tiles of bfloat16 that stay in registers, for bench.py.
 *
 *     tile_peak THREADS SECONDS
 *
 * The threads work at the same time, in rounds; the best round counts. Output is that of peer.py.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>

#if defined(__linux__) && defined(__x86_64__)

#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 1024, LOOPS = 20000, PASSES = 25, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

/* Four products of 16 x 16 sums of 32 products each. */
#define LOOP_FLOP (4.0 * 2 * 16 * 16 * 32)

static pthread_barrier_t barrier;
static int ended;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Eight tiles of 16 rows of 64 bytes: four of sums, and two and two that are multiplied. */
static void configure(void)
{
    unsigned char config[64] __attribute__((aligned(64))) = {1};
    static uint16_t ones[512];
    int i;

    for (i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
    for (i = 0; i < 512; i++)
        ones[i] = 0x3f80;
    __asm__ volatile("tileloadd (%0, %1, 1), %%tmm4\n\t"
                     "tileloadd (%0, %1, 1), %%tmm5\n\t"
                     "tileloadd (%0, %1, 1), %%tmm6\n\t"
                     "tileloadd (%0, %1, 1), %%tmm7"
                     : : "r"(ones), "r"((intptr_t)64) : "memory");
}

/* None of the four waits for another's sums. */
static void multiply(void)
{
    long left = LOOPS;

    __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n"
                     "1:\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
                     "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
                     "dec %0\n\t"
                     "jnz 1b"
                     : "+r"(left) : : "cc");
}

static void *work(void *unused)
{
    int i;

    (void)unused;
    configure();
    for (;;) {
        pthread_barrier_wait(&barrier);
        if (ended)
            break;
        for (i = 0; i < PASSES; i++)
            multiply();
        pthread_barrier_wait(&barrier);
    }
    __asm__ volatile("tilerelease");
    return NULL;
}

int main(int argc, char **argv)
{
    const long threads = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    const double seconds = argc == 3 ? strtod(argv[2], NULL) : 0;
    pthread_t others[MOST_THREADS];
    double end, start, took, best = 0;
    long i, rounds;

    if (threads < 1 || threads > MOST_THREADS) {
        fputs("usage: tile_peak THREADS SECONDS\n", stderr);
        return 2;
    }
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA)) {
        perror("bench: the system does not let this process use the CPU's matrix unit");
        return EXIT_FAILURE;
    }
    printf("{\"event\": \"loaded\", \"load_seconds\": 0}\n");
    fflush(stdout);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (i = 0; i < threads; i++)
        if (pthread_create(&others[i], NULL, work, NULL)) {
            fputs("bench: no more threads\n", stderr);
            return EXIT_FAILURE;
        }
    end = now() + seconds;
    for (rounds = 0; rounds < 3 || now() < end; rounds++) {
        /* Before the others begin, as this thread may get no CPU while they work. */
        start = now();
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        took = now() - start;
        if ((double)threads * PASSES * LOOPS * LOOP_FLOP / took > best)
            best = (double)threads * PASSES * LOOPS * LOOP_FLOP / took;
    }
    ended = 1;
    pthread_barrier_wait(&barrier);
    for (i = 0; i < threads; i++)
        pthread_join(others[i], NULL);
    printf("{\"event\": \"done\", \"gflops\": %.1f}\n", best / 1e9);
    fflush(stdout);
    while (getchar() != EOF) {}
    return EXIT_SUCCESS;
}

#else

int main(void)
{
    fputs("bench: there is no such unit in CPUs other than x86-64, or it is used on Linux only\n", stderr);
    return EXIT_FAILURE;
}

#endif
