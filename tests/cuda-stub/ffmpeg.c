/* What FFmpeg calls of the driver, over the runtime in stub.c: contexts, memory, copies. FFmpeg looks for many more functions
 * when it loads the driver, and gives up if one is not there; those that it does not call here end the process.
 *
 * All are weak: a function that stub.c has, too, is that of stub.c. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define WEAK __attribute__((weak))

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, CPU = 1, DEVICE = 2, AS_ADDRESSES_ARE = 4 };

/* stub.c's. */
int cuCtxPushCurrent_v2(void *context);
int cuGetErrorName(int error, const char **name);
int cudaMalloc(void **out, size_t size);
int cudaFree(void *at);
int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows, int kind,
                      void *stream);
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream);
int cudaMemsetAsync(void *at, int value, size_t size, void *stream);
int cudaStreamCreate(void **out);
int cudaStreamDestroy(void *stream);
int cudaStreamSynchronize(void *stream);
int cudaEventCreate(void **out);
int cudaEventDestroy(void *event);
int cudaEventRecord(void *event, void *stream);
int cudaEventSynchronize(void *event);

/* The only device has its primary context and, for FFmpeg without primary_ctx=1, one other. */
extern char wfvae_stub_other_context;
static unsigned primary_flags;

int cuCtxCreate_v2(void **context, unsigned flags, int device);
WEAK int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    (void)flags;
    if (device != 0)
        return INVALID_VALUE;
    return *context = &wfvae_stub_other_context, cuCtxPushCurrent_v2(*context);
}
int cuCtxDestroy_v2(void *context);
WEAK int cuCtxDestroy_v2(void *context) { return context == &wfvae_stub_other_context ? SUCCESS : INVALID_CONTEXT; }
int cuCtxGetDevice(int *device);
WEAK int cuCtxGetDevice(int *device) { return *device = 0, SUCCESS; }
/* The context counts as active once FFmpeg or the runtime asked for it. */
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active);
WEAK int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = primary_flags, *active = primary_flags != 0;
    return device == 0 ? SUCCESS : INVALID_VALUE;
}
int cuDevicePrimaryCtxSetFlags(int device, unsigned flags);
WEAK int cuDevicePrimaryCtxSetFlags(int device, unsigned flags) {
    return primary_flags = flags, device == 0 ? SUCCESS : INVALID_VALUE;
}
int cuDevicePrimaryCtxRelease(int device);
WEAK int cuDevicePrimaryCtxRelease(int device) { return device == 0 ? SUCCESS : INVALID_VALUE; }
int cuGetErrorString(int error, const char **text);
WEAK int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

int cuMemAlloc_v2(void **out, size_t size);
WEAK int cuMemAlloc_v2(void **out, size_t size) { return cudaMalloc(out, size); }
int cuMemFree_v2(void *at);
WEAK int cuMemFree_v2(void *at) { return cudaFree(at); }
int cuMemsetD8Async(void *at, unsigned char value, size_t size, void *stream);
WEAK int cuMemsetD8Async(void *at, unsigned char value, size_t size, void *stream) {
    return cudaMemsetAsync(at, value, size, stream);
}

struct side {
    size_t x, y;
    int type; /* CPU or DEVICE */
    void *host, *device, *array;
    size_t pitch;
};
struct copy_2d {
    struct side from, to;
    size_t width, rows;
};
static char *begin_of(const struct side *side) {
    if (side->type != CPU && side->type != DEVICE) {
        fprintf(stderr, "cuda-stub: cuMemcpy2D: the stub has no such memory\n");
        abort();
    }
    return (char *)(side->type == CPU ? side->host : side->device) + side->y * side->pitch + side->x;
}
int cuMemcpy2DAsync_v2(const struct copy_2d *copy, void *stream);
WEAK int cuMemcpy2DAsync_v2(const struct copy_2d *copy, void *stream) {
    /* CPU to CPU, to the device, from it, within it. */
    int kind = 2 * (copy->from.type == DEVICE) + (copy->to.type == DEVICE);
    return cudaMemcpy2DAsync(begin_of(&copy->to), copy->to.pitch, begin_of(&copy->from), copy->from.pitch, copy->width,
                             copy->rows, kind, stream);
}
int cuMemcpy2D_v2(const struct copy_2d *copy);
WEAK int cuMemcpy2D_v2(const struct copy_2d *copy) { return cuMemcpy2DAsync_v2(copy, NULL); }
int cuMemcpyAsync(void *to, const void *from, size_t size, void *stream);
WEAK int cuMemcpyAsync(void *to, const void *from, size_t size, void *stream) {
    return cudaMemcpyAsync(to, from, size, AS_ADDRESSES_ARE, stream);
}

