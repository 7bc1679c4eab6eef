/*
 * Mistakes that sanitizers must notice, one named by the argument; without a
 * mistake ("none") the program ends with 0. check_sanitizers.sh and
 * check_races.sh run it, in builds of their own.
 */
#include <wfvae.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 16, HEIGHT = 16, SIZE = 3 * WIDTH * HEIGHT };

/* The library goes through the whole of both frames. */
static int convert(size_t from_size, size_t to_size)
{
    wfvae_frame from, to;
    int status;

    memset(&from, 0, sizeof from);
    from.struct_size = sizeof from;
    from.format = WFVAE_PIXEL_FORMAT_RGB8;
    from.width = WIDTH;
    from.height = HEIGHT;
    from.strides[0] = 3 * WIDTH;
    to = from;
    from.planes[0] = calloc(from_size, 1);
    to.planes[0] = calloc(to_size, 1);
    status = wfvae_convert_frame(&from, &to);
    free(from.planes[0]);
    free(to.planes[0]);
    return status;
}

/* The model is never closed. */
static int leak(void)
{
    wfvae_model *model = NULL;
    const int status = wfvae_model_open("tests/golden/own-v2-image", NULL, &model);

    model = NULL;
    return status;
}

static long calls;

/* Counts without a lock. */
static void *count_a_call(void *data)
{
    calls += wfvae_version() != 0;
    return data;
}

static int race(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, count_a_call, NULL))
        return 1;
    count_a_call(NULL);
    return pthread_join(thread, NULL) || calls != 2;
}

int main(int count, char **words)
{
    const char *const mistake = count == 2 ? words[1] : "";

    if (!strcmp(mistake, "none"))
        return convert(SIZE, SIZE);
    if (!strcmp(mistake, "read"))
        return convert(SIZE - 1, SIZE);
    if (!strcmp(mistake, "write"))
        return convert(SIZE, SIZE - 1);
    if (!strcmp(mistake, "leak"))
        return leak();
    if (!strcmp(mistake, "shift"))
        return 1 << (count + 30) == 0;
    if (!strcmp(mistake, "race"))
        return race();
    return 2;
}
