//! The filter graph that FFmpeg runs a clip's frames through.

use crate::arguments::{Arguments, Fit};
use crate::formats;
use crate::media::{Description, Turn};

/// Lanczos with windows that grow where frames are made smaller, so that nothing aliases.
const SCALING: &str = "flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp";

pub fn graph(arguments: &Arguments, clip: &Description) -> Result<String, String> {
    let mut filters = vec!["setpts=PTS-STARTPTS".to_string()];
    filters.extend(arguments.filter.clone());
    if let Some((numerator, denominator)) = arguments.fps {
        filters.push(format!("fps={numerator}/{denominator}"));
    }
    if let Some(every) = arguments.every.filter(|&every| every > 1) {
        filters.push(format!("select=not(mod(n\\,{every}))"));
    }
    // No frame behind the last one is decoded.
    if let Some(frames) = arguments.frames {
        filters.push(format!("trim=end_frame={frames}"));
    }
    let turn = clip.turn.as_ref();
    match turn {
        None => {}
        Some(Turn::By { filter, .. }) => filters.push((*filter).into()),
        Some(Turn::Unknown) => return Err("it is to be shown at an angle that is no multiple of 90 degrees".into()),
    }
    // A filter of the user's may change the size.
    let (width, height) =
        if turn.is_some_and(Turn::swaps) { (clip.height, clip.width) } else { (clip.width, clip.height) };
    let has_size = |size| arguments.filter.is_none() && clip.aspect.is_none() && size == (width, height);
    let resized = arguments.size.filter(|&size| !has_size(size));
    if let Some((width, height)) = resized {
        match arguments.fit {
            Fit::Stretch => filters.push(format!("scale={width}:{height}:{SCALING}")),
            // dar: the shape in which frames are shown, whose pixels may not be square.
            Fit::Crop => {
                filters.push(format!(
                    "scale=max({width}\\,round({height}*dar)):max({height}\\,round({width}/dar)):{SCALING}"
                ));
                filters.push(format!("crop={width}:{height}:exact=1"));
            }
        }
    }
    filters
        .push(format!("format={}", formats::accepted(&clip.format, resized.is_some() || arguments.filter.is_some())));
    Ok(filters.join(","))
}
