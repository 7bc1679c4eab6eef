/* A CUDA runtime, driver, cuBLAS, cuRAND and cuDNN for machines without a GPU: what ONNX Runtime's CUDA provider calls of
 * them, so that the real provider loads sessions and runs them. A device is there that computes nothing:
 *
 * - Its memory is zeroed, and no CPU may touch it: what the program sees are addresses of pages without access, and
 *   the data lie as many pages behind them. Copies between CPU and device are done, kernels are not.
 * - What a program may do wrong ends the process with a message: copies past the end of an allocation or from memory that
 *   has been freed, a second free, streams and events that are destroyed twice or used afterwards.
 * - Copies of several streams must be in order where they use the same bytes of the device: by events that the streams wait
 *   for, or by waits of the CPU. The stub does them at once, but a device would not.
 * - Functions of the CPU that a stream calls are called later, by another thread, in which CUDA is forbidden.
 * - All is counted: wfvae_stub_counters. Allocations fail when wfvae_stub_fail says so.
 *
 * Functions that have nothing to do but to succeed are not here: build.sh makes them from the provider's list of symbols.
 * The signatures are those of CUDA 13 and cuDNN 9, with int for status codes and enums. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t DEVICE_BYTES = (size_t)80 << 30;

enum {
    SUCCESS = 0, OUT_OF_MEMORY = 2, NO_SUCH_DEVICE = 101, NO_SUCH_SYMBOL = 500, LAUNCH_FAILED = 719, NOT_PERMITTED = 800,
    NOT_IN_A_RECORDING = 900, RECORDING_FAILED = 901
};

/* The same fields in the same order in tests/cuda_stub.rs. */
struct wfvae_stub_counters {
    uint64_t launches;        /* kernels, but for those inside of cuDNN and cuBLAS */
    uint64_t cudnn, cublas;   /* computations */
    uint64_t synchronizations; /* waits for a stream, an event or the device, and blocking copies */
    uint64_t to_device, to_device_bytes;
    uint64_t to_host, to_host_bytes;
    uint64_t on_device, on_device_bytes;
    uint64_t allocations; /* so far, of the device and pinned */
    uint64_t live, live_bytes, peak_bytes; /* of the device */
    uint64_t pinned, pinned_bytes;
    uint64_t handles; /* streams, events, descriptors and the like that were created and not destroyed */
    uint64_t graphs;  /* of operations that cuDNN was asked to plan */
    uint64_t own;     /* of the launches: kernels of libwfvae */
    uint64_t recordings; /* that could be launched now */
    uint64_t replays;    /* launches of recordings; what they do is counted above, too */
};
_Static_assert(sizeof(struct wfvae_stub_counters) == 21 * sizeof(uint64_t), "test_stub.c has room for 21");

static struct wfvae_stub_counters counters;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* What a stream is told while it records: it is done when the recording is launched. Of the thread that records. */
static _Thread_local struct recording *recording;
static atomic_int open_recordings; /* of all threads */
static uint64_t *recorded_count(size_t field);

/* 1: the next allocation fails; 0: none will. */
static uint64_t fail_in;
/* The same for launches of libwfvae's kernels and of recordings. */
static uint64_t fail_launch_in;
/* Of the thread's last failed call, as cudaGetLastError has it. */
static _Thread_local int last_error;

void wfvae_stub_counters(struct wfvae_stub_counters *out);
void wfvae_stub_fail(uint64_t nth);
void wfvae_stub_fail_launch(uint64_t nth);
int wfvae_stub_count(char kind);

#define COUNT(field, n) __atomic_add_fetch(&counters.field, (uint64_t)(n), __ATOMIC_RELAXED)

void wfvae_stub_counters(struct wfvae_stub_counters *out) {
    pthread_mutex_lock(&lock);
    *out = counters;
    pthread_mutex_unlock(&lock);
}

/* The nth allocation from now on fails, and only that; 0: none. */
void wfvae_stub_fail(uint64_t nth) {
    pthread_mutex_lock(&lock);
    fail_in = nth;
    pthread_mutex_unlock(&lock);
}

/* The nth launch of a kernel of libwfvae or of a recording from now on fails, and only that; 0: none. */
void wfvae_stub_fail_launch(uint64_t nth) {
    pthread_mutex_lock(&lock);
    fail_launch_in = nth;
    pthread_mutex_unlock(&lock);
}

/* Counts what the device does, now or when the recording is launched. */
#define COUNT_WORK(field) \
    (recording != NULL ? (void)++*recorded_count(offsetof(struct wfvae_stub_counters, field)) : (void)COUNT(field, 1))

static bool launch_fails(void) {
    pthread_mutex_lock(&lock);
    bool fails = fail_launch_in > 0 && --fail_launch_in == 0;
    pthread_mutex_unlock(&lock);
    return fails;
}

/* For the functions that build.sh makes. */
int wfvae_stub_count(char kind) {
    if (kind == 'd')
        COUNT_WORK(cudnn);
    if (kind == 'b')
        COUNT_WORK(cublas);
    return SUCCESS;
}

static void wrong(const char *call, const char *what, const void *at) {
    fprintf(stderr, "cuda-stub: %s: %s (%p)\n", call, what, at);
    abort();
}

/* WFVAE_CUDA_STUB_TRACE=1: copies and launches are written to standard error, kernels by their mangled names. */
static bool tracing(void) {
    static int on = -1;
    if (on < 0)
        on = getenv("WFVAE_CUDA_STUB_TRACE") != NULL;
    return on;
}

/* Memory. */

struct block {
    char *at;
    size_t size;  /* as asked for */
    size_t pages; /* bytes of the pages */
    bool device;
};

/* By address. */
static struct block *blocks;
static size_t block_count, block_room;

/* The first block that begins behind `at`. */
static size_t behind(const char *at) {
    size_t low = 0, high = block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].at <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct block *block_of(const void *at) {
    size_t i = behind(at);
    return i > 0 && (size_t)((const char *)at - blocks[i - 1].at) < blocks[i - 1].pages ? &blocks[i - 1] : NULL;
}

static struct sigaction fault_before;

/* Says what the CPU touched; then the fault happens again, for whoever looked out for faults before. */
static void fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    const struct block *block = block_of(info->si_addr);
    if (block && block->device)
        fprintf(stderr, "cuda-stub: the CPU touches device memory (%p)\n", info->si_addr);
    sigaction(SIGSEGV, &fault_before, NULL);
}

static int allocate(void **out, size_t size, bool device) {
    pthread_mutex_lock(&lock);
    COUNT(allocations, 1);
    bool fits = !device || (counters.live_bytes <= DEVICE_BYTES && size <= DEVICE_BYTES - counters.live_bytes);
    if ((fail_in > 0 && --fail_in == 0) || !fits) {
        pthread_mutex_unlock(&lock);
        *out = NULL;
        return last_error = OUT_OF_MEMORY;
    }
    if (blocks == NULL) {
        struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigaction(SIGSEGV, &action, &fault_before);
    }
    if (block_count == block_room) {
        block_room = block_room ? 2 * block_room : 256;
        blocks = realloc(blocks, block_room * sizeof *blocks);
    }
    size_t pages = (size + 4096) / 4096 * 4096;
    /* A test may take all of the device's memory, which this machine does not have. */
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *at = mmap(NULL, device ? 2 * pages : pages, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED)
        fprintf(stderr, "cuda-stub: this machine has no %zu bytes left\n", size), abort();
    if (device)
        mprotect(at, pages, PROT_NONE);
    size_t i = behind(at);
    memmove(blocks + i + 1, blocks + i, (block_count - i) * sizeof *blocks);
    blocks[i] = (struct block){at, size, pages, device};
    block_count++;
    if (device) {
        counters.live++, counters.live_bytes += size;
        if (counters.live_bytes > counters.peak_bytes)
            counters.peak_bytes = counters.live_bytes;
    } else {
        counters.pinned++, counters.pinned_bytes += size;
    }
    pthread_mutex_unlock(&lock);
    *out = at;
    return SUCCESS;
}

