/* The wide functions of the system take every name of a file. An application manifest that makes the narrow ones take UTF-8
 * would be shorter, but Windows Server 2019, which is still supported, ignores it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <windows.h>

/* From this length on, the system takes only paths that begin with \\?\. */
enum { LONG_PATH = 248 };

static UINT code_page; /* of the console, before this program */
static HANDLE main_thread;
static void (*on_interrupt)(int);

/* -1, with errno set, for a path that cannot be one. */
static int to_full(const char *path, wchar_t full[SYSTEM_PATH])
{
    static const wchar_t plain[] = L"\\\\?\\", share[] = L"\\\\?\\UNC";
    wchar_t wide[SYSTEM_PATH];
    const wchar_t *prefix = plain;
    DWORD length;
    size_t before, from = 0;

    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, SYSTEM_PATH)) {
        errno = GetLastError() == ERROR_INSUFFICIENT_BUFFER ? ENAMETOOLONG : EILSEQ;
        return -1;
    }
    length = GetFullPathNameW(wide, SYSTEM_PATH, full, NULL);
    if (length == 0 || length >= SYSTEM_PATH) {
        errno = length ? ENAMETOOLONG : ENOENT;
        return -1;
    }
    if (length < LONG_PATH || !wcsncmp(full, L"\\\\?\\", 4) || !wcsncmp(full, L"\\\\.\\", 4))
        return 0;
    if (!wcsncmp(full, L"\\\\", 2)) {
        prefix = share;
        from = 1;
    }
    before = wcslen(prefix);
    if (before + length - from >= SYSTEM_PATH) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memmove(full + before, full + from, (length - from + 1) * sizeof *full);
    memcpy(full, prefix, before * sizeof *full);
    return 0;
}

/* As the system compares names. */
static int to_name(wchar_t *wide, char name[SYSTEM_NAME])
{
    CharLowerBuffW(wide, (DWORD)wcslen(wide));
    return WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, name, SYSTEM_NAME, NULL, NULL) ? 0 : -1;
}

static int has_console(DWORD stream)
{
    DWORD mode;
    return GetConsoleMode(GetStdHandle(stream), &mode) != 0;
}

static void restore_console(void)
{
    SetConsoleOutputCP(code_page);
}

/* Without on_interrupt the system ends the program, and calls no function of atexit(). */
static BOOL WINAPI interrupted(DWORD event)
{
    if (!on_interrupt) {
        if (code_page)
            restore_console();
        return FALSE;
    }
    on_interrupt(0);
    CancelSynchronousIo(main_thread);
    /* After these the system ends the program when this function returns, or some seconds later. */
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT)
        Sleep(INFINITE);
    return TRUE;
}

static void stop(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(EXIT_FAILURE);
}

void system_start(int *argc, char ***argv)
{
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), argc);
    int i;

    if (!wide || !(*argv = calloc((size_t)*argc + 1, sizeof **argv)))
        stop("memory: not enough");
    for (i = 0; i < *argc; i++) {
        const int size = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide[i], -1, NULL, 0, NULL, NULL);
        if (!size)
            stop("an argument is not Unicode: it has half of a pair of surrogates; rename the file");
        if (!((*argv)[i] = malloc((size_t)size)))
            stop("memory: not enough");
        WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, (*argv)[i], size, NULL, NULL);
    }
    LocalFree(wide);

    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    /* Without a buffer, MinGW's fprintf() writes single bytes, of which an older console makes no character. */
    setvbuf(stderr, NULL, _IOFBF, BUFSIZ);
    if (has_console(STD_OUTPUT_HANDLE))
        setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    /* In a pipeline the first program changes the page, and restores it. */
    if ((has_console(STD_OUTPUT_HANDLE) || has_console(STD_ERROR_HANDLE)) && GetConsoleOutputCP() != CP_UTF8) {
        code_page = GetConsoleOutputCP();
        SetConsoleOutputCP(CP_UTF8);
        atexit(restore_console);
    }
    SetConsoleCtrlHandler(interrupted, TRUE);
}

