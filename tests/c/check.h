/* What the C tests share: one line per result, and counts for the end. */
#ifndef CHECK_H
#define CHECK_H

#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>

static int passed, failed;

static void result(const char *name, int ok)
{
    printf("%s %s\n", ok ? "ok" : "FAILED", name);
    fflush(stdout); /* Windows has no buffer of lines */
    if (ok)
        passed++;
    else
        failed++;
}

/* For preparations: if one fails, the cases mean nothing, and the program ends. */
static inline void must(int ok, const char *what)
{
    if (ok)
        return;
    printf("FAILED %s: %s\n", what, wfvae_last_error(NULL));
    exit(EXIT_FAILURE);
}

#endif
