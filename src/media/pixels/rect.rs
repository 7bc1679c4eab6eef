//! Rectangles in a picture.

/// A rectangle in a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Rect {
    /// The whole picture.
    pub(crate) fn of(width: usize, height: usize) -> Self {
        Rect { x: 0, y: 0, width, height }
    }
}
