//! CUDA graphs: what a thread puts into a queue, recorded, to be done again and again by one call.

use super::graph_functions::{Copy3D, GraphFunctions};
use super::loader::Handle;
use super::queue::{CudaQueue, Lane};
use crate::error::{Result, fail};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// Other threads may call CUDA meanwhile, and this one may allocate memory.
const RELAXED: c_int = 2;

/// Types of nodes.
const KERNEL: c_int = 0;
const COPY: c_int = 1;
const SET: c_int = 2;
const EMPTY: c_int = 5;
const ALLOCATION: c_int = 10;
const FREEING: c_int = 11;

/// Kinds of copies.
const TO_DEVICE: c_int = 1;
const ON_DEVICE: c_int = 3;

/// A recording that has begun. It ends also where the work panics: else the stream would do nothing any more.
struct Begun<'a> {
    functions: &'a GraphFunctions,
    stream: Handle,
}

impl Begun<'_> {
    /// CUDA's result, and what was recorded.
    fn end(self) -> (c_int, Handle) {
        let (functions, stream) = (self.functions, self.stream);
        std::mem::forget(self);
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream records, since this was made.
        (unsafe { (functions.end)(stream, &mut graph) }, graph)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut graph = std::ptr::null_mut();
        // SAFETY: as above; nobody else has the graph.
        unsafe {
            if (self.functions.end)(self.stream, &mut graph) == 0 {
                (self.functions.destroy_graph)(graph);
            }
        }
    }
}

/// What a device can do again.
pub(crate) struct CudaRecording {
    queue: Arc<CudaQueue>,
    graph: Handle,
    ready: Handle,
    /// Pinned memory that copies in it read.
    copies: Vec<*mut c_void>,
}

// SAFETY: CUDA's functions may be called from any thread.
unsafe impl Send for CudaRecording {}
// SAFETY: as above.
unsafe impl Sync for CudaRecording {}

impl CudaRecording {
    /// Records what `work` puts into the queue, and does not do it. `None` if other threads work with the queue now. The
    /// recording is an error if it holds something that cannot be launched again.
    pub(crate) fn record<T>(queue: &Arc<CudaQueue>, work: impl FnOnce() -> T) -> Result<Option<(T, Result<Self>)>> {
        let functions = match &queue.graph_functions {
            Ok(functions) => functions,
            Err(name) => fail!(Provider, "this CUDA runtime has no {name}"),
        };
        let Some(alone) = queue.alone() else { return Ok(None) };
        queue.enter()?;
        let stream = queue.stream().cast();
        // SAFETY: the queue's stream.
        queue.check("a recording cannot begin", unsafe { (functions.begin)(stream, RELAXED) })?;
        let begun = Begun { functions, stream };
        let done = work();
        let (ended, graph) = begun.end();
        drop(alone);
        // Of the work, if that failed.
        queue.forget_error();
        let mut recording = CudaRecording { queue: queue.clone(), graph, ready: std::ptr::null_mut(), copies: vec![] };
        let result = queue.check("a recording failed", ended).and_then(|()| recording.prepare(functions));
        Ok(Some((done, result.map(|()| recording))))
    }

    fn prepare(&mut self, functions: &GraphFunctions) -> Result<()> {
        let queue = self.queue.clone();
        let check = |result| queue.check("a recording cannot be used", result);
        let mut count = 0;
        // SAFETY: the graph that was recorded; it only counts.
        check(unsafe { (functions.nodes)(self.graph, std::ptr::null_mut(), &mut count) })?;
        let mut nodes = vec![std::ptr::null_mut(); count];
        // SAFETY: there is room for so many.
        check(unsafe { (functions.nodes)(self.graph, nodes.as_mut_ptr(), &mut count) })?;
        for node in nodes {
            let mut kind = -1;
            // SAFETY: a node of the graph.
            check(unsafe { (functions.node_type)(node, &mut kind) })?;
            match kind {
                KERNEL | SET | EMPTY | ALLOCATION | FREEING => {}
                COPY => self.keep_source(functions, node)?,
                // Functions of the CPU above all.
                _ => fail!(Runtime, "CUDA: a node of type {kind} cannot be recorded"),
            }
        }
        // SAFETY: as above; it writes a handle.
        check(unsafe { (functions.instantiate)(&mut self.ready, self.graph, 0) })
    }

    /// ONNX Runtime reuses the CPU's memory that it copied from.
    fn keep_source(&mut self, functions: &GraphFunctions, node: Handle) -> Result<()> {
        let queue = self.queue.clone();
        let check = |result| queue.check("a copy cannot be recorded", result);
        let mut copy = Copy3D::default();
        // SAFETY: a copy in the graph, and room for what it is.
        check(unsafe { (functions.copy)(node, &mut copy) })?;
        let [bytes, rows, slices] = copy.extent;
        match copy.kind {
            ON_DEVICE => return Ok(()),
            TO_DEVICE if copy.from_array == 0 && copy.to_array == 0 && rows <= 1 && slices <= 1 => {}
            kind => fail!(Runtime, "CUDA: a copy of kind {kind} and size {:?} cannot be recorded", copy.extent),
        }
        let mut kept = std::ptr::null_mut();
        // SAFETY: it writes an address.
        check(unsafe { (functions.pinned)(&mut kept, bytes.max(1)) })?;
        self.copies.push(kept);
        let from = copy.from.address + copy.from_position[0];
        let to = copy.to.address + copy.to_position[0];
        // SAFETY: the run that was recorded would have read these bytes. It has ended, but they are memory of the session, which keeps
        // it mapped, and which nobody else runs now.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, kept.cast::<u8>(), bytes) };
        // SAFETY: the same node, and so many bytes in both places.
        check(unsafe { (functions.set_copy)(node, to as *mut c_void, kept, bytes, TO_DEVICE) })
    }

    /// Puts it into the queue. It is a run, whose turn it is.
    pub(crate) fn replay(&self) -> Result<()> {
        let functions = self.queue.graph_functions.as_ref().expect("it was recorded");
        self.queue.enter()?;
        // SAFETY: what was recorded uses memory of its session and stage, which have it.
        let launched = unsafe { (functions.launch)(self.ready, self.queue.stream().cast()) };
        self.queue.check("a recording cannot be launched", launched)
    }
}

impl Drop for CudaRecording {
    fn drop(&mut self) {
        let Ok(functions) = &self.queue.graph_functions else { return };
        let _ = self.queue.enter();
        if !self.copies.is_empty() {
            let _ = self.queue.finish(Lane::Work);
        }
        // SAFETY: nobody else has these, and copies were waited for.
        unsafe {
            if !self.ready.is_null() {
                (functions.destroy)(self.ready);
            }
            if !self.graph.is_null() {
                (functions.destroy_graph)(self.graph);
            }
            for kept in self.copies.drain(..) {
                (functions.free_pinned)(kept);
            }
        }
    }
}
