/* Stands in for the ONNX Runtime of 2021: it reports its version, and has none of the API versions that it is asked for. */
#include <stddef.h>
#include <stdint.h>

typedef struct api_base {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} api_base;

const api_base *OrtGetApiBase(void);

static const void *get_api(uint32_t version)
{
    (void)version;
    return NULL;
}

static const char *get_version(void)
{
    return "1.10.0";
}

const api_base *OrtGetApiBase(void)
{
    static const api_base base = {get_api, get_version};

    return &base;
}