FILE *system_open(const char *path, const char *mode)
{
    wchar_t full[SYSTEM_PATH], wide_mode[8] = L"";
    FILE *file;
    system_id id;
    size_t i;

    if (to_full(path, full))
        return NULL;
    for (i = 0; mode[i] && i + 1 < sizeof wide_mode / sizeof *wide_mode; i++)
        wide_mode[i] = (wchar_t)mode[i];
    file = _wfopen(full, wide_mode);
    if (!file && errno == EACCES && !system_find(path, &id) && id.kind == SYSTEM_FOLDER)
        errno = EISDIR;
    return file;
}

/* Wine does not know the volume of a standard stream, and says 0. */
int system_same(const system_id *a, const system_id *b)
{
    return a->index == b->index && (a->device == b->device || !a->device || !b->device);
}

static int find_handle(HANDLE handle, system_id *id)
{
    BY_HANDLE_FILE_INFORMATION found;

    memset(id, 0, sizeof *id);
    switch (GetFileType(handle)) {
    case FILE_TYPE_CHAR:
        id->kind = SYSTEM_DEVICE;
        return 0;
    case FILE_TYPE_DISK:
        if (!GetFileInformationByHandle(handle, &found))
            return -1;
        id->device = found.dwVolumeSerialNumber;
        id->index = (uint64_t)found.nFileIndexHigh << 32 | found.nFileIndexLow;
        id->kind = found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? SYSTEM_FOLDER : SYSTEM_FILE;
        return 0;
    default: /* nothing tells one pipe from another */
        return -1;
    }
}

static int find_wide(const wchar_t *full, system_id *id)
{
    HANDLE handle;
    int failed;

    /* To open a pipe, even for a moment, would end it for its other side. */
    if (!wcsncmp(full, L"\\\\.\\", 4))
        return -1;
    handle = CreateFileW(full, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                         FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (handle == INVALID_HANDLE_VALUE)
        return -1;
    failed = find_handle(handle, id);
    CloseHandle(handle);
    return failed;
}

int system_find(const char *path, system_id *id)
{
    wchar_t full[SYSTEM_PATH];
    return to_full(path, full) ? -1 : find_wide(full, id);
}

int system_find_open(FILE *file, system_id *id)
{
    return find_handle((HANDLE)_get_osfhandle(_fileno(file)), id);
}

int system_find_new(const char *path, system_id *folder, char name[SYSTEM_NAME])
{
    wchar_t full[SYSTEM_PATH], *last;

    if (to_full(path, full) || !(last = wcsrchr(full, L'\\')) || to_name(last + 1, name))
        return -1;
    last[1] = 0;
    return find_wide(full, folder);
}

size_t system_folder_length(const char *path)
{
    size_t length = strlen(path);

    while (length && !strchr("/\\:", path[length - 1]))
        length--;
    return length;
}

int system_list(const char *folder, int (*each)(void *user, const char *name), void *user)
{
    wchar_t full[SYSTEM_PATH];
    char name[SYSTEM_NAME];
    WIN32_FIND_DATAW entry;
    HANDLE search;
    size_t length;
    int end = 0;

    if (to_full(folder, full) || (length = wcslen(full)) + 3 > SYSTEM_PATH)
        return 0;
    /* In long paths the system takes no second separator for none. */
    wcscpy(full + length, length && full[length - 1] == L'\\' ? L"*" : L"\\*");
    search = FindFirstFileW(full, &entry);
    if (search == INVALID_HANDLE_VALUE)
        return 0;
    do
        end = to_name(entry.cFileName, name) ? 0 : each(user, name);
    while (!end && FindNextFileW(search, &entry));
    FindClose(search);
    return end;
}

int system_is_terminal(FILE *file)
{
    DWORD mode;
    return GetConsoleMode((HANDLE)_get_osfhandle(_fileno(file)), &mode) != 0;
}

void system_on_interrupt(void (*handler)(int))
{
    DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &main_thread, 0, FALSE,
                    DUPLICATE_SAME_ACCESS);
    on_interrupt = handler;
}