static void forget_accesses(const char *at, size_t size);

static int release(const char *call, void *at, bool device) {
    if (at == NULL)
        return SUCCESS;
    pthread_mutex_lock(&lock);
    struct block *block = block_of(at);
    if (block == NULL || block->at != at || block->device != device)
        wrong(call, "nothing is allocated here, or no longer", at);
    if (device)
        counters.live--, counters.live_bytes -= block->size;
    else
        counters.pinned--, counters.pinned_bytes -= block->size;
    forget_accesses(at, block->size);
    munmap(at, device ? 2 * block->pages : block->pages);
    size_t i = (size_t)(block - blocks);
    memmove(blocks + i, blocks + i + 1, (block_count - i - 1) * sizeof *blocks);
    block_count--;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

/* Where the bytes at `at` lie in truth. `device`: 1 or 0 where the caller said so, else -1, and is set to what it is. */
static char *data_at(const char *call, const void *at, size_t size, int *device) {
    pthread_mutex_lock(&lock);
    struct block *block = block_of(at);
    bool is_device = block != NULL && block->device;
    /* The device reads and writes pinned memory too, by the same address: ONNX Runtime calls it the device's. */
    if (*device == 1 && block == NULL)
        wrong(call, "this is not the device's memory, or no longer", at);
    if (*device == 0 && is_device)
        wrong(call, "this is the device's memory, and the CPU's was expected", at);
    if (block != NULL && (size_t)((const char *)at - block->at) + size > block->size)
        wrong(call, "past the end of an allocation", at);
    size_t offset = is_device ? block->pages : 0;
    pthread_mutex_unlock(&lock);
    *device = is_device;
    return (char *)(uintptr_t)at + offset;
}

static void counted_copy(int from_device, int to_device, size_t size) {
    static const char *const places[] = {"the CPU", "the device"};
    if (tracing())
        fprintf(stderr, "cuda-stub: copies %zu bytes from %s to %s\n", size, places[from_device], places[to_device]);
    if (from_device && to_device)
        COUNT(on_device, 1), COUNT(on_device_bytes, size);
    else if (to_device)
        COUNT(to_device, 1), COUNT(to_device_bytes, size);
    else if (from_device)
        COUNT(to_host, 1), COUNT(to_host_bytes, size);
}

static void access_by(const char *call, void *stream, const void *at, size_t size, bool writes);
static int record_copy(const char *call, void *to, const void *from, size_t width, size_t rows, size_t to_pitch,
                       size_t from_pitch, int kind);
static int record_set(const char *call, void *at, int value, size_t size);

/* Kinds: CPU to CPU, to the device, from it, within it, as the addresses are. */
static int copy(const char *call, void *to, const void *from, size_t width, size_t rows, size_t to_pitch,
                size_t from_pitch, int kind, void *stream) {
    static const int froms[] = {0, 0, 1, 1, -1}, tos[] = {0, 1, 0, 1, -1};
    if (kind < 0 || kind > 4)
        wrong(call, "no such kind of copy", to);
    if (width == 0 || rows == 0)
        return SUCCESS;
    if (recording != NULL)
        return record_copy(call, to, from, width, rows, to_pitch, from_pitch, kind);
    int from_device = froms[kind], to_device = tos[kind];
    const char *source = data_at(call, from, (rows - 1) * from_pitch + width, &from_device);
    char *target = data_at(call, to, (rows - 1) * to_pitch + width, &to_device);
    if (from_device)
        access_by(call, stream, from, (rows - 1) * from_pitch + width, false);
    if (to_device)
        access_by(call, stream, to, (rows - 1) * to_pitch + width, true);
    for (size_t i = 0; i < rows; i++)
        memmove(target + i * to_pitch, source + i * from_pitch, width);
    counted_copy(from_device, to_device, width * rows);
    return SUCCESS;
}

static int set(const char *call, void *at, int value, size_t size) {
    int device = 1;
    if (recording != NULL)
        return record_set(call, at, value, size);
    if (size > 0)
        memset(data_at(call, at, size, &device), value, size);
    return SUCCESS;
}

/* Handles: a few bytes that stay, so that uses after the end are seen. */

enum kind { STREAM = 0x57f1, EVENT, LIBRARY, POOL, BLAS, BLAS_PART, RANDOM, DNN, DNN_PART };
struct handle {
    int kind;
    int detail; /* of cuDNN's descriptors: which; of streams: their number, or -1 if there are too many */
    uint64_t *clock; /* of streams and events: how much of each stream's work comes before */
    void *stream;
    struct recording *recording; /* of a stream that records */
};

static int create(void **out, enum kind kind) {
    struct handle *handle = calloc(1, sizeof *handle);
    handle->kind = (int)kind;
    COUNT(handles, 1);
    *out = handle;
    return SUCCESS;
}

static void check(const char *call, const void *handle, enum kind kind) {
    if (handle == NULL || ((const struct handle *)handle)->kind != (int)kind)
        wrong(call, "no such handle, or no longer", handle);
}

static int destroy(const char *call, void *handle, enum kind kind) {
    check(call, handle, kind);
    ((struct handle *)handle)->kind = -(int)kind;
    COUNT(handles, -1);
    return SUCCESS;
}

/* NULL, 1 and 2 are streams that nobody creates. */
static void check_stream(const char *call, const void *stream) {
    const struct recording *of = NULL;
    if ((uintptr_t)stream > 2) {
        check(call, stream, STREAM);
        of = ((const struct handle *)stream)->recording;
    }
    if (of != NULL && of != recording)
        wrong(call, "another thread records with this stream", stream);
    if (recording != NULL && of != recording)
        wrong(call, "this is lost, as the thread records with another stream", stream);
}

/* The order of what streams do. Each counts its copies. A clock has one such number for each stream: what comes before a
 * point. The last copies of each stream are kept; one that uses the same bytes as another stream's must come after it. */

enum { STREAMS = 64, KEPT = 32 };
struct access {
    const char *at;
    size_t size;
    uint64_t turn;
    bool writes;
};
static struct {
    bool used;
    uint64_t turn;
    struct access kept[KEPT];
} tracks[STREAMS];
/* What the CPU has waited for. All threads count as one. */
static uint64_t cpu_clock[STREAMS];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static void later(uint64_t *clock, const uint64_t *other) {
    for (int i = 0; i < STREAMS; i++)
        if (clock[i] < other[i])
            clock[i] = other[i];
}

static struct handle *lane_of(void *stream) {
    struct handle *handle = (uintptr_t)stream > 2 ? stream : NULL;
    return handle != NULL && handle->detail >= 0 ? handle : NULL;
}

static void access_by(const char *call, void *stream, const void *at, size_t size, bool writes) {
    struct handle *own = lane_of(stream);
    const char *first = at;
    if (own == NULL)
        return;
    pthread_mutex_lock(&order);
    later(own->clock, cpu_clock);
    for (int i = 0; i < STREAMS; i++)
        for (int n = 0; i != own->detail && tracks[i].used && n < KEPT; n++) {
            const struct access *other = &tracks[i].kept[n];
            if (other->turn > own->clock[i] && (writes || other->writes) && first < other->at + other->size &&
                other->at < first + size)
                wrong(call, "another stream may still use these bytes", at);
        }
    uint64_t turn = ++tracks[own->detail].turn;
    own->clock[own->detail] = turn;
    tracks[own->detail].kept[turn % KEPT] = (struct access){first, size, turn, writes};
    pthread_mutex_unlock(&order);
}

static void forget_accesses(const char *at, size_t size) {
    pthread_mutex_lock(&order);
    for (int i = 0; i < STREAMS; i++)
        for (int n = 0; n < KEPT; n++)
            if (tracks[i].kept[n].at >= at && tracks[i].kept[n].at < at + size)
                tracks[i].kept[n] = (struct access){0};
    pthread_mutex_unlock(&order);
}

static void begin_lane(struct handle *stream) {
    stream->clock = calloc(STREAMS, sizeof *stream->clock);
    stream->detail = -1;
    pthread_mutex_lock(&order);
    for (int i = 0; i < STREAMS && stream->detail < 0; i++)
        if (!tracks[i].used)
            tracks[i].used = true, stream->detail = i;
    pthread_mutex_unlock(&order);
}

static void end_lane(struct handle *stream) {
    pthread_mutex_lock(&order);
    if (stream->detail >= 0) {
        tracks[stream->detail].used = false;
        memset(tracks[stream->detail].kept, 0, sizeof tracks[stream->detail].kept);
    }
    pthread_mutex_unlock(&order);
}

/* What the stream was told so far comes before the event. */
static void set_event(struct handle *event, void *stream) {
    pthread_mutex_lock(&order);
    if (event->clock == NULL)
        event->clock = calloc(STREAMS, sizeof *event->clock);
    memset(event->clock, 0, STREAMS * sizeof *event->clock);
    if (lane_of(stream) != NULL)
        later(event->clock, lane_of(stream)->clock), later(event->clock, cpu_clock);
    pthread_mutex_unlock(&order);
}

static void wait_for_event(uint64_t *clock, const struct handle *event) {
    pthread_mutex_lock(&order);
    if (event->clock != NULL)
        later(clock, event->clock);
    pthread_mutex_unlock(&order);
}

static void wait_for_lanes(void *only) {
    pthread_mutex_lock(&order);
    for (int i = 0; i < STREAMS; i++)
        if (only == NULL || (lane_of(only) != NULL && lane_of(only)->detail == i))
            cpu_clock[i] = tracks[i].turn;
    if (only != NULL && lane_of(only) != NULL)
        later(cpu_clock, lane_of(only)->clock);
    pthread_mutex_unlock(&order);
}

/* Functions of the CPU that a stream calls: some time later, by a thread of the driver, which must not call CUDA. */

static int record_call(void);

struct call {
    void (*function)(void *);
    void *data;
    struct call *next;
};
static struct call *first_call, **last_call = &first_call;
static uint64_t waiting_calls;
static pthread_cond_t calls_changed = PTHREAD_COND_INITIALIZER;
static _Thread_local bool is_caller;

static void *call_all(void *unused) {
    is_caller = true;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (first_call == NULL)
            pthread_cond_wait(&calls_changed, &lock);
        struct call *call = first_call;
        first_call = call->next;
        if (first_call == NULL)
            last_call = &first_call;
        pthread_mutex_unlock(&lock);
        usleep(200);
        call->function(call->data);
        free(call);
        pthread_mutex_lock(&lock);
        waiting_calls--;
        pthread_cond_broadcast(&calls_changed);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

/* Waits for what the device has to do. */
static void finish(void) {
    pthread_mutex_lock(&lock);
    while (waiting_calls > 0)
        pthread_cond_wait(&calls_changed, &lock);
    pthread_mutex_unlock(&lock);
}

int cudaLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    static bool begun;
    check_stream("cudaLaunchHostFunc", stream);
    if (recording != NULL)
        return record_call();
    struct call *call = malloc(sizeof *call);
    *call = (struct call){function, data, NULL};
    pthread_mutex_lock(&lock);
    if (!begun) {
        pthread_t thread;
        begun = pthread_create(&thread, NULL, call_all, NULL) == 0;
    }
    *last_call = call;
    last_call = &call->next;
    waiting_calls++;
    pthread_cond_broadcast(&calls_changed);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

/* The runtime: the device, one like an H100. */

struct device_properties {
    char name[256], uuid[16], luid[8];
    unsigned node_mask;
    size_t memory, shared_memory;
    int registers, warp;
    size_t pitch;
    int threads, thread_sizes[3], grid_sizes[3];
    size_t constants;
    int major, minor;
    size_t texture_alignment, texture_pitch;
    int processors;
};
enum { PROPERTIES_SIZE = 1008, MAJOR = 9, MINOR = 0, PROCESSORS = 132 };

int cudaGetDeviceCount(int *count) { return *count = 1, SUCCESS; }
int cudaGetDevice(int *device) { return *device = 0, SUCCESS; }
int cudaSetDevice(int device) { return device == 0 ? SUCCESS : (last_error = 101); }
int cudaDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
int cudaRuntimeGetVersion(int *version) { return *version = 13000, SUCCESS; }

int cudaGetDeviceProperties(void *out, int device) {
    (void)device;
    const struct device_properties properties = {
        .name = "a stub of an H100",
        .memory = DEVICE_BYTES,
        .shared_memory = 48 << 10,
        .registers = 65536,
        .warp = 32,
        .pitch = 1 << 30,
        .threads = 1024,
        .thread_sizes = {1024, 1024, 64},
        .grid_sizes = {2147483647, 65535, 65535},
        .constants = 65536,
        .major = MAJOR,
        .minor = MINOR,
        .texture_alignment = 512,
        .texture_pitch = 32,
        .processors = PROCESSORS,
    };
    memset(out, 0, PROPERTIES_SIZE);
    memcpy(out, &properties, sizeof properties);
    return SUCCESS;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 16: *value = PROCESSORS; break;
    case 39: *value = 2048; break; /* threads of a multiprocessor */
    case 75: *value = MAJOR; break;
    case 76: *value = MINOR; break;
    case 97: *value = 227 << 10; break; /* shared memory of a block that asks for more */
    default: *value = 1024;
    }
    return SUCCESS;
}

int cudaGetLastError(void) {
    int error = last_error;
    last_error = SUCCESS;
    return error;
}
int cudaPeekAtLastError(void) { return last_error; }
const char *cudaGetErrorName(int error) { return error == OUT_OF_MEMORY ? "cudaErrorMemoryAllocation" : "an error"; }
const char *cudaGetErrorString(int error) { return error == OUT_OF_MEMORY ? "out of memory" : "an error of the stub"; }

int cudaMalloc(void **out, size_t size) { return allocate(out, size, true); }
int cudaMallocFromPoolAsync(void **out, size_t size, void *pool, void *stream) {
    check("cudaMallocFromPoolAsync", pool, POOL);
    check_stream("cudaMallocFromPoolAsync", stream);
    return allocate(out, size, true);
}
int cudaFree(void *at) { return is_caller ? NOT_PERMITTED : release("cudaFree", at, true); }
int cudaFreeAsync(void *at, void *stream) {
    check_stream("cudaFreeAsync", stream);
    return release("cudaFreeAsync", at, true);
}
int cudaHostAlloc(void **out, size_t size, unsigned flags) { return (void)flags, allocate(out, size, false); }
int cudaMallocHost(void **out, size_t size) { return allocate(out, size, false); }
int cudaFreeHost(void *at) { return is_caller ? NOT_PERMITTED : release("cudaFreeHost", at, false); }
int cudaMemGetInfo(size_t *available, size_t *total) {
    *available = DEVICE_BYTES - counters.live_bytes;
    *total = DEVICE_BYTES;
    return SUCCESS;
}

struct pointer_attributes {
    int type, device; /* 0: unknown, 1: of the CPU, pinned; 2: of the device */
    const void *device_pointer, *host_pointer;
};
int cudaPointerGetAttributes(struct pointer_attributes *out, const void *at) {
    pthread_mutex_lock(&lock);
    const struct block *block = block_of(at);
    int type = block == NULL ? 0 : block->device ? 2 : 1;
    pthread_mutex_unlock(&lock);
    *out = (struct pointer_attributes){type, 0, type == 0 ? NULL : at, type == 2 ? NULL : at};
    return SUCCESS;
}

int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
    COUNT(synchronizations, 1);
    if (recording != NULL)
        wrong("cudaMemcpy", "this is lost, as the thread records", to);
    return copy("cudaMemcpy", to, from, size, 1, size, size, kind, NULL);
}
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    check_stream("cudaMemcpyAsync", stream);
    return copy("cudaMemcpyAsync", to, from, size, 1, size, size, kind, stream);
}
int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows,
                      int kind, void *stream) {
    check_stream("cudaMemcpy2DAsync", stream);
    return copy("cudaMemcpy2DAsync", to, from, width, rows, to_pitch, from_pitch, kind, stream);
}
int cudaMemset(void *at, int value, size_t size) {
    if (recording != NULL)
        wrong("cudaMemset", "this is lost, as the thread records", at);
    return set("cudaMemset", at, value, size);
}
int cudaMemsetAsync(void *at, int value, size_t size, void *stream) {
    check_stream("cudaMemsetAsync", stream);
    return set("cudaMemsetAsync", at, value, size);
}

