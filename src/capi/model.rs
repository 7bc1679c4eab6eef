//! The handle of a model, and what can be asked of a model.

use super::abi;
use super::error_text::{self, reported};
use super::guard::guard;
use super::model_info::{ModelTexts, wfvae_model_info};
use super::model_options::wfvae_model_options;
use super::status::wfvae_status;
use crate::error::{Result, fail};
use crate::stream::{Graphs, Model, ModelOptions};
use std::ffi::c_char;
use std::sync::Arc;

/// An open model: a checkpoint that was checked, and the ONNX Runtime sessions that run it.
///
/// Thread-safety: safe. Any number of streams in any threads share one model and its weights.
pub struct wfvae_model {
    model: Model,
    texts: ModelTexts,
}

const _: () = abi::goes_between_threads::<wfvae_model>();

/// Opens a model and checks its whole checkpoint. The first stream that needs weights loads them.
///
/// path: one of the following, in UTF-8. The checkpoint may hold only the encoder or only the decoder.
/// - NULL: the model built into the library.
/// - A folder with config.json and *.safetensors. If it holds several weights, diffusion_pytorch_model.safetensors is
///   used before model.safetensors, and the index of either (NAME.safetensors.index.json, with its shards) before the
///   single file. Without these, the folder must hold exactly one *.safetensors file, or one index with its shards, of
///   any name.
/// - The folder of a pipeline, whose vae/ is opened.
/// - A folder models--OWNER--NAME of a download cache. The snapshot that refs/main names is opened, or the only one.
/// - One .safetensors file or index (*.safetensors.index.json) with config.json beside it.
///
/// Weights are F32, F16, BF16, or F64, which is rounded to float32. Tensors that the network does not use may have any
/// type. An unknown field of config.json is an error if it may change the results, otherwise a warning. If a file is
/// written to while the model is open and weights still have to be read from it, wfvae_create() and
/// wfvae_model_save_onnx() return WFVAE_STATUS_CHECKPOINT. If it is deleted, or replaced by a new file of the same
/// name, the model goes on to use the old one.
/// options: NULL for the defaults. Read during the call only, except for what log_user points to.
/// model: receives the handle on success, to be closed with wfvae_model_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _IO, _CONFIG, _CHECKPOINT, _UNSUPPORTED_MODEL,
/// _RUNTIME_MISSING, _RUNTIME_TOO_OLD, _PROVIDER, _RUNTIME, _OUT_OF_MEMORY. wfvae_last_error(NULL) returns the text,
/// which names the file, tensor or field, what was found and what was expected.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_open(
    path: *const c_char,
    options: *const wfvae_model_options,
    model: *mut *mut wfvae_model,
) -> wfvae_status {
    guard!(status: {
        let open = || {
            let out = unsafe { abi::out(model, "model")? };
            out.write(std::ptr::null_mut());
            let options = match options.is_null() {
                true => ModelOptions::default(),
                false => unsafe { error_text::read(options)?.convert()? },
            };
            let model = match unsafe { abi::path(path, "path")? } {
                Some(path) => Model::open(path, &options)?,
                None => Model::builtin(&options)?,
            };
            let texts = ModelTexts::new(&model.info());
            out.write(Arc::into_raw(Arc::new(wfvae_model { model, texts })).cast_mut());
            Ok(())
        };
        unsafe { reported(options, open) }
    })
}

/// Closes a model. Its streams keep what they need until they are destroyed, so the order does not matter.
///
/// model: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_close(model: *mut wfvae_model) {
    guard!(value or (); {
        if !model.is_null() {
            let model = unsafe { Arc::from_raw(model) };
            if !model.model.owner().is_current() {
                // At the fork another thread may have held a lock or been changing a count in it.
                std::mem::forget(model);
            }
        }
    })
}

/// Gets what a model is and what it runs on.
///
/// info: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_get_info(model: *const wfvae_model, info: *mut wfvae_model_info) -> wfvae_status {
    guard!(status: {
        let model = unsafe { wfvae_model::of_any_process(model)? };
        unsafe { abi::write(info, &wfvae_model_info::new(&model.model.info(), &model.texts)) }
    })
}

