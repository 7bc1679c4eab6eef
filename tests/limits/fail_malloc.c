/* Preloaded: memory that ends at the n-th allocation. Counted are those that one part of the program asks for itself (the
 * executable or a library), and when it is asked for, large ones of anybody. For glibc.
 *
 * Maps are not counted: Rust's standard library ends the process where a new thread gets none for its signals' stack. Nor
 * are small allocations inside other libraries: the C++ of ONNX Runtime ends the process at some of them, in threads and
 * destructors from which no exception may come. */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void fail_malloc_start(long first, long last, const void *part);
void fail_malloc_large(size_t large);
long fail_malloc_stop(void);

static atomic_int armed;
static atomic_long seen;
static long first_failing, last_failing;
static atomic_size_t large_bytes;
static uintptr_t part_start, part_end;

static int find_part(struct dl_phdr_info *info, size_t size, void *address)
{
    uintptr_t start = UINTPTR_MAX, end = 0;
    int i;

    (void)size;
    for (i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        start = from < start ? from : start;
        end = from + info->dlpi_phdr[i].p_memsz > end ? from + info->dlpi_phdr[i].p_memsz : end;
    }
    if ((uintptr_t)address < start || (uintptr_t)address >= end)
        return 0;
    part_start = start;
    part_end = end;
    return 1;
}

/* The allocations from number `first` (of 0, 1, ...) to `last` fail: of `part`, which holds that address. */
void fail_malloc_start(long first, long last, const void *part)
{
    dl_iterate_phdr(find_part, (void *)(uintptr_t)part);
    first_failing = first;
    last_failing = last;
    large_bytes = SIZE_MAX;
    seen = 0;
    armed = 1;
}

/* From now on those of anybody count that are of at least so many bytes. */
void fail_malloc_large(size_t large)
{
    large_bytes = large;
}

/* How many were counted. */
long fail_malloc_stop(void)
{
    armed = 0;
    return seen;
}

static int fails(size_t size, const void *caller)
{
    long number;

    /* A new thread's handle comes from Rust's standard library, which takes it from the system and ends the process. */
    if (!armed || size <= 64)
        return 0;
    if (size < large_bytes && ((uintptr_t)caller < part_start || (uintptr_t)caller >= part_end))
        return 0;
    number = seen++;
    if (number < first_failing || number > last_failing)
        return 0;
    errno = ENOMEM;
    return 1;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    return fails(size, CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size, CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return fails(size, CALLER) ? NULL : __libc_realloc(block, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *found = fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);

    if (found == NULL)
        return ENOMEM;
    *block = found;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
}
