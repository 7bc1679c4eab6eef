/* What the C tests need of the system: one face, and a file for each kind of system, os_posix.c and os_windows.c. Threads are
 * POSIX threads everywhere, those of MinGW-w64 on Windows. */
#ifndef OS_H
#define OS_H

#include <stdio.h>

/* Names of the system. */
extern const char *const os_null;          /* a device that takes all */
extern const char *const os_library;       /* ours, and the way to it from a test's folder */
extern const char *const os_library_place;
extern const char *const os_runtime;       /* the runtime beside ours, another name for it, and how errors call both */
extern const char *const os_runtime_other; /* NULL: there is only one */
extern const char *const os_runtime_names;
extern const char *const os_runtime_damaged; /* what errors advise if a file is no library, and if there is none */
extern const char *const os_runtime_advice;
extern const char *const os_runtime_search; /* a format with the folder of the library */
extern const char *const os_foreign;       /* some library of the system */
extern const char *const os_separators;    /* the characters between folders, first the one in errors */

/* Whether the system lets nobody remove a library that is loaded. */
extern const int os_keeps_loaded;

/* What the system says of a file that is not there, and of a file in a folder that is not. */
const char *os_no_file(void);
const char *os_no_folder(void);

/* A new folder in TMPDIR or /tmp, on Windows in TEMP. These return 0, or -1 on failure. */
int os_temporary_folder(char *name, size_t size);
int os_make_folder(const char *path);
int os_hard_link(const char *file, const char *link);
/* -1 on Windows, where a user may not make one. */
int os_symbolic_link(const char *file, const char *link);

/* An empty file without a name, or NULL. Closing it removes it. The C library's tmpfile() uses only /tmp. */
FILE *os_temporary_file(void);

/* A file whose data cannot be written, which shows when its buffer is flushed; NULL: there is none here. */
FILE *os_full_file(void);

/* Limits how large files may become; 0: no longer. Then the same for the memory that the process takes beyond what it has.
 * These return 0, or -1 if there is no such limit here. */
int os_limit_files(unsigned long bytes);
int os_limit_memory(unsigned long bytes);

/* Calls `handler` when so many seconds are over, unless this is called again before. */
void os_limit_time(unsigned seconds, void (*handler)(int));

/* Whether the library must find a matrix unit: the CPU has one, and WFVAE_CPU does not take it away. */
int os_has_matrix_unit(void);

/* What errors say where it finds none. */
extern const char *const os_no_matrix_unit;

/* Gives this thread an alternate signal stack that is too small for handlers that save a matrix unit's registers; 0, or -1. */
int os_small_signal_stack(void);

/* Threads of this process. */
int os_thread_count(void);

/* Sets a variable of the environment; NULL: removes it. */
void os_set(const char *name, const char *value);

/* NULL: it cannot be loaded. os_find() writes a function's address to the pointer that `function` leads to; 0, or -1. */
void *os_load(const char *library);
int os_find(void *handle, const char *name, void *function);

#endif