/// Counts the latents of a whole clip of n_frames frames whose last group the flush completes: 1 + ceil((n_frames - 1)
/// / temporal_compression), or 0 for 0 frames.
///
/// Returns: the number, or 0 if model is NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latents_for_frames(model: *const wfvae_model, n_frames: u64) -> u64 {
    guard!(value or 0; { unsafe { wfvae_model::of_any_process(model) }.map_or(0, |m| m.model.latents_for_frames(n_frames)) })
}

/// Counts the frames of a whole clip of n_latents latents: temporal_compression * (n_latents - 1) + 1, or 0 for 0
/// latents.
///
/// Returns: the number (UINT64_MAX if it would be larger), or 0 if model is NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_frames_for_latents(model: *const wfvae_model, n_latents: u64) -> u64 {
    guard!(value or 0; { unsafe { wfvae_model::of_any_process(model) }.map_or(0, |m| m.model.frames_for_latents(n_latents)) })
}

/// Which graphs wfvae_model_save_onnx() writes.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_graphs {
    /// Those that the library runs: encoder.0, ..., decoder.0, ... Each is one step for one frame; causal caches are
    /// inputs and outputs. For a model that takes whole clips, the same as WFVAE_GRAPHS_CLIP.
    Steps = 0,
    /// The whole clip in one graph, encoder.clip and decoder.clip, as an ordinary export would have it.
    Clip = 1,
}

/// Writes a model's ONNX graphs and their weights (encoder.0.onnx, encoder.0.bin, ...), for viewers and other runtimes.
/// The inputs size.0, size.1, ... are integers that depend on the frame's size and on how many queries attention
/// processes at a time. The doc_string of each input, in the file, says how to compute it.
///
/// folder: must exist; files of these names are replaced. UTF-8. The folder of the model's own files is refused with
/// WFVAE_STATUS_INVALID_ARGUMENT, and nothing is written.
/// graphs: a wfvae_graphs. If the checkpoint lacks the encoder or the decoder, its graphs are left out.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _OUT_OF_MEMORY; _CHECKPOINT if the model's files changed since
/// they were opened. A graph that could not be written completely is removed.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_save_onnx(
    model: *const wfvae_model,
    folder: *const c_char,
    graphs: u32,
) -> wfvae_status {
    guard!(status: {
        let model = unsafe { wfvae_model::from_ptr(model)? };
        let folder = unsafe { abi::required_path(folder, "folder")? };
        let graphs = match graphs {
            0 => Graphs::Steps,
            1 => Graphs::Clip,
            other => fail!(InvalidArgument, "graphs is {other}, expected a wfvae_graphs"),
        };
        model.model.save_onnx(folder, graphs)
    })
}

impl wfvae_model {
    pub(super) unsafe fn from_ptr(model: *const wfvae_model) -> Result<Arc<wfvae_model>> {
        let model = unsafe { wfvae_model::of_any_process(model)? };
        model.model.owner().check("model")?;
        Ok(model)
    }

    /// For reading what never changes, in a forked child too. A share of the handle, so that another thread that closes it does not
    /// free it under a running call.
    unsafe fn of_any_process(model: *const wfvae_model) -> Result<Arc<wfvae_model>> {
        if model.is_null() {
            fail!(InvalidArgument, "model is NULL");
        }
        // SAFETY: made by Arc::into_raw in wfvae_model_open, and not closed: the caller begins no call then.
        unsafe {
            Arc::increment_strong_count(model);
            Ok(Arc::from_raw(model))
        }
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_closed_during_a_call_stays_until_the_call_has_ended() {
        let mut model = std::ptr::null_mut();
        assert!(unsafe { wfvae_model_open(std::ptr::null(), std::ptr::null(), &mut model) } == wfvae_status::Ok);
        let in_call = unsafe { wfvae_model::from_ptr(model) }.unwrap();
        unsafe { wfvae_model_close(model) };
        assert_eq!((Arc::strong_count(&in_call), in_call.model().latents_for_frames(5)), (1, 2));
    }
}
