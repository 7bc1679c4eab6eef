//! What streams and latent files know of each other.

use super::{Model, Stream, StreamOptions};
use crate::error::{Result, fail};
use crate::media::{LatentFileInfo, LatentReader, LatentType, Posterior};

impl StreamOptions {
    /// A stream that decodes the latents of such a file.
    pub fn for_latent_file(info: &LatentFileInfo) -> Self {
        let mut options = StreamOptions::new(info.width, info.height);
        (options.encode, options.pad, options.scaled) = (false, info.padded, info.scaled);
        options
    }
}

impl Model {
    /// Fails unless the latents of a file are this model's.
    ///
    /// # Errors
    /// [`LatentFile`](crate::ErrorKind::LatentFile), with a text that names both.
    pub fn check_latent_file(&self, file: &LatentReader) -> Result<()> {
        let (path, info, model) = (file.path().display(), file.info(), self.info());
        let name = &model.name;
        if info.model != model.identity {
            fail!(
                LatentFile,
                "latent file {path}: its latents are of the model {:016x}, this is {:016x} ({name}); open the model that \
                 made them",
                info.model,
                model.identity
            );
        }
        // The identity implies these in every file that this library wrote.
        let found = [info.latent_channels, info.spatial_compression, info.temporal_compression as usize];
        let expected = [model.latent_channels, model.spatial_compression, model.temporal_compression as usize];
        if found != expected {
            fail!(
                LatentFile,
                "latent file {path}: its latent channels, spatial and temporal compression are {found:?}, those of \
                 {name} are {expected:?}; its metadata is wrong"
            );
        }
        if info.scaled {
            let scaling = self.network().scaling.as_ref();
            if !scaling.is_ok_and(|lists| lists.scale == info.scale && lists.shift == info.shift) {
                fail!(
                    LatentFile,
                    "latent file {path}: its latents are scaled with other scale and shift than the config of {name} \
                     has; give the config those of the file"
                );
            }
        }
        Ok(())
    }
}

impl Stream {
    /// How this stream was made.
    pub fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// Describes a file for the latents that this stream encodes, for [`LatentWriter`](crate::LatentWriter). What the
    /// stream does not know, `fps` and `note`, the caller may set.
    pub fn latent_file(&self, latent_type: LatentType) -> LatentFileInfo {
        let (model, options) = (self.model.info(), &self.options);
        let scaling = self.model.network().scaling.as_ref().ok();
        let geometry = &self.geometry;
        LatentFileInfo {
            model: model.identity,
            width: geometry.width,
            height: geometry.height,
            padded: (geometry.padded_width, geometry.padded_height) != (geometry.width, geometry.height),
            spatial_compression: model.spatial_compression,
            temporal_compression: model.temporal_compression,
            latent_channels: model.latent_channels,
            posterior: options.posterior,
            latent_type,
            scaled: options.scaled && !matches!(options.posterior, Posterior::Moments),
            scale: scaling.map_or(vec![], |lists| lists.scale.clone()),
            shift: scaling.map_or(vec![], |lists| lists.shift.clone()),
            frames: 0,
            latents: 0,
            fps: None,
            generator: concat!("libwfvae ", env!("CARGO_PKG_VERSION")).into(),
            note: String::new(),
        }
    }

    /// Fails unless this stream can decode the latents of a file: model, size and scaling.
    ///
    /// # Errors
    /// [`LatentFile`](crate::ErrorKind::LatentFile), with a text that names both.
    pub fn check_latent_file(&self, file: &LatentReader) -> Result<()> {
        self.model.check_latent_file(file)?;
        let (path, info, geometry) = (file.path().display(), file.info(), &self.geometry);
        if (info.width, info.height) != (geometry.width, geometry.height) {
            fail!(
                LatentFile,
                "latent file {path}: its frames are {}x{}, those of the stream {}x{}; make a stream of the file's size",
                info.width,
                info.height,
                geometry.width,
                geometry.height
            );
        }
        if info.scaled != self.options.scaled {
            let kind = |scaled| if scaled { "scaled" } else { "raw" };
            let (found, expected) = (kind(info.scaled), kind(self.options.scaled));
            fail!(
                LatentFile,
                "latent file {path}: its latents are {found}, the stream reads {expected} ones; make a stream for \
                 {found} ones"
            );
        }
        Ok(())
    }
}
