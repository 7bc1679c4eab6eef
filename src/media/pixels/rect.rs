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
    /// Whether all of the other is in it.
    pub(crate) fn holds(&self, other: &Rect) -> bool {
        let within = |at: usize, size: usize, other: usize, length: usize| at <= other && other + length <= at + size;
        within(self.x, self.width, other.x, other.width) && within(self.y, self.height, other.y, other.height)
    }

    /// The whole picture.
    pub(crate) fn of(width: usize, height: usize) -> Self {
        Rect { x: 0, y: 0, width, height }
    }
}
