//! The filter graph that FFmpeg runs a clip's frames through.

use crate::arguments::{Fit, FrameArguments};
use crate::formats;
use crate::media::{Description, Turn};

/// Lanczos with windows that grow where frames are made smaller, so that nothing aliases.
const SCALING: &str = "flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp";

/// Where chroma samples are in the pixels that share them, in 1/256 of a pixel. FFmpeg's scaler does not look at the tag.
fn chroma(clip: &Description) -> &'static str {
    match clip.location.as_str() {
        "center" => "in_h_chr_pos=128:in_v_chr_pos=128",
        "topleft" => "in_h_chr_pos=0:in_v_chr_pos=0",
        _ => "in_h_chr_pos=0:in_v_chr_pos=128",
    }
}

pub fn graph(arguments: &FrameArguments, clip: &Description) -> Result<String, String> {
    let mut filters = vec![];
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
    let (chroma, full) = (chroma(clip), formats::full());
    match turn {
        None => {}
        // Turning 4:2:0 would put chroma samples where no tag can say.
        Some(Turn::By { filter, .. }) => {
            filters.push(format!("scale={chroma}:{SCALING},format={full},{filter}"));
        }
        Some(Turn::Unknown) => return Err("it is to be shown at an angle that is no multiple of 90 degrees".into()),
    }
    let resized =
        arguments.size.filter(|&size| arguments.filter.is_some() || clip.aspect.is_some() || size != upright(clip));
    if let Some((width, height)) = resized {
        match arguments.fit {
            Fit::Stretch => filters.push(format!("scale={width}:{height}:{chroma}:{SCALING},format={full}")),
            // dar: the shape in which frames are shown, whose pixels may not be square.
            Fit::Crop => {
                let sides = format!("max({width}\\,round({height}*dar)):max({height}\\,round({width}/dar))");
                filters.push(format!("scale={sides}:{chroma}:{SCALING},format={full},crop={width}:{height}:exact=1"));
            }
        }
    }
    filters.push(format!("format={}", formats::accepted(&clip.format)));
    Ok(filters.join(","))
}

/// Width and height of what comes out, unless a filter of the user's decides.
pub fn size(arguments: &FrameArguments, clip: &Description) -> Option<(usize, usize)> {
    arguments.size.or_else(|| arguments.filter.is_none().then(|| upright(clip)))
}

fn upright(clip: &Description) -> (usize, usize) {
    match clip.turn.is_some_and(|turn| turn.swaps()) {
        true => (clip.height, clip.width),
        false => (clip.width, clip.height),
    }
}
