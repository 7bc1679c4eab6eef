/* Preloaded: calls to the system that fail, or do less than they were asked to. fail_start() says which, of what kinds and how.
 * Counted are those that one part of the program makes itself (the executable or a library). For glibc.
 *
 * What other libraries ask for is not counted, but for large blocks of memory when that is asked for: the C++ of ONNX Runtime ends
 * the process at some small ones, in threads and destructors from which no exception may come, and waits for ever where it gets one
 * thread of two. What the C library asks of itself never comes here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void fail_start(const char *kinds, long first, long last, long every, int how, const void *part);
void fail_large(size_t large);
long fail_stop(void);

/* `how`, where it is no error number. */
enum { SHORT = -1, ENDS = -2 };

/* At most so many bytes where a call does less than it was asked to. */
#define FEW 3

static atomic_int armed;
static atomic_long seen;
static long first_failing, last_failing, every_failing;
static int how_failing;
static char kinds_failing[128];
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

/* Of the calls of these kinds ("memory", or several as in "open read write"), which `part` makes that holds that address, number
 * `first` (of 0, 1, ...) to `last` fail, or each `every`-th of these: with the error `how`; or they read and write little (SHORT), or
 * read nothing (ENDS). */
void fail_start(const char *kinds, long first, long last, long every, int how, const void *part)
{
    dl_iterate_phdr(find_part, (void *)(uintptr_t)part);
    strncpy(kinds_failing, kinds, sizeof kinds_failing - 1);
    first_failing = first;
    last_failing = last;
    every_failing = every;
    how_failing = how;
    large_bytes = SIZE_MAX;
    seen = 0;
    armed = 1;
}

/* From now on blocks of memory count that are of at least so many bytes, whoever asks for them. */
void fail_large(size_t large)
{
    large_bytes = large;
}

/* How many calls were counted. */
long fail_stop(void)
{
    armed = 0;
    return seen;
}

