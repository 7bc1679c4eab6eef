/* Choices that the bytes of an input make. Behind its end all are 0, so 0 is always the usual choice. */
#ifndef INPUT_H
#define INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t left;
};

static unsigned take(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->data++;
}

static unsigned below(struct input *in, unsigned count)
{
    return take(in) % count;
}

/* Once in 16 times. */
static int seldom(struct input *in)
{
    return take(in) >= 240;
}

static void expect_at(int condition, const char *what, const char *file, int line)
{
    if (!condition) {
        fprintf(stderr, "%s:%d: expected: %s\n", file, line, what);
        abort();
    }
}

#define EXPECT(condition) expect_at(!!(condition), #condition, __FILE__, __LINE__)

#endif
