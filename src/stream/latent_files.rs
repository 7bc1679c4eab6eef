//! What streams and latent files know of each other.

use super::model::Model;
use super::model_info::ModelInfo;
use super::options::StreamOptions;
use super::stream::Stream;
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
    /// Fails unless the latents of a file are of this model's encoder; whether the decoder is the one that was beside it does
    /// not matter. A checkpoint without an encoder must hold the decoder that was beside it. Files of early versions name
    /// whole models only.
    ///
    /// # Errors
    /// [`LatentFile`](crate::ErrorKind::LatentFile), with a text that names both.
    pub fn check_latent_file(&self, file: &LatentReader) -> Result<()> {
        self.check_latents(file, false)
    }

    fn check_latents(&self, file: &LatentReader, any_encoder: bool) -> Result<()> {
        let (path, info, model) = (file.path().display(), file.info(), self.info());
        let name = &model.name;
        if !any_encoder && let Err(text) = check_identity(info, &model) {
            fail!(
                LatentFile,
                "latent file {path}: {text}; open the model that made them or, if you know that they fit, ask for latents of \
                 any encoder (any_encoder of a stream's options, decode_file -E)"
            );
        }
        // The identity implies these in every file that this library wrote.
        let found = [info.latent_channels, info.spatial_compression, info.temporal_compression as usize];
        let expected = [model.latent_channels, model.spatial_compression, model.temporal_compression as usize];
        if found != expected {
            let advice = if any_encoder { "no decoder of other sizes can read them" } else { "its metadata is wrong" };
            fail!(
                LatentFile,
                "latent file {path}: its latent channels, spatial and temporal compression are {found:?}, those of \
                 {name} are {expected:?}; {advice}"
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

/// Whether these are latents of the model's encoder, and if not, what differs.
fn check_identity(file: &LatentFileInfo, model: &ModelInfo) -> Result<(), String> {
    let name = &model.name;
    if file.encoder == 0 {
        return match file.model == model.identity {
            true => Ok(()),
            false => Err(format!(
                "its latents are of the model {:016x}, this is {:016x} ({name}); an early version wrote the file, which does \
                 not say whether only the decoders differ",
                file.model, model.identity
            )),
        };
    }
    let same_decoder = file.decoder != 0 && file.decoder == model.decoder_identity;
    if file.encoder == model.encoder_identity || (!model.encodes && same_decoder) {
        return Ok(());
    }
    if !model.encodes {
        let (encoder, decoder, own) = (file.encoder, file.decoder, model.decoder_identity);
        let beside = match decoder {
            0 => format!("which had no decoder beside it; {name} holds no encoder, and the decoder {own:016x}"),
            _ => format!(
                "beside which was the decoder {decoder:016x}; {name} holds no encoder and another decoder, {own:016x}"
            ),
        };
        return Err(format!(
            "its latents are of the encoder {encoder:016x}, {beside}, so nothing tells whether they fit"
        ));
    }
    let halves = match (same_decoder, file.decoder) {
        (true, _) => "only the encoders differ, the decoders are the same",
        (false, 0) => "the encoders differ",
        (false, _) => "encoders and decoders differ",
    };
    Err(format!(
        "its latents are of the encoder {:016x}, that of {name} is {:016x}: {halves}",
        file.encoder, model.encoder_identity
    ))
}

impl Stream {
    /// How this stream was made, with the seed of the last [`set_seed`](Self::set_seed).
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
            encoder: model.encoder_identity,
            decoder: model.decoder_identity,
            width: geometry.width,
            height: geometry.height,
            padded: geometry.is_padded(),
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

    /// Fails unless this stream can decode the latents of a file: encoder (unless `any_encoder` was set), size and scaling.
    ///
    /// # Errors
    /// [`LatentFile`](crate::ErrorKind::LatentFile), with a text that names both.
    pub fn check_latent_file(&self, file: &LatentReader) -> Result<()> {
        self.model.check_latents(file, self.options.any_encoder)?;
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