int cudaStreamCreate(void **out) {
    create(out, STREAM);
    return begin_lane(*out), SUCCESS;
}
int cudaStreamCreateWithFlags(void **out, unsigned flags) { return (void)flags, cudaStreamCreate(out); }
int cudaStreamDestroy(void *stream) {
    destroy("cudaStreamDestroy", stream, STREAM);
    return end_lane(stream), SUCCESS;
}
static int fail_recording(void);

int cudaStreamSynchronize(void *stream) {
    check_stream("cudaStreamSynchronize", stream);
    if (recording != NULL)
        return fail_recording();
    finish();
    wait_for_lanes(stream);
    COUNT(synchronizations, 1);
    return SUCCESS;
}
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) {
    (void)flags;
    check_stream("cudaStreamWaitEvent", stream);
    check("cudaStreamWaitEvent", event, EVENT);
    if (lane_of(stream) != NULL)
        wait_for_event(lane_of(stream)->clock, event);
    return SUCCESS;
}
int cudaStreamIsCapturing(void *stream, int *status) {
    check_stream("cudaStreamIsCapturing", stream);
    return *status = recording != NULL, SUCCESS;
}
int cudaDeviceSynchronize(void) {
    if (is_caller)
        return NOT_PERMITTED;
    if (recording != NULL)
        return fail_recording();
    if (atomic_load(&open_recordings) > 0)
        wrong("cudaDeviceSynchronize", "another thread records, and CUDA would end that", NULL);
    finish();
    wait_for_lanes(NULL);
    COUNT(synchronizations, 1);
    return SUCCESS;
}
int cudaEventCreate(void **out) { return create(out, EVENT); }
int cudaEventCreateWithFlags(void **out, unsigned flags) { return (void)flags, create(out, EVENT); }
int cudaEventDestroy(void *event) { return destroy("cudaEventDestroy", event, EVENT); }
int cudaEventRecord(void *event, void *stream) {
    check_stream("cudaEventRecord", stream);
    check("cudaEventRecord", event, EVENT);
    return set_event(event, stream), SUCCESS;
}
int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) {
    return (void)flags, cudaEventRecord(event, stream);
}
int cudaEventSynchronize(void *event) {
    check("cudaEventSynchronize", event, EVENT);
    finish();
    wait_for_event(cpu_clock, event);
    COUNT(synchronizations, 1);
    return SUCCESS;
}
int cudaEventElapsedTime(float *ms, void *from, void *to) {
    check("cudaEventElapsedTime", from, EVENT);
    check("cudaEventElapsedTime", to, EVENT);
    return *ms = 1, SUCCESS;
}

