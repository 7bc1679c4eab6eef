/* Statuses that a call may return. */
#ifndef STATUSES_H
#define STATUSES_H

#include "choices.h"

#include <wfvae.h>

enum {
    OK = 1 << 0,
    ARGUMENT = 1 << 1,
    SIZE = 1 << 2,
    CAPACITY = 1 << 3,
    STATE = 1 << 4,
    BUSY = 1 << 5,
    RESET = 1 << 6,
    IO = 1 << 7,
    MODEL_FILES = 1 << 8,
    LATENT_FILE = 1 << 9,
    PROVIDER = 1 << 10,
    RUNTIME = 1 << 11,
    NOT_FINITE = 1 << 12,
    CANCELLED = 1 << 13,
    MEMORY = 1 << 14,
};

static int bit_of(wfvae_status status)
{
    switch (status) {
    case WFVAE_STATUS_OK: return OK;
    case WFVAE_STATUS_INVALID_ARGUMENT: return ARGUMENT;
    case WFVAE_STATUS_INVALID_SIZE: return SIZE;
    case WFVAE_STATUS_CAPACITY: return CAPACITY;
    case WFVAE_STATUS_INVALID_STATE: return STATE;
    case WFVAE_STATUS_BUSY: return BUSY;
    case WFVAE_STATUS_NEEDS_RESET: return RESET;
    case WFVAE_STATUS_IO: return IO;
    case WFVAE_STATUS_CONFIG:
    case WFVAE_STATUS_CHECKPOINT:
    case WFVAE_STATUS_UNSUPPORTED_MODEL: return MODEL_FILES;
    case WFVAE_STATUS_LATENT_FILE: return LATENT_FILE;
    case WFVAE_STATUS_PROVIDER: return PROVIDER;
    case WFVAE_STATUS_RUNTIME: return RUNTIME;
    case WFVAE_STATUS_NOT_FINITE: return NOT_FINITE;
    case WFVAE_STATUS_CANCELLED: return CANCELLED;
    case WFVAE_STATUS_OUT_OF_MEMORY: return MEMORY;
    default: return 0;
    }
}

/* Fails unless the status is one of these, and an error has a text. `good`: nothing is wrong with the arguments. `bad`: something is. */
static int check_status(const char *call, wfvae_status status, int allowed, int good, int bad)
{
    const char *text = wfvae_last_error(NULL);

    if (bad)
        allowed &= ~OK;
    if (good)
        allowed &= ~(ARGUMENT | SIZE | CAPACITY);
    if (!(bit_of(status) & allowed) || (status != WFVAE_STATUS_OK && !*text) || !*wfvae_status_str((int32_t)status)) {
        fprintf(stderr, "%s returned %d (%s), which it must not here: %s\n", call, (int)status, wfvae_status_str((int32_t)status), text);
        abort();
    }
    return status == WFVAE_STATUS_OK;
}

#endif
