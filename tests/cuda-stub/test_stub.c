/* The stub itself: that it moves memory, counts it, and ends the process where CUDA is used wrongly. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int cudaMalloc(void **out, size_t size);
int cudaFree(void *at);
int cudaHostAlloc(void **out, size_t size, unsigned flags);
int cudaFreeHost(void *at);
int cudaMemcpy(void *to, const void *from, size_t size, int kind);
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream);
int cudaStreamCreate(void **out);
int cudaStreamDestroy(void *stream);
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags);
int cudaEventCreate(void **out);
int cudaEventRecord(void *event, void *stream);
int cudaEventSynchronize(void *event);
int cudaGetLastError(void);
/* As many as struct wfvae_stub_counters has. */
#define COUNTERS 21
void wfvae_stub_counters(uint64_t *out);
void wfvae_stub_fail(uint64_t nth);

enum { TO_DEVICE = 1, TO_HOST = 2, ON_DEVICE = 3, SIZE = 5000 };
static char host[2 * SIZE];
static int failures;

static void check(int good, const char *what) {
    if (!good)
        failures++, fprintf(stderr, "test_stub: %s\n", what);
}

static char *device(void) {
    void *at = NULL;
    check(cudaMalloc(&at, SIZE) == 0, "cudaMalloc");
    return at;
}

static void free_twice(void) { char *at = device(); cudaFree(at), cudaFree(at); }
static void free_inside(void) { cudaFree(device() + 256); }
static void free_host(void) { cudaFree(host); }
static void free_pinned(void) { void *at; cudaHostAlloc(&at, SIZE, 0), cudaFree(at); }
static void too_long(void) { cudaMemcpy(device(), host, SIZE + 1, TO_DEVICE); }
static void too_long_back(void) { cudaMemcpy(host, device() + 1, SIZE, TO_HOST); }
static void from_freed(void) { char *at = device(); cudaFree(at), cudaMemcpy(host, at, 1, TO_HOST); }
static void from_host(void) { cudaMemcpy(device(), host, 1, ON_DEVICE); }
static void to_device_as_host(void) { cudaMemcpy(device(), device(), 1, TO_HOST); }
static void touched(void) { *(volatile char *)device() = 1; }
static void touched_inside(void) { printf("%d", device()[SIZE - 1]); }
static void stream_twice(void) { void *s; cudaStreamCreate(&s), cudaStreamDestroy(s), cudaStreamDestroy(s); }
static void stream_gone(void) {
    void *s;
    cudaStreamCreate(&s), cudaStreamDestroy(s), cudaMemcpyAsync(device(), host, 1, TO_DEVICE, s);
}

/* Two streams that use the same bytes. `how`: 'n' without order, 'e' by an event that one waits for, 'o' by an event that was
 * set too early, 'c' by a wait of the CPU, 'r' both only read. */
static void two_streams(int how) {
    void *first, *second, *event;
    char *at = device(), *other = device();
    cudaStreamCreate(&first), cudaStreamCreate(&second), cudaEventCreate(&event);
    if (how == 'o')
        cudaEventRecord(event, first);
    if (how == 'r')
        cudaMemcpyAsync(host, at, SIZE, TO_HOST, first);
    else
        cudaMemcpyAsync(at, host, SIZE, TO_DEVICE, first);
    if (how == 'e' || how == 'c')
        cudaEventRecord(event, first);
    if (how == 'c')
        cudaEventSynchronize(event);
    else if (how != 'n' && how != 'r')
        cudaStreamWaitEvent(second, event, 0);
    cudaMemcpyAsync(other, at + 100, 10, ON_DEVICE, second);
    cudaStreamDestroy(first), cudaStreamDestroy(second);
}
static void without_order(void) { two_streams('n'); }
static void event_too_early(void) { two_streams('o'); }

