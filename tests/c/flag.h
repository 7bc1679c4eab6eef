/* A flag that threads share. C99 has no atomic types, and volatile is none. */
#ifndef FLAG_H
#define FLAG_H

#include <pthread.h>

typedef struct flag {
    pthread_mutex_t lock;
    int up;
} flag;

#define FLAG {PTHREAD_MUTEX_INITIALIZER, 0}

static inline void set_flag(flag *shared, int up)
{
    pthread_mutex_lock(&shared->lock);
    shared->up = up;
    pthread_mutex_unlock(&shared->lock);
}

static inline int is_up(flag *shared)
{
    int up;

    pthread_mutex_lock(&shared->lock);
    up = shared->up;
    pthread_mutex_unlock(&shared->lock);
    return up;
}

#endif