int cudaMemPoolCreate(void **out, const void *properties) { return (void)properties, create(out, POOL); }
int cudaMemPoolDestroy(void *pool) { return destroy("cudaMemPoolDestroy", pool, POOL); }

/* Recordings: CUDA graphs. WFVAE_CUDA_STUB_NO_RECORDINGS=1: none can begin. A node is a copy, a piece of memory that
 * is set or that a kernel of libwfvae reads or writes, or a function of the CPU. Other kernels are only counted. */

enum node_type { NODE_KERNEL = 0, NODE_COPY = 1, NODE_SET = 2, NODE_CALL = 3 };
struct node {
    int type, kind, value;
    void *to;
    const void *from;
    size_t width, rows, to_pitch, from_pitch;
};
struct recording {
    struct node *nodes;
    size_t count, room;
    bool failed;
    bool launched; /* the first launch takes memory, which may fail and is not counted */
    struct wfvae_stub_counters work;
};

static uint64_t *recorded_count(size_t field) { return (uint64_t *)((char *)&recording->work + field); }

static int record_node(struct node node) {
    struct recording *r = recording;
    if (r->count == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        r->nodes = realloc(r->nodes, r->room * sizeof *r->nodes);
    }
    r->nodes[r->count++] = node;
    return SUCCESS;
}
static int record_copy(const char *call, void *to, const void *from, size_t width, size_t rows, size_t to_pitch,
                       size_t from_pitch, int kind) {
    (void)call;
    return record_node((struct node){NODE_COPY, kind, 0, to, from, width, rows, to_pitch, from_pitch});
}
static int record_set(const char *call, void *at, int value, size_t size) {
    (void)call;
    return record_node((struct node){.type = NODE_SET, .value = value, .to = at, .width = size});
}
static int record_argument(void *at, size_t size) {
    return record_node((struct node){.type = NODE_KERNEL, .to = at, .width = size});
}
static int record_call(void) { return record_node((struct node){.type = NODE_CALL}); }
static int fail_recording(void) {
    recording->failed = true;
    return last_error = NOT_IN_A_RECORDING;
}

