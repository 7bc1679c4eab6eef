#include "os.h"

#include <direct.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <windows.h>

#include <tlhelp32.h>

const char *const os_null = "NUL";
const char *const os_library = "wfvae.dll";
const char *const os_library_place = "";
const char *const os_runtime = "onnxruntime.dll";
const char *const os_runtime_other = NULL;
const char *const os_runtime_names = "onnxruntime.dll";
const char *const os_runtime_damaged = "it is damaged, or for another kind of CPU";
const char *const os_runtime_advice = "set WFVAE_ONNXRUNTIME to the path of onnxruntime.dll";
const char *const os_runtime_search = "the process has loaded none; the folder of libwfvae, %s, has no onnxruntime.dll; "
                                      "the loader's search path has no onnxruntime.dll";
const char *const os_foreign = "version.dll";
const char *const os_separators = "\\/";

const int os_keeps_loaded = 1;

/* An error in the user's language. */
static const char *words(DWORD error, char text[300])
{
    wchar_t wide[200] = L"";
    char *end;

    FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error, 0, wide,
                   sizeof wide / sizeof *wide, NULL);
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, 250, NULL, NULL);
    end = text + strlen(text);
    while (end > text && strchr("\r\n ", end[-1]))
        end--;
    sprintf(end, " (os error %lu)", error);
    return text;
}

const char *os_no_file(void)
{
    static char text[300];
    return words(ERROR_FILE_NOT_FOUND, text);
}

const char *os_no_folder(void)
{
    static char text[300];
    return words(ERROR_PATH_NOT_FOUND, text);
}

/* Another name each time. A process that has ended may have had the number of this one. */
static void temporary_name(char *name, size_t size)
{
    static LONG count;
    char folder[MAX_PATH + 1] = "";

    GetTempPathA(sizeof folder, folder);
    snprintf(name, size, "%swfvae-%lu-%ld", folder, GetCurrentProcessId(), InterlockedIncrement(&count));
}

int os_temporary_folder(char *name, size_t size)
{
    int failed;

    do {
        temporary_name(name, size);
        failed = _mkdir(name);
    } while (failed && errno == EEXIST);
    return failed;
}

int os_make_folder(const char *path)
{
    return _mkdir(path);
}

int os_hard_link(const char *file, const char *at)
{
    return CreateHardLinkA(at, file, NULL) ? 0 : -1;
}

int os_symbolic_link(const char *file, const char *at)
{
    (void)file;
    (void)at;
    return -1;
}

FILE *os_temporary_file(void)
{
    char name[1024];
    int descriptor;

    do {
        temporary_name(name, sizeof name);
        descriptor = _open(name, _O_CREAT | _O_EXCL | _O_RDWR | _O_BINARY | _O_TEMPORARY, _S_IREAD | _S_IWRITE);
    } while (descriptor < 0 && errno == EEXIST);
    return descriptor < 0 ? NULL : _fdopen(descriptor, "w+b");
}

/* A pipe that nobody reads. */
FILE *os_full_file(void)
{
    int ends[2];

    if (_pipe(ends, 4096, _O_BINARY))
        return NULL;
    _close(ends[0]);
    return _fdopen(ends[1], "wb");
}

int os_limit_files(unsigned long bytes)
{
    (void)bytes;
    return -1;
}

int os_limit_memory(unsigned long bytes)
{
    (void)bytes;
    return -1;
}

static struct {
    void (*handler)(int);
    LONG64 end; /* milliseconds, as of GetTickCount64() */
} time_limit;

static DWORD WINAPI watch(void *unused)
{
    (void)unused;
    while ((LONG64)GetTickCount64() < InterlockedAdd64(&time_limit.end, 0))
        Sleep(100);
    time_limit.handler(0);
    return 0;
}

void os_limit_time(unsigned seconds, void (*handler)(int))
{
    const int first = !time_limit.handler;

    time_limit.handler = handler;
    InterlockedExchange64(&time_limit.end, (LONG64)GetTickCount64() + 1000 * (LONG64)seconds);
    if (first)
        CloseHandle(CreateThread(NULL, 0, watch, NULL, 0, NULL));
}

/* The CPU may have one, which the library does not use on Windows. */
const char *const os_no_matrix_unit = "matrix unit";

int os_has_matrix_unit(void)
{
    return 0;
}

int os_small_signal_stack(void)
{
    return -1;
}

int os_thread_count(void)
{
    HANDLE threads = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    THREADENTRY32 thread;
    int count = 0;
    BOOL more;

    thread.dwSize = sizeof thread;
    for (more = Thread32First(threads, &thread); more; more = Thread32Next(threads, &thread))
        count += thread.th32OwnerProcessID == GetCurrentProcessId();
    CloseHandle(threads);
    return count;
}

void os_set(const char *name, const char *value)
{
    /* The first removes what gets an empty value; the second, which the library reads, does not. */
    _putenv_s(name, value ? value : "");
    SetEnvironmentVariableA(name, value);
}

void *os_load(const char *library)
{
    return LoadLibraryA(library);
}

int os_find(void *handle, const char *name, void *function)
{
    FARPROC symbol = GetProcAddress((HMODULE)handle, name);

    memcpy(function, &symbol, sizeof symbol);
    return symbol ? 0 : -1;
}
