//! The config's `scale` and `shift`. The network itself does not use them. See docs/spec.md section 9.

use super::config::Config;
use super::known_fields::OTHER_SCALING;
use crate::error::Result;

/// Per channel: `scaled = (z - shift) * scale`. Pipelines that train on these latents use this convention.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaling {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

/// The lists for `channels` channels, or why they cannot be used. A list of another length is accepted if all its
/// entries are equal. `default_len` is the length of the reference's default lists.
pub(super) fn scaling(
    config: &Config,
    channels: usize,
    default_len: usize,
    warnings: &mut Vec<String>,
) -> Result<Result<Scaling, String>> {
    if let Some(other) = OTHER_SCALING.iter().find(|other| config.has(other)) {
        let path = config.path().display();
        if config.has("scale") {
            warnings.push(format!("{path}: {other} is ignored because scale is set"));
        } else {
            let text = format!(
                "{path}: {other} is not supported, and scale is missing: use \"scale\" and \"shift\", lists with one \
                value for all channels or one per channel"
            );
            warnings.push(format!("{text}; until then latents cannot be scaled"));
            return Ok(Err(text));
        }
    }
    let list = |field: &str, default: f32| -> Result<Result<Vec<f32>, String>> {
        let values = config.numbers(field, &vec![default; default_len])?;
        let equal = values.windows(2).all(|w| w[0] == w[1]);
        Ok(match values.as_slice() {
            [first, ..] if equal => Ok(vec![*first; channels]),
            list if list.len() == channels => Ok(values),
            list => Err(format!(
                "{}: {field} has {} entries, expected {channels}, one per latent channel",
                config.path().display(),
                list.len()
            )),
        })
    };
    let (scale, shift) = (list("scale", 0.18215)?, list("shift", 0.0)?);
    Ok(match (scale, shift) {
        (Ok(scale), Ok(shift)) => {
            if scale.iter().any(|s| !s.is_normal()) || shift.iter().any(|s| !s.is_finite()) {
                Err(format!("{}: scale and shift must be finite, and scale must not be zero", config.path().display()))
            } else {
                Ok(Scaling { scale, shift })
            }
        }
        (Err(text), _) | (_, Err(text)) => Err(text),
    })
}
