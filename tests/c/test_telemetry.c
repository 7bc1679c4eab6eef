/* Telemetry stays off in a program that sets nothing: opening, using and closing a model leaves no file, no thread and no
 * environment variable behind, and opens no socket, with any version of ONNX Runtime.
 *
 * The work is done by this program itself, run once more with an empty home and working folder, under strace if that is
 * there. With the argument "short" it does not wait for what a telemetry would send after some seconds. */
#define _XOPEN_SOURCE 700

#include "check.h"
#include "flag.h"
#include "os.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* LINGER: seconds, somewhat longer than ONNX Runtime waits before it sends. */
enum { SIDE = 64, FRAMES = 5, LINGER = 14 };

/* Variables that turn ONNX Runtime's telemetry off; with one of these set the test would prove nothing. */
static const char *const quiet[] = {
    "ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "ORT_RUNNING_UNIT_TESTS", "CI", "TF_BUILD", "GITHUB_ACTIONS",
    "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL", "CODEBUILD_BUILD_ID", "BUILDKITE", "TEAMCITY_VERSION", "APPVEYOR",
    "BITBUCKET_BUILD_NUMBER", "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI", "XDG_CACHE_HOME"};

static int files;
static flag stop = FLAG;

/* ---- the second run ---- */

static int threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;

    must(tasks != NULL, "/proc/self/task");
    while (readdir(tasks))
        count++;
    closedir(tasks);
    return count - 2;
}

/* Other threads of a host read its environment while it opens a model. */
static void *reads_the_environment(void *unused)
{
    (void)unused;
    while (!is_up(&stop))
        must(getenv("HOME") && !getenv("WFVAE_NO_SUCH_VARIABLE"), "the environment");
    return NULL;
}

static size_t variables(void)
{
    size_t count = 0;

    while (environ[count])
        count++;
    return count;
}

static void use(void)
{
    static unsigned char pixels[3 * SIDE * SIDE];
    static float latents[1 << 14];
    wfvae_options options = {0};
    wfvae_frame frames[FRAMES];
    wfvae_info info = {0};
    wfvae_model *model;
    wfvae_stream *stream;
    size_t written, i;

    memset(frames, 0, sizeof frames);
    for (i = 0; i < FRAMES; i++) {
        frames[i].struct_size = sizeof frames[i];
        frames[i].format = WFVAE_PIXEL_FORMAT_RGB8;
        frames[i].width = frames[i].height = SIDE;
        frames[i].planes[0] = pixels;
        frames[i].strides[0] = 3 * SIDE;
    }
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    info.struct_size = sizeof info;
    must(!wfvae_model_open(NULL, NULL, &model) && !wfvae_create(model, &options, &stream), "model");
    must(!wfvae_get_info(stream, &info) && 2 * info.encoded_size <= sizeof latents, "latents");
    must(!wfvae_encode_chunk(stream, frames, FRAMES, latents, 2, &written) && written == 2, "encode");
    must(!wfvae_decode_chunk(stream, latents, written, frames, FRAMES, &written), "decode");
    must(!wfvae_decode_flush(stream, frames, FRAMES, &written), "decode flush");
    wfvae_destroy(stream);
    wfvae_model_close(model);
}

static int second_run(unsigned linger)
{
    const struct timespec pause = {0, 20000000};
    char **const before_environ = environ;
    const size_t before_variables = variables();
    const int before = threads();
    pthread_t other;
    size_t i;

    must(!pthread_create(&other, NULL, reads_the_environment, NULL), "thread");
    use();
    set_flag(&stop, 1);
    must(!pthread_join(other, NULL), "thread");
    use();
    /* The runtime's threads have ended, but may still be visible. */
    for (i = 0; i < 100 && threads() != before; i++)
        nanosleep(&pause, NULL);
    result("no thread is left", threads() == before);
    result("the environment is the program's", environ == before_environ && variables() == before_variables);
    sleep(linger);
    return failed != 0;
}

/* ---- the first run ---- */

static int count_file(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    if (place->level > 0) {
        files++;
        printf("found %s\n", path);
    }
    return kind == FTW_NS;
}

static int remove_file(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

/* Lines that open a socket or use one. */
static int network_calls(const char *path)
{
    static const char *const calls[] = {"socket(", "connect(", "sendto(", "sendmsg(", "sendmmsg("};
    FILE *trace = fopen(path, "r");
    char line[1000];
    int count = 0;
    size_t i;

    must(trace != NULL, path);
    while (fgets(line, sizeof line, trace)) {
        for (i = 0; i < sizeof calls / sizeof *calls; i++) {
            if (strstr(line, calls[i])) {
                printf("%s", line);
                count++;
            }
        }
    }
    fclose(trace);
    return count;
}

int main(int argc, char **argv)
{
    char folder[1000], home[1100], trace[1100], *own = realpath(argv[0], NULL);
    int status, traced;
    pid_t id;
    size_t i;

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (argc > 1 && strcmp(argv[1], "short"))
        return second_run(strcmp(argv[1], "linger") ? 0 : LINGER);
    for (i = 0; i < sizeof quiet / sizeof *quiet; i++)
        unsetenv(quiet[i]);
    /* An empty trace proves nothing. */
    must(!setenv("ORT_DISABLE_TELEMETRY", "", 1), "setenv");
    must(own && !os_temporary_folder(folder, sizeof folder), folder);
    snprintf(home, sizeof home, "%s/home", folder);
    snprintf(trace, sizeof trace, "%s/trace", folder);
    must(!mkdir(home, 0777) && !setenv("HOME", home, 1), home);
    /* strace may be installed and still not be allowed to trace. */
    traced = system("strace -f -o /dev/null true > /dev/null 2>&1") == 0;

    fflush(stdout);
    id = fork();
    must(id >= 0, "fork");
    if (id == 0) {
        if (chdir(home))
            _exit(2);
        if (traced)
            execlp("strace", "strace", "-f", "-e", "trace=network", "-o", trace, own, argc > 1 ? "again" : "linger",
                   (char *)NULL);
        else
            execl(own, own, "again", (char *)NULL);
        _exit(2);
    }
    must(waitpid(id, &status, 0) == id, "wait");
    result("a model is used", status == 0);
    must(!nftw(home, count_file, 10, FTW_PHYS), home);
    result("no file is written", files == 0);
    if (traced)
        result("no socket is opened", network_calls(trace) == 0);
    else
        puts("skipped: no socket is opened: strace is not installed, or must not trace");
    must(!nftw(folder, remove_file, 10, FTW_PHYS | FTW_DEPTH), folder);
    free(own);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
