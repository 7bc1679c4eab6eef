/* Graphs and latent files go only where they are asked for, and never replace the model's own files. */
#define _POSIX_C_SOURCE 200809L

#include "model_files.h"

static void test_save(void)
{
    PLAIN("save without model", INVALID_ARGUMENT, "model is NULL", wfvae_model_save_onnx(NULL, folder, 0));
    PLAIN("save without folder", INVALID_ARGUMENT, "folder is NULL", wfvae_model_save_onnx(s.model, NULL, 0));
    PLAIN("save: no folder", IO, "no-such-folder", wfvae_model_save_onnx(s.model, path_of(folder, "no-such-folder"), 0));
    PLAIN("save: no such graphs", INVALID_ARGUMENT, "graphs is 2, expected a wfvae_graphs",
          wfvae_model_save_onnx(s.model, folder, 2));
    PLAIN("save: a file", IO, "encoder.0.onnx",
          (good_files(), wfvae_model_save_onnx(s.model, path_of(folder, CONFIG_JSON), 0)));
}

/* Outputs must not overwrite the model's own files. */
static void test_own_files(void)
{
    static const char *const links[] = {"links/encoder.0.onnx", "links/decoder.0.bin"};
    wfvae_options options = {0};
    wfvae_model *model = NULL;
    wfvae_stream *stream = NULL;
    wfvae_latent_writer *writer = NULL;
    char at[2][2000], weights[2000];
    size_t before[2], after[2], i;
    char *config, *bytes, *again;

    good_files();
    config = load(path_of(folder, CONFIG_JSON), &before[0]);
    bytes = load(path_of(folder, WEIGHTS), &before[1]);
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    must(!wfvae_model_open(folder, NULL, &model) && !wfvae_create(model, &options, &stream), "a model of its own");

    PLAIN("save: into the model's folder", INVALID_ARGUMENT, "holds the open model's own files",
          wfvae_model_save_onnx(model, folder, 0));
    PLAIN("save: into it by another name", INVALID_ARGUMENT, "holds the open model's own files",
          wfvae_model_save_onnx(model, path_of(folder, "."), 1));
    must(!os_make_folder(path_of(folder, "links")), "folder");
    for (i = 0; i < 2; i++)
        snprintf(at[i], sizeof at[i], "%s", path_of(folder, links[i]));
    if (os_symbolic_link("../" CONFIG_JSON, at[0])) {
        puts("skipped a link to the config: there are none here");
    } else {
        PLAIN("save: a link to the config", INVALID_ARGUMENT, "own file",
              wfvae_model_save_onnx(model, path_of(folder, "links"), 0));
        must(!remove(at[0]), "remove");
    }
    snprintf(weights, sizeof weights, "%s", path_of(folder, WEIGHTS));
    must(!os_hard_link(weights, at[1]), "link");
    PLAIN("save: a hard link to the weights", INVALID_ARGUMENT, "own file",
          wfvae_model_save_onnx(model, path_of(folder, "links"), 0));
    result("save: nothing was written", access(at[0], F_OK) != 0);
    PLAIN("writer: onto a hard link to the weights", INVALID_ARGUMENT, "own file",
          wfvae_latent_writer_create(stream, at[1], NULL, &writer));
    PLAIN("writer: onto the weights", INVALID_ARGUMENT, "own file",
          wfvae_latent_writer_create(stream, weights, NULL, &writer));
    PLAIN("writer: onto the config", INVALID_ARGUMENT, "own file",
          wfvae_latent_writer_create(stream, path_of(folder, CONFIG_JSON), NULL, &writer));
    PLAIN("writer: beside them", OK, NULL,
          wfvae_latent_writer_create(stream, path_of(folder, LATENT_FILE), NULL, &writer));
    wfvae_latent_writer_destroy(writer);

    again = load(path_of(folder, CONFIG_JSON), &after[0]);
    result("the config is as it was", before[0] == after[0] && !memcmp(config, again, after[0]));
    free(again);
    again = load(weights, &after[1]);
    result("the weights are as they were", before[1] == after[1] && !memcmp(bytes, again, after[1]));
    free(again);
    free(config);
    free(bytes);
    wfvae_destroy(stream);
    wfvae_model_close(model);
    must(!remove(at[1]) && !rmdir(path_of(folder, "links")), "remove");
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    folder_make();
    test_save();
    test_own_files();
    folder_remove();
    return clip_close();
}