/* Whether it ends the process with a message that holds `text`. */
static void ends(void (*wrong)(void), int with, const char *text, const char *what) {
    int ends[2], status = 0;
    char said[500] = "";
    if (pipe(ends) != 0)
        exit(2);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], 2);
        wrong();
        _exit(0);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], said, sizeof said - 1);
    close(ends[0]);
    waitpid(child, &status, 0);
    check(WIFSIGNALED(status) && WTERMSIG(status) == with && length > 0 && strstr(said, text) != NULL, what);
}

int main(void) {
    uint64_t counters[COUNTERS], before[COUNTERS];
    void *pinned = NULL;
    for (int i = 0; i < SIZE; i++)
        host[i] = (char)i;
    wfvae_stub_counters(before);
    char *a = device(), *b = device();
    cudaMemcpy(host + SIZE, a, SIZE, TO_HOST);
    check(host[SIZE] == 0 && host[2 * SIZE - 1] == 0, "memory is zeroed");
    cudaHostAlloc(&pinned, SIZE, 0);
    memcpy(pinned, host, SIZE);
    cudaMemcpy(a, pinned, SIZE, TO_DEVICE);
    cudaMemcpy(b + 10, a, SIZE - 10, ON_DEVICE);
    cudaMemcpy(host + SIZE, b, SIZE, TO_HOST);
    check(memcmp(host, host + SIZE + 10, SIZE - 10) == 0, "bytes come back");
    wfvae_stub_counters(counters);
    /* In the order of struct wfvae_stub_counters. */
    const uint64_t expected[COUNTERS] = {0, 0, 0, 4, 1, SIZE, 2, 2 * SIZE, 1, SIZE - 10, 3, 2, 2 * SIZE, 2 * SIZE, 1, SIZE, 0, 0};
    for (int i = 0; i < COUNTERS; i++)
        check(counters[i] - before[i] == expected[i], "counters");

    wfvae_stub_fail(2);
    void *first = NULL, *second = NULL;
    check(cudaMalloc(&first, 1) == 0 && cudaMalloc(&second, 1) == 2 && second == NULL, "the second allocation fails");
    check(cudaGetLastError() == 2 && cudaGetLastError() == 0, "the last error is said once");
    check(cudaMalloc(&second, 1) == 0, "the third does not");
    cudaFree(first), cudaFree(second), cudaFree(a), cudaFree(b), cudaFreeHost(pinned);
    wfvae_stub_counters(counters);
    check(counters[11] == 0 && counters[12] == 0 && counters[14] == 0 && counters[15] == 0, "all is given back");

    ends(free_twice, SIGABRT, "no longer", "a second free");
    ends(free_inside, SIGABRT, "nothing is allocated here", "a free inside of an allocation");
    ends(free_host, SIGABRT, "nothing is allocated here", "a free of the CPU's memory");
    ends(free_pinned, SIGABRT, "nothing is allocated here", "a free of pinned memory as the device's");
    ends(too_long, SIGABRT, "past the end", "a copy past the end");
    ends(too_long_back, SIGABRT, "past the end", "a copy from past the end");
    ends(from_freed, SIGABRT, "no longer", "a copy from freed memory");
    ends(from_host, SIGABRT, "not the device's", "a copy from the CPU's memory as the device's");
    ends(to_device_as_host, SIGABRT, "the CPU's was expected", "a copy to the device's memory as the CPU's");
    ends(touched, SIGSEGV, "touches device memory", "a write to device memory");
    ends(touched_inside, SIGSEGV, "touches device memory", "a read of device memory");
    ends(stream_twice, SIGABRT, "no longer", "a stream that is destroyed twice");
    ends(stream_gone, SIGABRT, "no longer", "a stream that is used afterwards");
    ends(without_order, SIGABRT, "another stream may still use", "a copy that does not wait for another stream's");
    ends(event_too_early, SIGABRT, "another stream may still use", "a copy that waits for something before");
    two_streams('e'), two_streams('c'), two_streams('r');
    return failures > 0;
}
