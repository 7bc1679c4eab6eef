#define _XOPEN_SOURCE 700

#include "os.h"

#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const os_null = "/dev/null";
const char *const os_library = "libwfvae.so";
const char *const os_library_place = "../";
const char *const os_runtime = "libonnxruntime.so.1";
const char *const os_runtime_other = "libonnxruntime.so.1.24.1";
const char *const os_runtime_names = "libonnxruntime.so*";
const char *const os_runtime_damaged = "set WFVAE_ONNXRUNTIME";
const char *const os_runtime_advice = "set WFVAE_ONNXRUNTIME to the path of libonnxruntime.so";
const char *const os_runtime_search = "the process has loaded none; the folder of libwfvae, %s, has no libonnxruntime.so*; "
                                      "the loader's search path: libonnxruntime.so.1: ";
const char *const os_foreign = "libm.so.6";
const char *const os_separators = "/";

const int os_keeps_loaded = 0;

const char *os_no_file(void)
{
    return "No such file or directory (os error 2)";
}

const char *os_no_folder(void)
{
    return os_no_file();
}

/* A template for mkdtemp and mkstemp. */
static void temporary_name(char *name, size_t size)
{
    const char *folder = getenv("TMPDIR");
    snprintf(name, size, "%s/wfvae-XXXXXX", folder && *folder ? folder : "/tmp");
}

int os_temporary_folder(char *name, size_t size)
{
    temporary_name(name, size);
    return mkdtemp(name) ? 0 : -1;
}

int os_make_folder(const char *path)
{
    return mkdir(path, 0777);
}

int os_hard_link(const char *file, const char *at)
{
    return link(file, at);
}

int os_symbolic_link(const char *file, const char *at)
{
    return symlink(file, at);
}

FILE *os_temporary_file(void)
{
    char name[1024];
    int descriptor;
    FILE *file;

    temporary_name(name, sizeof name);
    descriptor = mkstemp(name);
    if (descriptor < 0)
        return NULL;
    unlink(name);
    file = fdopen(descriptor, "w+b");
    if (!file)
        close(descriptor);
    return file;
}

FILE *os_full_file(void)
{
    return fopen("/dev/full", "wb");
}

/* 0 bytes: as it was before. */
static int limit(int resource, struct rlimit *before, rlim_t bytes)
{
    struct rlimit limits;

    if (!bytes)
        return setrlimit(resource, before);
    if (getrlimit(resource, before))
        return -1;
    limits = *before;
    limits.rlim_cur = bytes;
    return setrlimit(resource, &limits);
}

int os_limit_files(unsigned long bytes)
{
    static struct rlimit before;

    signal(SIGXFSZ, SIG_IGN);
    return limit(RLIMIT_FSIZE, &before, bytes);
}

/* Whether the process may still take so many bytes. */
static int granted(unsigned long bytes)
{
    void *volatile memory = malloc(bytes);

    free(memory);
    return memory != NULL;
}

int os_limit_memory(unsigned long bytes)
{
    static struct rlimit before;
    unsigned long pages = 0;
    FILE *file = bytes ? fopen("/proc/self/statm", "r") : NULL;
    const int known = !bytes || (file && fscanf(file, "%lu", &pages) == 1);

    if (file)
        fclose(file);
    if (!known || limit(RLIMIT_AS, &before, bytes ? pages * (rlim_t)sysconf(_SC_PAGESIZE) + bytes : 0))
        return -1;
    /* Twice as much, as the process may have given some back since. */
    if (!bytes || !granted(2 * bytes))
        return 0;
    /* QEMU says that it set the limit, and does not. */
    limit(RLIMIT_AS, &before, 0);
    return -1;
}

void os_limit_time(unsigned seconds, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

const char *const os_no_matrix_unit = "this CPU, or the level that WFVAE_CPU forces, has no matrix unit (amx_tile and amx_bf16)";

int os_has_matrix_unit(void)
{
    int found = 0;
#if defined(__linux__) && defined(__x86_64__)
    const char *forced = getenv("WFVAE_CPU");
    unsigned a, b, c, d;
    char line[8192];
    FILE *file = fopen("/proc/cpuinfo", "r");

    /* The system must know the unit, too. Valgrind's CPU has none. */
    while (file && !found && fgets(line, sizeof line, file))
        found = !strncmp(line, "flags", 5) && strstr(line, " amx_bf16 ");
    if (file)
        fclose(file);
    found = found && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & (1u << 22)) && (!forced || !*forced || !strcmp(forced, "amx"));
#endif
    return found;
}

int os_small_signal_stack(void)
{
    static char memory[8192]; /* the registers alone take as much */
    stack_t stack = {0};

    stack.ss_sp = memory;
    stack.ss_size = sizeof memory;
    return sigaltstack(&stack, NULL);
}

int os_thread_count(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int count = 0;

    while (tasks && (task = readdir(tasks)))
        count += task->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return count;
}

void os_set(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

void *os_load(const char *library)
{
    return dlopen(library, RTLD_NOW | RTLD_LOCAL);
}

/* C has no conversion from an object's pointer to a function's. */
int os_find(void *handle, const char *name, void *function)
{
    void *symbol = dlsym(handle, name);

    memcpy(function, &symbol, sizeof symbol);
    return symbol ? 0 : -1;
}