int cudaStreamBeginCapture(void *stream, int mode) {
    check_stream("cudaStreamBeginCapture", stream);
    if (mode != 2 || recording != NULL || (uintptr_t)stream <= 2)
        wrong("cudaStreamBeginCapture", "not in this way", stream);
    if (getenv("WFVAE_CUDA_STUB_NO_RECORDINGS") != NULL)
        return last_error = NOT_PERMITTED;
    recording = calloc(1, sizeof *recording);
    atomic_fetch_add(&open_recordings, 1);
    return ((struct handle *)stream)->recording = recording, SUCCESS;
}
int cudaStreamEndCapture(void *stream, struct recording **graph) {
    check_stream("cudaStreamEndCapture", stream);
    if (recording == NULL)
        wrong("cudaStreamEndCapture", "nothing is recorded", stream);
    *graph = recording;
    recording = NULL;
    atomic_fetch_sub(&open_recordings, 1);
    ((struct handle *)stream)->recording = NULL;
    if (!(*graph)->failed)
        return COUNT(handles, 1), SUCCESS;
    free((*graph)->nodes);
    free(*graph);
    return *graph = NULL, last_error = RECORDING_FAILED;
}
int cudaGraphGetNodes(struct recording *graph, struct node **nodes, size_t *count) {
    for (size_t i = 0; nodes != NULL && i < *count && i < graph->count; i++)
        ((struct node **)nodes)[i] = &graph->nodes[i];
    return *count = graph->count, SUCCESS;
}
int cudaGraphNodeGetType(const struct node *node, int *type) { return *type = node->type, SUCCESS; }

struct pitched {
    const void *at;
    size_t pitch, size[2];
};
struct copy_parameters {
    void *from_array;
    size_t from_position[3];
    struct pitched from;
    void *to_array;
    size_t to_position[3];
    struct pitched to;
    size_t extent[3];
    int kind;
};
int cudaGraphMemcpyNodeGetParams(const struct node *node, struct copy_parameters *out) {
    *out = (struct copy_parameters){
        .from = {.at = node->from, .pitch = node->from_pitch},
        .to = {.at = node->to, .pitch = node->to_pitch},
        .extent = {node->width, node->rows, 1},
        .kind = node->kind,
    };
    return SUCCESS;
}
int cudaGraphMemcpyNodeSetParams1D(struct node *node, void *to, const void *from, size_t size, int kind) {
    *node = (struct node){NODE_COPY, kind, 0, to, from, size, 1, size, size};
    return SUCCESS;
}
int cudaGraphInstantiateWithFlags(struct recording **ready, const struct recording *graph, uint64_t flags) {
    (void)flags;
    *ready = malloc(sizeof **ready);
    **ready = *graph;
    (*ready)->nodes = malloc((graph->count + 1) * sizeof *graph->nodes);
    memcpy((*ready)->nodes, graph->nodes, graph->count * sizeof *graph->nodes);
    COUNT(handles, 1), COUNT(recordings, 1);
    return SUCCESS;
}
static int free_recording(struct recording *of) {
    free(of->nodes);
    free(of);
    return COUNT(handles, -1), SUCCESS;
}
int cudaGraphDestroy(struct recording *graph) { return free_recording(graph); }
int cudaGraphExecDestroy(struct recording *ready) { return COUNT(recordings, -1), free_recording(ready); }
int cudaGraphLaunch(struct recording *ready, void *stream) {
    check_stream("cudaGraphLaunch", stream);
    pthread_mutex_lock(&lock);
    bool fails = !ready->launched && fail_in > 0 && --fail_in == 0;
    pthread_mutex_unlock(&lock);
    if (fails)
        return last_error = OUT_OF_MEMORY;
    ready->launched = true;
    if (launch_fails())
        return last_error = LAUNCH_FAILED;
    if (recording != NULL)
        wrong("cudaGraphLaunch", "in a recording", ready);
    for (size_t i = 0; i < ready->count; i++) {
        const struct node *node = &ready->nodes[i];
        int device = 1;
        if (node->type == NODE_COPY)
            copy("a recorded copy", node->to, node->from, node->width, node->rows, node->to_pitch, node->from_pitch, node->kind, stream);
        else if (node->type == NODE_SET)
            set("recorded", node->to, node->value, node->width);
        else
            data_at("a recorded kernel", node->to, node->width, &device);
    }
    COUNT(launches, ready->work.launches), COUNT(own, ready->work.own);
    COUNT(cudnn, ready->work.cudnn), COUNT(cublas, ready->work.cublas);
    return COUNT(replays, 1), SUCCESS;
}

/* Kernels: by the address of their function on the CPU, which has their name. */

struct kernel {
    const void *function;
    const char *name;
};
static struct kernel *kernels;
static size_t kernel_count, kernel_room;

struct dim {
    unsigned x, y, z;
};

void **__cudaRegisterFatBinary(void *binary) {
    static void *handle;
    return (void)binary, &handle;
}

void __cudaRegisterFunction(void **binary, const char *function, char *device_function, const char *name, int threads,
                            void *tid, void *bid, void *block, void *grid, int *warp) {
    (void)binary, (void)device_function, (void)threads, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
    pthread_mutex_lock(&lock);
    if (kernel_count == kernel_room) {
        kernel_room = kernel_room ? 2 * kernel_room : 4096;
        kernels = realloc(kernels, kernel_room * sizeof *kernels);
    }
    kernels[kernel_count++] = (struct kernel){function, name};
    pthread_mutex_unlock(&lock);
}

static int by_function(const void *a, const void *b) {
    const struct kernel *left = a, *right = b;
    return (left->function > right->function) - (left->function < right->function);
}

static int launch(const char *call, const void *function, void *stream) {
    static size_t sorted;
    check_stream(call, stream);
    pthread_mutex_lock(&lock);
    if (sorted != kernel_count) {
        qsort(kernels, kernel_count, sizeof *kernels, by_function);
        sorted = kernel_count;
    }
    const struct kernel key = {.function = function};
    const struct kernel *kernel = bsearch(&key, kernels, kernel_count, sizeof *kernels, by_function);
    if (tracing())
        fprintf(stderr, "cuda-stub: launches %s\n", kernel != NULL ? kernel->name : "a kernel");
    COUNT_WORK(launches);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

/* A kernel is its function. */
int __cudaGetKernel(const void **kernel, const void *function) { return *kernel = function, SUCCESS; }
int __cudaLaunchKernel(const void *kernel, struct dim grid, struct dim block, void **arguments, size_t shared,
                       void *stream) {
    (void)grid, (void)block, (void)arguments, (void)shared;
    return launch("a kernel's launch", kernel, stream);
}
int cudaLaunchKernel(const void *function, struct dim grid, struct dim block, void **arguments, size_t shared,
                     void *stream) {
    return __cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}
int cudaLaunchCooperativeKernel(const void *function, struct dim grid, struct dim block, void **arguments,
                                size_t shared, void *stream) {
    return __cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}
struct launch_config {
    struct dim grid, block;
    size_t shared;
    void *stream;
};
int cudaLaunchKernelExC(const struct launch_config *config, const void *function, void **arguments) {
    (void)arguments;
    return launch("cudaLaunchKernelExC", function, config->stream);
}

static _Thread_local struct launch_config pushed;
unsigned __cudaPushCallConfiguration(struct dim grid, struct dim block, size_t shared, void *stream) {
    pushed = (struct launch_config){grid, block, shared, stream};
    return 0;
}
int __cudaPopCallConfiguration(struct dim *grid, struct dim *block, size_t *shared, void **stream) {
    *grid = pushed.grid, *block = pushed.block, *shared = pushed.shared, *stream = pushed.stream;
    return SUCCESS;
}

struct function_attributes {
    size_t shared, constants, local;
    int threads, registers, rest[20];
};
int cudaFuncGetAttributes(struct function_attributes *out, const void *function) {
    (void)function;
    *out = (struct function_attributes){.threads = 1024, .registers = 32};
    return SUCCESS;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks_out, const void *function, int size,
                                                           size_t shared, unsigned flags) {
    (void)function, (void)size, (void)shared, (void)flags;
    return *blocks_out = 2, SUCCESS;
}
int cudaLibraryLoadData(void **out) { return create(out, LIBRARY); }
int cudaLibraryUnload(void *library) { return destroy("cudaLibraryUnload", library, LIBRARY); }
int cudaLibraryGetKernel(void **kernel, void *library, const char *name) {
    check("cudaLibraryGetKernel", library, LIBRARY);
    return *kernel = (void *)(uintptr_t)name, SUCCESS;
}
int cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, uint64_t flags, int *found) {
    (void)version, (void)flags;
    *function = dlsym(RTLD_DEFAULT, name);
    if (found != NULL)
        *found = *function == NULL; /* 1: no such symbol */
    return *function != NULL ? SUCCESS : NO_SUCH_SYMBOL;
}