int cuStreamCreate(void **out, unsigned flags);
WEAK int cuStreamCreate(void **out, unsigned flags) { return (void)flags, cudaStreamCreate(out); }
int cuStreamDestroy_v2(void *stream);
WEAK int cuStreamDestroy_v2(void *stream) { return cudaStreamDestroy(stream); }
int cuStreamSynchronize(void *stream);
WEAK int cuStreamSynchronize(void *stream) { return cudaStreamSynchronize(stream); }
int cuEventCreate(void **out, unsigned flags);
WEAK int cuEventCreate(void **out, unsigned flags) { return (void)flags, cudaEventCreate(out); }
int cuEventDestroy_v2(void *event);
WEAK int cuEventDestroy_v2(void *event) { return cudaEventDestroy(event); }
int cuEventRecord(void *event, void *stream);
WEAK int cuEventRecord(void *event, void *stream) { return cudaEventRecord(event, stream); }
int cuEventSynchronize(void *event);
WEAK int cuEventSynchronize(void *event) { return cudaEventSynchronize(event); }

#define NOT_CALLED(name) \
    int name(void); \
    WEAK int name(void) { \
        fprintf(stderr, "cuda-stub: " #name ": the stub does not have this\n"); \
        abort(); \
    }
NOT_CALLED(cuArray3DCreate_v2)
NOT_CALLED(cuArrayCreate_v2)
NOT_CALLED(cuArrayDestroy)
NOT_CALLED(cuCtxGetCurrent)
NOT_CALLED(cuCtxSetLimit)
NOT_CALLED(cuDeviceComputeCapability)
NOT_CALLED(cuDeviceGetName)
NOT_CALLED(cuDevicePrimaryCtxReset)
NOT_CALLED(cuEventQuery)
NOT_CALLED(cuGLGetDevices_v2)
NOT_CALLED(cuGraphicsGLRegisterImage)
NOT_CALLED(cuGraphicsMapResources)
NOT_CALLED(cuGraphicsResourceGetMappedPointer_v2)
NOT_CALLED(cuGraphicsSubResourceGetMappedArray)
NOT_CALLED(cuGraphicsUnmapResources)
NOT_CALLED(cuGraphicsUnregisterResource)
NOT_CALLED(cuLinkAddData)
NOT_CALLED(cuLinkComplete)
NOT_CALLED(cuLinkCreate)
NOT_CALLED(cuLinkDestroy)
NOT_CALLED(cuMemAllocManaged)
NOT_CALLED(cuMemAllocPitch_v2)
NOT_CALLED(cuMemcpy)
NOT_CALLED(cuMemcpyDtoDAsync_v2)
NOT_CALLED(cuMemcpyDtoD_v2)
NOT_CALLED(cuMemcpyDtoHAsync_v2)
NOT_CALLED(cuMemcpyDtoH_v2)
NOT_CALLED(cuMemcpyHtoDAsync_v2)
NOT_CALLED(cuMemcpyHtoD_v2)
NOT_CALLED(cuModuleGetGlobal)
NOT_CALLED(cuModuleUnload)
NOT_CALLED(cuStreamAddCallback)
NOT_CALLED(cuStreamQuery)
NOT_CALLED(cuStreamWaitEvent)
NOT_CALLED(cuTexObjectCreate)
NOT_CALLED(cuTexObjectDestroy)
