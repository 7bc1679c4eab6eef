//! Integers that follow from the size of a frame, for nodes that cut or join values.
//!
//! They are inputs of the graphs. If a graph computed them, ONNX Runtime would run these nodes on a device when it makes the
//! graph channels-last, and the CPU, which needs the results, would wait for each.

/// A list of sizes, and the name of the input that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SizeList {
    pub(crate) name: String,
    pub(crate) sizes: Vec<Size>,
}

/// A size in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Fixed(usize),
    /// As many as remain.
    Rest,
    /// H / divisor
    Height(usize),
    /// W / divisor
    Width(usize),
    /// Queries in a block of attention, in frames of H / divisor by W / divisor pixels, one for `slower` of the clip's. It divides
    /// the number of pixels, so that all blocks are equal, and is the largest whose scores fit into `bytes`, or 1.
    Queries {
        divisor: usize,
        slower: usize,
        bytes: u64,
    },
}

impl SizeList {
    /// For a clip of `frames` frames of that size in one run.
    pub(crate) fn of(&self, [height, width]: [usize; 2], frames: usize) -> Vec<i64> {
        self.sizes.iter().map(|size| size.of(height, width, frames)).collect()
    }

    /// Bytes of the scores of a block of queries, for such a clip.
    pub(crate) fn score_bytes(&self, [height, width]: [usize; 2], frames: usize) -> u64 {
        let scores = self.sizes.iter().map(|size| match *size {
            Size::Queries { divisor, slower, .. } => {
                let (pixels, queries) = ((height / divisor) * (width / divisor), size.of(height, width, frames));
                let factors = [frames_of(frames, slower) as u64, pixels as u64, queries as u64];
                factors.into_iter().fold(size_of::<f32>() as u64, u64::saturating_mul)
            }
            _ => 0,
        });
        scores.max().unwrap_or(0)
    }

    /// Text for readers of the graph.
    pub(super) fn describe(&self) -> String {
        let texts: Vec<String> = self.sizes.iter().map(Size::to_string).collect();
        format!("[{}]", texts.join(", "))
    }
}

/// Frames that are one for `slower` of a clip's.
fn frames_of(frames: usize, slower: usize) -> usize {
    frames.saturating_sub(1) / slower + 1
}

impl Size {
    fn of(self, height: usize, width: usize, frames: usize) -> i64 {
        match self {
            Size::Fixed(n) => n as i64,
            Size::Rest => -1,
            Size::Height(divisor) => (height / divisor) as i64,
            Size::Width(divisor) => (width / divisor) as i64,
            Size::Queries { divisor, slower, bytes } => {
                let frames = frames_of(frames, slower);
                let pixels = (height / divisor) * (width / divisor);
                let scores = bytes / size_of::<f32>() as u64;
                let most = scores / pixels.saturating_mul(frames).max(1) as u64;
                // Divisors come in pairs, of which the smaller is at most the square root.
                let divisors = (1..).take_while(|n| n * n <= pixels).filter(|n| pixels.is_multiple_of(*n));
                let fits = divisors.flat_map(|n| [n, pixels / n]).filter(|n| *n as u64 <= most);
                fits.max().unwrap_or(1) as i64
            }
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Fixed(n) => write!(f, "{n}"),
            Size::Rest => write!(f, "-1"),
            Size::Height(divisor) => write!(f, "H/{divisor}"),
            Size::Width(divisor) => write!(f, "W/{divisor}"),
            Size::Queries { divisor, .. } => write!(f, "any divisor of H/{divisor} * W/{divisor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_divide_the_frame_and_keep_their_scores_below_the_limit() {
        for (height, width) in [(8, 8), (30, 52), (61, 107), (1, 97), (1, 1), (90, 160)] {
            for frames in [1, 3] {
                for bytes in [1, 4096, 1 << 20, 1 << 26] {
                    let found = Size::Queries { divisor: 1, slower: 1, bytes }.of(height, width, frames) as usize;
                    let pixels = height * width;
                    let fits = |n: usize| (n * pixels * frames * 4) as u64 <= bytes;
                    assert!(pixels.is_multiple_of(found) && (found == 1 || fits(found)), "{found} of {height}x{width}");
                    let larger = (found + 1..=pixels).find(|n| pixels.is_multiple_of(*n) && fits(*n));
                    assert_eq!(larger, None, "{found} of {height}x{width}");
                }
            }
        }
    }

    #[test]
    fn lists_follow_the_frame() {
        let sizes = vec![Size::Fixed(0), Size::Rest, Size::Height(4), Size::Width(8), Size::Fixed(24)];
        let list = SizeList { name: String::new(), sizes };
        assert_eq!(list.of([32, 48], 1), [0, -1, 8, 6, 24]);
        assert_eq!(list.describe(), "[0, -1, H/4, W/8, 24]");
    }
}