static int is_counted(const char *kind)
{
    size_t length = strlen(kind);
    const char *at = kinds_failing;

    while ((at = strstr(at, kind)) != NULL) {
        if ((at == kinds_failing || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return 1;
        at += length;
    }
    return 0;
}

/* What becomes of a call: 0 if it goes on as it is, or `how`. */
static int fate(const char *kind, const void *caller)
{
    long number;

    if (!armed || (uintptr_t)caller < part_start || (uintptr_t)caller >= part_end || !is_counted(kind))
        return 0;
    number = seen++;
    if (number < first_failing || number > last_failing || (number - first_failing) % every_failing != 0)
        return 0;
    return how_failing;
}

/* Whether it fails with an error, which is in errno then. */
static int fails(const char *kind, const void *caller)
{
    int how = fate(kind, caller);

    if (how <= 0)
        return 0;
    errno = how;
    return 1;
}

static int memory_fails(size_t size, const void *caller)
{
    long number;

    if (!armed || !is_counted("memory"))
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
    return memory_fails(size, CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    size_t all = size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size;

    return memory_fails(all, CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return memory_fails(size, CALLER) ? NULL : __libc_realloc(block, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *found = memory_fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);

    if (found == NULL)
        return ENOMEM;
    *block = found;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memory_fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    return memory_fails(size, CALLER) ? NULL : __libc_memalign(alignment, size);
}

/* The C library's function of that name. */
static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* A function that fails as a whole: NAME(parameters) with these arguments gives FAILED. */
#define FAILS(kind, result, failed, name, parameters, arguments)                                                                 \
    result name parameters;                                                                                                      \
    result name parameters                                                                                                       \
    {                                                                                                                            \
        return fails(kind, CALLER) ? (failed) : ((result(*) parameters)real(#name))arguments;                                    \
    }

#define PAST_END ((void *)-1)

FAILS("map", void *, PAST_END, mmap, (void *at, size_t n, int mode, int flags, int fd, off_t from), (at, n, mode, flags, fd, from))
FAILS("map", void *, PAST_END, mmap64, (void *at, size_t n, int mode, int flags, int fd, off_t from), (at, n, mode, flags, fd, from))
FAILS("map", int, -1, mprotect, (void *at, size_t n, int mode), (at, n, mode))
FAILS("map", int, -1, madvise, (void *at, size_t n, int advice), (at, n, advice))
FAILS("list", void *, NULL, opendir, (const char *path), (path))
FAILS("list", void *, NULL, fdopendir, (int fd), (fd))
FAILS("list", void *, NULL, readdir, (void *folder), (folder))
FAILS("list", void *, NULL, readdir64, (void *folder), (folder))
/* Whoever asks for a file without opening it. */
FAILS("stat", int, -1, stat, (const char *path, void *to), (path, to))
FAILS("stat", int, -1, stat64, (const char *path, void *to), (path, to))
FAILS("stat", int, -1, lstat, (const char *path, void *to), (path, to))
FAILS("stat", int, -1, lstat64, (const char *path, void *to), (path, to))
FAILS("stat", int, -1, fstat, (int fd, void *to), (fd, to))
FAILS("stat", int, -1, fstat64, (int fd, void *to), (fd, to))
FAILS("stat", int, -1, fstatat64, (int fd, const char *path, void *to, int flags), (fd, path, to, flags))
FAILS("stat", int, -1, statx, (int fd, const char *path, int flags, unsigned what, void *to), (fd, path, flags, what, to))
FAILS("stat", ssize_t, -1, readlink, (const char *path, char *to, size_t n), (path, to, n))
FAILS("stat", char *, NULL, realpath, (const char *path, char *to), (path, to))
FAILS("stat", char *, NULL, getcwd, (char *to, size_t n), (to, n))
FAILS("sync", int, -1, fsync, (int fd), (fd))
FAILS("sync", int, -1, fdatasync, (int fd), (fd))
FAILS("rename", int, -1, rename, (const char *from, const char *to), (from, to))
FAILS("rename", int, -1, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
FAILS("rename", int, -1, renameat2, (int a, const char *from, int b, const char *to, unsigned f), (a, from, b, to, f))
FAILS("rename", int, -1, link, (const char *from, const char *to), (from, to))
FAILS("rename", int, -1, linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f))
FAILS("seek", off_t, -1, lseek, (int fd, off_t to, int from), (fd, to, from))
FAILS("seek", off_t, -1, lseek64, (int fd, off_t to, int from), (fd, to, from))
FAILS("seek", int, -1, ftruncate, (int fd, off_t to), (fd, to))
FAILS("seek", int, -1, ftruncate64, (int fd, off_t to), (fd, to))
FAILS("lock", int, -1, flock, (int fd, int how), (fd, how))
FAILS("unlink", int, -1, unlink, (const char *path), (path))
FAILS("unlink", int, -1, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))

/* Bytes that go to or come from a file. */
#define MOVES(kind, name, parameters, arguments, n)                                                                              \
    ssize_t name parameters;                                                                                                     \
    ssize_t name parameters                                                                                                      \
    {                                                                                                                            \
        int how = fate(kind, CALLER);                                                                                            \
                                                                                                                                 \
        if (how > 0) {                                                                                                           \
            errno = how;                                                                                                         \
            return -1;                                                                                                           \
        }                                                                                                                        \
        if (how == ENDS)                                                                                                         \
            return 0;                                                                                                            \
        if (how == SHORT && (n) > FEW)                                                                                           \
            (n) = FEW;                                                                                                           \
        return ((ssize_t(*) parameters)real(#name))arguments;                                                                    \
    }

MOVES("read", read, (int fd, void *to, size_t n), (fd, to, n), n)
MOVES("read", pread, (int fd, void *to, size_t n, off_t from), (fd, to, n, from), n)
MOVES("read", pread64, (int fd, void *to, size_t n, off_t from), (fd, to, n, from), n)
MOVES("write", write, (int fd, const void *from, size_t n), (fd, from, n), n)
MOVES("write", pwrite, (int fd, const void *from, size_t n, off_t to), (fd, from, n, to), n)
MOVES("write", pwrite64, (int fd, const void *from, size_t n, off_t to), (fd, from, n, to), n)
/* Lists of blocks, of which few are few enough. */
MOVES("read", readv, (int fd, const void *to, int count), (fd, to, count), count)
MOVES("write", writev, (int fd, const void *from, int count), (fd, from, count), count)

/* The mode, an argument that is not always there, is read as the C library reads it. */
#define OPENS(name, parameters, arguments)                                                                                       \
    int name parameters;                                                                                                         \
    int name parameters                                                                                                          \
    {                                                                                                                            \
        int (*open_it) parameters = (int (*) parameters)real(#name);                                                             \
        va_list more;                                                                                                            \
        unsigned mode;                                                                                                           \
                                                                                                                                 \
        if (fails("open", CALLER))                                                                                               \
            return -1;                                                                                                           \
        va_start(more, flags);                                                                                                   \
        mode = va_arg(more, unsigned);                                                                                           \
        va_end(more);                                                                                                            \
        return open_it arguments;                                                                                                \
    }

OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENS(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

/* It gives the error itself. */
int pthread_create(pthread_t *thread, const pthread_attr_t *with, void *(*work)(void *), void *argument)
{
    int how = fate("thread", CALLER);

    return how > 0 ? how : ((int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))real("pthread_create"))(
                               thread, with, work, argument);
}
