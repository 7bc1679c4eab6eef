/* Log messages at every level, and the texts of statuses. */
#define _POSIX_C_SOURCE 200809L

#include "model_files.h"

static struct {
    int messages, wrong;
    uint32_t level;
} heard;

static void hear(void *user, uint32_t level, const char *text)
{
    heard.messages += strstr(text, "unheard_of") != NULL;
    heard.level = strstr(text, "unheard_of") ? level : heard.level;
    heard.wrong += user != (void *)golden || strchr(text, '\n') != NULL;
}

/* How many warnings of the config's unknown field arrive at this level; -1 if one is wrong. */
static int warnings_at(uint32_t log_level)
{
    wfvae_model_options options = {0};

    memset(&heard, 0, sizeof heard);
    options.struct_size = sizeof options;
    options.provider = WFVAE_PROVIDER_CPU;
    options.log_callback = hear;
    options.log_user = golden;
    options.log_level = log_level;
    must(!open_model(folder, &options), "model with a warning");
    return heard.wrong || (heard.messages && heard.level != WFVAE_LOG_LEVEL_WARN) ? -1 : heard.messages;
}

static void count(void *user, uint32_t level, const char *text)
{
    (void)level;
    (void)text;
    ++*(int *)user;
}

/* Messages at this level while a stream loads a model's sessions. */
static int messages_at(uint32_t log_level)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    wfvae_model *model;
    wfvae_stream *stream;
    int messages = 0;

    model_options.struct_size = sizeof model_options;
    model_options.provider = WFVAE_PROVIDER_CPU;
    model_options.n_threads = 1;
    model_options.log_callback = count;
    model_options.log_user = &messages;
    model_options.log_level = log_level;
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    must(!wfvae_model_open(golden, &model_options, &model) && !wfvae_create(model, &options, &stream), "stream");
    wfvae_destroy(stream);
    wfvae_model_close(model);
    return messages;
}

static void test_messages(void)
{
    result("messages: those of ONNX Runtime at trace",
           messages_at(WFVAE_LOG_LEVEL_TRACE) > 2 * messages_at(WFVAE_LOG_LEVEL_DEBUG));
    good_files();
    edit(CONFIG_JSON, "{", "{\"unheard_of\": 1, ");
    result("messages: no warning at error", warnings_at(WFVAE_LOG_LEVEL_ERROR) == 0);
    result("messages: warning at warn", warnings_at(WFVAE_LOG_LEVEL_WARN) == 1);
    result("messages: warning at info", warnings_at(WFVAE_LOG_LEVEL_INFO) == 1);
    result("messages: warning by default", warnings_at(WFVAE_LOG_LEVEL_DEFAULT) == 1);
    result("messages: warning at debug", warnings_at(WFVAE_LOG_LEVEL_DEBUG) == 1);
    good_files();
    edit(CONFIG_JSON, "{", "{\"\\u0000unheard_of\": 1, ");
    result("messages: a text with a NUL", warnings_at(WFVAE_LOG_LEVEL_WARN) == 1);
    good_files();
    edit(CONFIG_JSON, "{", "{\"_unheard_of\": 1, ");
    result("messages: none of metadata", warnings_at(WFVAE_LOG_LEVEL_DEBUG) == 0);
}

static void test_status_texts(void)
{
    result("text of an unknown status", *wfvae_status_str(12345) && *wfvae_status_str(INT32_MIN));
    result("text of a known status", strcmp(wfvae_status_str(WFVAE_STATUS_IO), wfvae_status_str(12345)) != 0);
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    folder_make();
    test_messages();
    test_status_texts();
    folder_remove();
    return clip_close();
}
