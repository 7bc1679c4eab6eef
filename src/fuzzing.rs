//! What fuzz targets reach of the library beyond its public API, see `fuzz`. Built only for them, with `--cfg fuzzing`.

pub use crate::media::{Arrangement, Picture, check_picture};
pub use crate::model::{Tensor, checkpoint, config_fields, index, tensors};