/* The driver. */

int cuInit(unsigned flags) { return (void)flags, SUCCESS; }
int cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }

int cuDeviceGet(int *device, int index) { return *device = index, index == 0 ? SUCCESS : NO_SUCH_DEVICE; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    return cudaDeviceGetAttribute(value, attribute, device);
}
int cuGetErrorName(int error, const char **name) {
    return *name = error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR", SUCCESS;
}

/* Contexts are a stack of each thread. The other one is for ffmpeg.c. */
static char primary_context;
extern char wfvae_stub_other_context;
char wfvae_stub_other_context;
static _Thread_local void *in_use[16];
static _Thread_local int contexts;
int cuDevicePrimaryCtxRetain(void **context, int device) {
    return *context = &primary_context, device == 0 ? SUCCESS : NO_SUCH_DEVICE;
}
int cuCtxPushCurrent_v2(void *context) {
    if ((context != &primary_context && context != &wfvae_stub_other_context) || contexts == 16)
        wrong("cuCtxPushCurrent", "no such context, or too many", context);
    return in_use[contexts++] = context, SUCCESS;
}
int cuCtxPopCurrent_v2(void **context) {
    if (contexts == 0)
        wrong("cuCtxPopCurrent", "no context was pushed", context);
    return *context = in_use[--contexts], SUCCESS;
}
static void check_context(const char *call) {
    if (contexts == 0)
        wrong(call, "the thread has no context", NULL);
}
int cuPointerGetAttribute(void *out, int attribute, uint64_t at) {
    struct pointer_attributes known;
    cudaPointerGetAttributes(&known, (void *)(uintptr_t)at);
    if (known.type == 0)
        return 1; /* CUDA_ERROR_INVALID_VALUE */
    switch (attribute) {
    case 1: *(void **)out = &primary_context; break;
    case 2: *(unsigned *)out = (unsigned)known.type; break;
    case 9: *(int *)out = known.device; break;
    default: wrong("cuPointerGetAttribute", "the stub does not know this attribute", out);
    }
    return SUCCESS;
}

/* NVRTC. Code is the text that it was made of. WFVAE_CUDA_STUB_NO_COMPILER=1: nothing compiles. */

struct program {
    char *text;
    bool compiled;
};

int nvrtcCreateProgram(void **out, const char *text, const char *name, int headers, const char *const *sources,
                       const char *const *names) {
    (void)name, (void)sources, (void)names;
    if (headers != 0)
        return 1;
    struct program *program = calloc(1, sizeof *program);
    program->text = strdup(text);
    return *out = program, SUCCESS;
}
int nvrtcDestroyProgram(void **program) {
    free(((struct program *)*program)->text);
    free(*program);
    return *program = NULL, SUCCESS;
}
int nvrtcCompileProgram(void *program, int count, const char *const *options) {
    bool architecture = false;
    for (int i = 0; i < count; i++)
        architecture |= strcmp(options[i], "--gpu-architecture=sm_90") == 0;
    if (!architecture)
        wrong("nvrtcCompileProgram", "not for this device's architecture", program);
    ((struct program *)program)->compiled = getenv("WFVAE_CUDA_STUB_NO_COMPILER") == NULL;
    return ((struct program *)program)->compiled ? SUCCESS : 6;
}
static const char compiler_log[] = "kernels.cu(1): error: the stub was told to fail";
int nvrtcGetProgramLogSize(void *program, size_t *size) { return (void)program, *size = sizeof compiler_log, SUCCESS; }
int nvrtcGetProgramLog(void *program, char *log) {
    return (void)program, memcpy(log, compiler_log, sizeof compiler_log), SUCCESS;
}
static const char code_mark[] = "code of the stub\n";
int nvrtcGetCUBINSize(void *program, size_t *size) {
    const struct program *of = program;
    return *size = of->compiled ? sizeof code_mark + strlen(of->text) : 0, SUCCESS;
}
int nvrtcGetCUBIN(void *program, char *code) {
    strcpy(code, code_mark);
    return strcat(code, ((struct program *)program)->text), SUCCESS;
}

/* The kernels of libwfvae: src/runtime/cuda/kernels.cu and pixels.cu name them. What a launch would read and write has to be
 * there. */

int cuModuleLoadData(void **module, const void *code) {
    check_context("cuModuleLoadData");
    if (strncmp(code, code_mark, sizeof code_mark - 1) != 0)
        wrong("cuModuleLoadData", "this is not what the compiler gave", code);
    return *module = strdup(code), SUCCESS;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    check_context("cuModuleGetFunction");
    const char *form = strrchr(name, '_');
    char listed[64];
    if (strncmp(name, "pixels_", 7) == 0)
        snprintf(listed, sizeof listed, "KERNEL %s(", name);
    else
        snprintf(listed, sizeof listed, "(%.*s,", (int)(form - name), name);
    if (strstr(module, listed) == NULL)
        return NO_SUCH_SYMBOL;
    return *function = strdup(name), SUCCESS;
}

/* The size of an element of a kernel's nth type, from 0: norm_f32_f16_any has two. */
static size_t element(const char *kernel, int nth) {
    const char *type = strstr(kernel, "_f");
    for (; nth > 0; nth--)
        if (strncmp(type + 4, "_f", 2) == 0)
            type += 4;
    return strncmp(type, "_f16", 4) == 0 ? 2 : 4;
}

static void *address_of(void **arguments, int i) { return *(void **)arguments[i]; }

/* `pack`: bytes that are read or written at once. */
static void check_argument(const char *kernel, void *at, size_t size, size_t pack) {
    int device = 1;
    if ((uintptr_t)at % pack != 0)
        wrong(kernel, "an argument is not aligned", at);
    data_at(kernel, at, size, &device);
    if (recording != NULL)
        record_argument(at, size);
}

/* As pixels.cu has it. */
struct picture {
    char *first[4];
    int64_t strides[4], steps[4];
    int size[2], samples[2], element, shift, colour, axes[2];
    float numbers[7];
};

/* The program's own pictures are used in the order of streams, too. */
static void check_channel(const char *kernel, void *stream, const struct picture *of, int channel, const int *size,
                          bool writes) {
    int64_t across = of->steps[channel] * (size[0] - 1), down = of->strides[channel] * (size[1] - 1);
    char *lowest = of->first[channel] + (across < 0 ? across : 0) + (down < 0 ? down : 0);
    size_t bytes = of->element == 0 ? 1 : of->element == 4 ? 4 : 2;
    size_t span = (size_t)(llabs(across) + llabs(down)) + bytes;
    check_argument(kernel, lowest, span, bytes);
    access_by(kernel, stream, lowest, span, writes);
}

