//! The graphs of a model as files.

use super::model::Model;
use crate::error::{Error, Result};
use crate::float_mode::FloatMode;
use crate::graph::StepGraph;
use crate::model::Half;
use crate::runtime::write_weights;
use std::io::Write;
use std::path::Path;

/// Which graphs [`Model::save_onnx`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Graphs {
    /// The graphs that the library runs. Each is one step for one frame; causal caches are inputs and outputs. The same as
    /// [`Clip`](Self::Clip) for a model that takes whole clips.
    #[default]
    Steps,
    /// The whole clip in one graph, `encoder.clip` and `decoder.clip`, as a plain export would write it.
    Clip,
}

impl Model {
    /// Writes the graphs as `encoder.0.onnx`, ... with their weights beside them (`encoder.0.bin`, ...), for viewers and
    /// other runtimes. The folder must exist; files of these names are replaced. The inputs `size.0`, `size.1`, ... are
    /// integers that follow from the size of a frame and from how many queries attention processes at a time; each says in its
    /// `doc_string` which. A half that the checkpoint lacks is left out.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the folder holds the model's own files, or if a file that would be
    /// replaced is one of them by another name; nothing is written then. [`Io`](crate::ErrorKind::Io);
    /// [`Checkpoint`](crate::ErrorKind::Checkpoint) if the model's files changed since they were opened;
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory). The files of the graph that was being written are removed; the error names
    /// those that cannot be.
    pub fn save_onnx(&self, folder: impl AsRef<Path>, graphs: Graphs) -> Result<()> {
        let _mode = FloatMode::set_default();
        self.owner().check("model")?;
        let folder = folder.as_ref();
        let halves = [Half::Encoder, Half::Decoder].into_iter().filter(|half| self.network().has(*half));
        let steps = halves.flat_map(|half| match graphs {
            Graphs::Steps => self.plain_graphs(half),
            Graphs::Clip => vec![self.clip_graph(half)],
        });
        let steps: Vec<_> = steps.collect();
        let targets = |step: &StepGraph| (folder.join(format!("{}.onnx", step.name)), folder.join(step.weights_file()));
        self.checkpoint().check_target_folder(folder)?;
        for (model, weights) in steps.iter().map(targets) {
            self.check_target(model).and_then(|()| self.check_target(weights))?;
        }
        for step in steps {
            let (model, weights) = targets(&step);
            let io = |path: &Path, e: std::io::Error| Error::of_file(&e, format!("{}: {e}", path.display()));
            let create = |path: &Path| std::fs::File::create(path).map_err(|e| io(path, e));
            let mut graph = create(&model)?;
            let file = create(&weights).map_err(|e| removed(e, &[&model]))?;
            let written = self.checkpoint().while_unchanged(|| {
                graph.write_all(&step.onnx).map_err(|e| io(&model, e))?;
                let mut file = std::io::BufWriter::new(file);
                write_weights(&step, self.checkpoint(), &mut file, |e| io(&weights, e))?;
                file.flush().map_err(|e| io(&weights, e))
            });
            written.map_err(|e| removed(e, &[&model, &weights]))?;
        }
        Ok(())
    }
}

/// Removes files that are not the whole model. The error names those that stay.
fn removed(mut error: Error, unfinished: &[&Path]) -> Error {
    for path in unfinished {
        if let Err(e) = std::fs::remove_file(path) {
            error = error.followed_by(&format!("the unfinished file {} could not be deleted: {e}", path.display()));
        }
    }
    error
}
