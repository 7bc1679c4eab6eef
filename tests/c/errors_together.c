/* The programs that PROGRAMS lists, in one process: loading the library takes a quarter of a minute under valgrind. Each has
 * a thread of its own, in which no call has failed yet. The arguments are theirs. */
#include <pthread.h>
#include <stddef.h>

#define PROGRAM(name) int name##_main(int, char **);
PROGRAMS
#undef PROGRAM

static struct program {
    int (*main)(int, char **);
    int argc;
    char **argv;
    int failed;
} programs[] = {
#define PROGRAM(name) { name##_main, 0, NULL, 0 },
    PROGRAMS
#undef PROGRAM
};

static void *run(void *argument)
{
    struct program *program = argument;
    program->failed = program->main(program->argc, program->argv);
    return NULL;
}

int main(int argc, char **argv)
{
    int failed = 0;
    size_t i;

    for (i = 0; i < sizeof programs / sizeof *programs; i++) {
        pthread_t thread;
        programs[i].argc = argc;
        programs[i].argv = argv;
        if (pthread_create(&thread, NULL, run, &programs[i]) || pthread_join(thread, NULL))
            return 2;
        failed |= programs[i].failed;
    }
    return failed;
}