static void check_picture(const char *kernel, void *stream, const struct picture *of, bool luma, bool chroma, bool writes) {
    bool yuv = of->colour == 3, grey = of->colour == 4;
    for (int i = 0; i < 3; i++)
        if (i == 0 || yuv ? (i == 0 ? luma : chroma) : luma && !grey)
            check_channel(kernel, stream, of, i, yuv && i > 0 ? of->samples : of->size, writes);
    if (writes && luma && of->first[3] != NULL)
        check_channel(kernel, stream, of, 3, of->size, true);
}

static void check_pixels(const char *kernel, void *stream, void **arguments) {
    const struct picture *picture = arguments[0];
    if (recording != NULL)
        wrong(kernel, "pictures are the program's and are not recorded", picture->first[0]);
    if (strcmp(kernel, "pixels_check") == 0) {
        check_picture(kernel, stream, picture, true, true, false);
        check_argument(kernel, address_of(arguments, 2), sizeof(uint64_t), sizeof(uint64_t));
        return;
    }
    size_t values = 3 * (size_t)*(int *)arguments[2] * (size_t)*(int *)arguments[3];
    check_argument(kernel, address_of(arguments, 1), values * sizeof(float), sizeof(float));
    bool none = picture->size[0] == 0 && strcmp(kernel, "pixels_write") == 0; /* only what is found counts */
    if (*(int *)arguments[2] < picture->size[0] || *(int *)arguments[3] < picture->size[1])
        wrong(kernel, "the planes are smaller than the picture", address_of(arguments, 1));
    bool write = strcmp(kernel, "pixels_write") == 0, chroma = strcmp(kernel, "pixels_write_chroma") == 0;
    if (!write && !chroma && strcmp(kernel, "pixels_read") != 0)
        wrong(kernel, "the stub does not know this kernel", NULL);
    if (!none)
        check_picture(kernel, stream, picture, !chroma, !write, write || chroma);
    if (write)
        check_argument(kernel, address_of(arguments, 4), 2 * sizeof(uint64_t), sizeof(uint64_t));
}

static void check_arguments(const char *kernel, void **arguments) {
    const char *form = strrchr(kernel, '_') + 1;
    bool added = strncmp(kernel, "add_", 4) == 0, norm = strstr(kernel, "norm_") != NULL;
    size_t first = element(kernel, 0), last = element(kernel, 1), floats = sizeof(float);
    if (norm) {
        size_t pixels = *(size_t *)arguments[7], channels = *(unsigned *)arguments[8], lanes = 1u << *(int *)arguments[9];
        size_t pack = strcmp(form, "any") == 0 ? 1 : added || first == 4 ? 4 : 8, turns = strtoul(form, NULL, 10);
        size_t values = pixels * channels, align = pack == 1 ? 2 : 16;
        if (channels % pack != 0 || lanes > 32 || (turns == 0 ? lanes != 32 : channels > turns * lanes * pack))
            wrong(kernel, "this kernel is not for so many channels", (void *)(uintptr_t)channels);
        check_argument(kernel, address_of(arguments, 0), values * first, align);
        if (added) {
            check_argument(kernel, address_of(arguments, 1), values * last, align);
            if (address_of(arguments, 5) != NULL)
                check_argument(kernel, address_of(arguments, 5), values * floats, align);
        }
        for (int i = 2; i <= 4; i++)
            if (i > 2 || address_of(arguments, i) != NULL)
                check_argument(kernel, address_of(arguments, i), channels * floats, align);
        check_argument(kernel, address_of(arguments, 6), values * last, align);
        return;
    }
    size_t pack = strcmp(form, "any") == 0 ? 1 : strncmp(kernel, "stack_f16", 9) == 0 ? 8 : 4, align = pack == 1 ? 2 : 16;
    if (strncmp(kernel, "doubled_", 8) == 0) {
        size_t height = *(unsigned *)arguments[2], width = *(unsigned *)arguments[3], channels = *(unsigned *)arguments[4];
        if (channels % pack != 0)
            wrong(kernel, "this kernel is not for so many channels", (void *)(uintptr_t)channels);
        check_argument(kernel, address_of(arguments, 0), height * width * channels * first, align);
        check_argument(kernel, address_of(arguments, 1), 4 * height * width * channels * last, align);
        return;
    }
    if (strncmp(kernel, "weave_", 6) == 0) {
        size_t values = *(size_t *)arguments[6] * pack, width = *(unsigned *)arguments[7], channels = *(unsigned *)arguments[8];
        if (channels % pack != 0 || values % (width * channels) != 0)
            wrong(kernel, "this kernel is not for so many channels", (void *)(uintptr_t)channels);
        for (int i = 0; i < 4; i++)
            check_argument(kernel, address_of(arguments, i), values * first, align);
        check_argument(kernel, address_of(arguments, 4), channels * floats, align);
        check_argument(kernel, address_of(arguments, 5), 4 * values * first, align);
        return;
    }
    bool narrow = strncmp(kernel, "add_narrow_", 11) == 0;
    bool blend = strncmp(kernel, "blend_", 6) == 0, stack = strncmp(kernel, "stack_", 6) == 0;
    if (!added && !blend && !stack)
        wrong(kernel, "the stub does not know this kernel", NULL);
    size_t values = *(size_t *)arguments[blend ? 5 : 4] * pack, channels = *(unsigned *)arguments[blend ? 6 : 5];
    if (channels % pack != 0 || values % channels != 0)
        wrong(kernel, "this kernel is not for so many channels", (void *)(uintptr_t)channels);
    if (added) {
        check_argument(kernel, address_of(arguments, 0), values * first, align);
        check_argument(kernel, address_of(arguments, 1), values * last, align);
        if (address_of(arguments, 2) != NULL)
            check_argument(kernel, address_of(arguments, 2), channels * floats, align);
        check_argument(kernel, address_of(arguments, 3), values * (narrow ? last : floats), align);
        return;
    }
    for (int i = 0; i < 3; i++)
        check_argument(kernel, address_of(arguments, i), (blend ? 3 : 1) * values * first, align);
    for (int i = 0; blend && i < 9; i++)
        if (!(((float *)arguments[3])[i] >= -1 && ((float *)arguments[3])[i] <= 2))
            wrong(kernel, "this is no weight", arguments[3]);
    check_argument(kernel, address_of(arguments, blend ? 4 : 3), values * (blend ? floats : 3 * first), align);
}

int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra) {
    check_context("cuLaunchKernel");
    check_stream("cuLaunchKernel", stream);
    if (grid_x == 0 || grid_y == 0 || grid_y > 65535 || grid_z != 1 || block_x != 256 || block_y != 1 || block_z != 1 ||
        shared != 0 || extra != NULL)
        wrong("cuLaunchKernel", "no such grid or block", function);
    if (tracing())
        fprintf(stderr, "cuda-stub: launches %s, %u x %u blocks\n", (const char *)function, grid_x, grid_y);
    if (strncmp(function, "pixels_", 7) == 0)
        check_pixels(function, stream, arguments);
    else
        check_arguments(function, arguments);
    COUNT_WORK(launches);
    COUNT_WORK(own);
    return launch_fails() ? LAUNCH_FAILED : SUCCESS;
}

