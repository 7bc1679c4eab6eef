//! The functions of the CUDA runtime for CUDA graphs.

use super::loader::{Handle, functions};
use std::ffi::{c_int, c_void};

functions! {
    pub(super) struct GraphFunctions {
        begin = c"cudaStreamBeginCapture": fn(Handle, c_int) -> c_int;
        end = c"cudaStreamEndCapture": fn(Handle, *mut Handle) -> c_int;
        nodes = c"cudaGraphGetNodes": fn(Handle, *mut Handle, *mut usize) -> c_int;
        node_type = c"cudaGraphNodeGetType": fn(Handle, *mut c_int) -> c_int;
        copy = c"cudaGraphMemcpyNodeGetParams": fn(Handle, *mut Copy3D) -> c_int;
        set_copy = c"cudaGraphMemcpyNodeSetParams1D": fn(Handle, *mut c_void, *const c_void, usize, c_int) -> c_int;
        instantiate = c"cudaGraphInstantiateWithFlags": fn(*mut Handle, Handle, u64) -> c_int;
        launch = c"cudaGraphLaunch": fn(Handle, Handle) -> c_int;
        destroy_graph = c"cudaGraphDestroy": fn(Handle) -> c_int;
        destroy = c"cudaGraphExecDestroy": fn(Handle) -> c_int;
        pinned = c"cudaMallocHost": fn(*mut *mut c_void, usize) -> c_int;
        free_pinned = c"cudaFreeHost": fn(*mut c_void) -> c_int;
    }
}

/// CUDA's cudaMemcpy3DParms.
#[repr(C)]
#[derive(Default)]
pub(super) struct Copy3D {
    pub(super) from_array: usize,
    pub(super) from_position: [usize; 3],
    pub(super) from: Pitched,
    pub(super) to_array: usize,
    pub(super) to_position: [usize; 3],
    pub(super) to: Pitched,
    /// In bytes, where there is no array.
    pub(super) extent: [usize; 3],
    pub(super) kind: c_int,
}

/// CUDA's cudaPitchedPtr.
#[repr(C)]
#[derive(Default)]
pub(super) struct Pitched {
    pub(super) address: usize,
    pub(super) pitch: usize,
    pub(super) size: [usize; 2],
}