/* cuBLAS. */

int cublasCreate_v2(void **out) { return create(out, BLAS); }
int cublasDestroy_v2(void *handle) { return destroy("cublasDestroy", handle, BLAS); }
int cublasSetStream_v2(void *handle, void *stream) {
    check("cublasSetStream", handle, BLAS);
    check_stream("cublasSetStream", stream);
    return SUCCESS;
}
int cublasGetMathMode(void *handle, int *mode) {
    check("cublasGetMathMode", handle, BLAS);
    return *mode = ((struct handle *)handle)->detail, SUCCESS;
}
int cublasSetMathMode(void *handle, int mode) {
    check("cublasSetMathMode", handle, BLAS);
    return ((struct handle *)handle)->detail = mode, SUCCESS;
}
const char *cublasGetStatusName(int status) { return status == 0 ? "CUBLAS_STATUS_SUCCESS" : "an error"; }
const char *cublasGetStatusString(int status) { return cublasGetStatusName(status); }
int cublasLtCreate(void **out) { return create(out, BLAS); }
int cublasLtDestroy(void *handle) { return destroy("cublasLtDestroy", handle, BLAS); }
int cublasLtMatmulDescCreate(void **out) { return create(out, BLAS_PART); }
int cublasLtMatmulDescDestroy(void *part) { return destroy("cublasLtMatmulDescDestroy", part, BLAS_PART); }
int cublasLtMatrixLayoutCreate(void **out) { return create(out, BLAS_PART); }
int cublasLtMatrixLayoutDestroy(void *part) { return destroy("cublasLtMatrixLayoutDestroy", part, BLAS_PART); }
int cublasLtMatmulPreferenceCreate(void **out) { return create(out, BLAS_PART); }
int cublasLtMatmulPreferenceDestroy(void *part) { return destroy("cublasLtMatmulPreferenceDestroy", part, BLAS_PART); }
int cublasLtMatrixTransformDescCreate(void **out) { return create(out, BLAS_PART); }
int cublasLtMatrixTransformDescDestroy(void *part) {
    return destroy("cublasLtMatrixTransformDescDestroy", part, BLAS_PART);
}
/* One way, which needs no working memory. */
struct matmul_way {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                   int asked, struct matmul_way *ways, int *found) {
    (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
    check("cublasLtMatmulAlgoGetHeuristic", handle, BLAS);
    *found = asked > 0;
    if (asked > 0)
        memset(ways, 0, sizeof *ways);
    return SUCCESS;
}

/* cuDNN. */

int cudnnCreate(void **out) { return create(out, DNN); }
int cudnnDestroy(void *handle) { return destroy("cudnnDestroy", handle, DNN); }
size_t cudnnGetVersion(void) { return 92801; }
size_t cudnnGetCudartVersion(void) { return 13000; }
const char *cudnnGetErrorString(int status) { return status == 0 ? "CUDNN_STATUS_SUCCESS" : "an error"; }
void cudnnGetLastErrorString(char *text, size_t size) {
    if (size > 0)
        *text = 0;
}
int cudnnSetStream(void *handle, void *stream) {
    check("cudnnSetStream", handle, DNN);
    check_stream("cudnnSetStream", stream);
    return ((struct handle *)handle)->stream = stream, SUCCESS;
}
int cudnnGetStream(void *handle, void **stream) {
    check("cudnnGetStream", handle, DNN);
    return *stream = ((struct handle *)handle)->stream, SUCCESS;
}

#define DESCRIPTOR(name) \
    int cudnnCreate##name##Descriptor(void **out) { return create(out, DNN_PART); } \
    int cudnnDestroy##name##Descriptor(void *part) { return destroy("cudnnDestroy" #name "Descriptor", part, DNN_PART); }
DESCRIPTOR(Activation)
DESCRIPTOR(Convolution)
DESCRIPTOR(Dropout)
DESCRIPTOR(Filter)
DESCRIPTOR(LRN)
DESCRIPTOR(Pooling)
DESCRIPTOR(RNN)
DESCRIPTOR(RNNData)
DESCRIPTOR(ReduceTensor)
DESCRIPTOR(Tensor)

/* Of the older interface: what has an answer. */
int cudnnGetReductionWorkspaceSize(void *handle, void *reduction, void *a, void *c, size_t *size) {
    (void)handle, (void)reduction, (void)a, (void)c;
    return *size = 0, SUCCESS;
}
int cudnnGetReductionIndicesSize(void *handle, void *reduction, void *a, void *c, size_t *size) {
    return cudnnGetReductionWorkspaceSize(handle, reduction, a, c, size);
}
int cudnnGetConvolutionForwardWorkspaceSize(void *handle, void *x, void *w, void *convolution, void *y, int algorithm,
                                            size_t *size) {
    (void)handle, (void)x, (void)w, (void)convolution, (void)y, (void)algorithm;
    return *size = 0, SUCCESS;
}
int cudnnDropoutGetStatesSize(void *handle, size_t *size) { return (void)handle, *size = 0, SUCCESS; }

/* Graphs of operations: every descriptor is right, the heuristics know one engine, which uses tensor cores, and its plan needs
 * no memory. */

enum {
    TYPE_INT64 = 3, TYPE_DESCRIPTOR = 15, TYPE_INT32 = 23,
    CONFIG_KNOBS = 302, ENGINE_NUMERICAL_NOTE = 1303, NOTE_TENSOR_CORE = 0, OPERATION_GRAPH = 15,
};

int cudnnBackendCreateDescriptor(int which, void **out) {
    if (which == OPERATION_GRAPH)
        COUNT(graphs, 1);
    create(out, DNN_PART);
    return ((struct handle *)*out)->detail = which, SUCCESS;
}
int cudnnBackendDestroyDescriptor(void *part) {
    return destroy("cudnnBackendDestroyDescriptor", part, DNN_PART);
}
int cudnnBackendSetAttribute(void *part) { return check("cudnnBackendSetAttribute", part, DNN_PART), SUCCESS; }
int cudnnBackendFinalize(void *part) { return check("cudnnBackendFinalize", part, DNN_PART), SUCCESS; }

int cudnnBackendGetAttribute(void *part, int attribute, int type, int64_t room, int64_t *count, void *out) {
    check("cudnnBackendGetAttribute", part, DNN_PART);
    if (attribute == ENGINE_NUMERICAL_NOTE) {
        if (out != NULL && room > 0)
            *(int *)out = NOTE_TENSOR_CORE;
        if (count != NULL)
            *count = 1;
        return SUCCESS;
    }
    bool numbers = (type == TYPE_INT64 || type == TYPE_INT32) && out != NULL && room > 0;
    if (numbers)
        memset(out, 0, type == TYPE_INT64 ? sizeof(int64_t) : sizeof(int32_t));
    /* What is a descriptor is one that the caller made: it stays what it is. An engine has nothing to turn. */
    if (count != NULL)
        *count = numbers || (type == TYPE_DESCRIPTOR && attribute != CONFIG_KNOBS);
    return SUCCESS;
}

int cudnnBackendExecute(void *handle, void *plan, void *pack) {
    check("cudnnBackendExecute", handle, DNN);
    check("cudnnBackendExecute: the plan", plan, DNN_PART);
    check("cudnnBackendExecute: the pointers", pack, DNN_PART);
    COUNT_WORK(cudnn);
    return SUCCESS;
}
