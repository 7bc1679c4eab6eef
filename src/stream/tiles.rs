//! Tiles of a picture: where they lie, and how their results are joined.

use super::Geometry;
use crate::error::{Result, fail};
use crate::media::Rect;
use std::ops::Range;

/// Whether large frames are worked on in parts, which takes less memory at a time and more work in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tiling {
    /// The whole frame at once.
    #[default]
    Off,
    /// Tiles that overlap by as much as the network looks around, so that the result is the whole frame's. Only for
    /// networks without attention, which looks everywhere.
    Exact,
    /// Tiles that overlap by `overlap` pixels (0: a quarter of the tile), in which one fades into the next. For any
    /// network; the result is not that of the whole frame.
    Blended {
        /// In pixels, rounded up to a multiple of the spatial compression.
        overlap: usize,
    },
}

/// One axis of one tile, in pixels.
#[derive(Debug, Clone)]
struct Piece {
    start: usize,
    /// What of the picture this tile decides, or takes part in.
    owned: Range<usize>,
}

/// The tiles of all frames of a stream, in one direction. All have one size.
#[derive(Debug, Clone)]
pub(crate) struct Tiles {
    columns: Vec<Piece>,
    rows: Vec<Piece>,
    width: usize,
    height: usize,
    pub(crate) blended: bool,
}

impl Tiles {
    /// The picture as one tile.
    pub(crate) fn one(geometry: &Geometry) -> Self {
        let piece = |length: usize| vec![Piece { start: 0, owned: 0..length }];
        let (width, height) = (geometry.padded_width, geometry.padded_height);
        Tiles { columns: piece(width), rows: piece(height), width, height, blended: false }
    }

    /// Tiles of at most `size`, a multiple of `unit`, that overlap by `overlap`, another.
    pub(crate) fn new(geometry: &Geometry, size: (usize, usize), overlap: usize, blended: bool) -> Result<Self> {
        let unit = geometry.compression;
        let axis = |length: usize, size: usize, name: &str| -> Result<(Vec<Piece>, usize)> {
            let size = size.next_multiple_of(unit).min(length);
            if size < length && size < overlap + unit {
                fail!(
                    InvalidSize,
                    "tiles of {size} pixels {name}: they overlap by {overlap}, so they must be at least {}",
                    overlap + unit
                );
            }
            Ok((split(length, size, overlap, unit, blended), size))
        };
        let (columns, width) = axis(geometry.padded_width, size.0, "width")?;
        let (rows, height) = axis(geometry.padded_height, size.1, "height")?;
        Ok(Tiles { columns, rows, width, height, blended })
    }

    pub(crate) fn count(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Every tile's size.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Where tile `i` lies, and what it decides or takes part in, at a resolution `divisor` times lower.
    pub(crate) fn tile(&self, i: usize, divisor: usize) -> (Rect, Rect) {
        let (column, row) = (&self.columns[i % self.columns.len()], &self.rows[i / self.columns.len()]);
        let rect = |x: usize, y: usize, width: usize, height: usize| Rect {
            x: x / divisor,
            y: y / divisor,
            width: width / divisor,
            height: height / divisor,
        };
        let owned = rect(column.owned.start, row.owned.start, column.owned.len(), row.owned.len());
        (rect(column.start, row.start, self.width, self.height), owned)
    }

    /// Adds the tile's planes `[channels, h, w]` to those of the whole picture, `[channels, H, W]` of `divisor` times
    /// fewer pixels, with weights that sum up to 1 over all tiles.
    pub(crate) fn join(&self, i: usize, divisor: usize, tile: &[f32], whole: &mut [f32], width: usize) {
        let (held, part) = self.tile(i, divisor);
        let columns = self.weights(&self.columns, i % self.columns.len(), self.width, divisor);
        let rows = self.weights(&self.rows, i / self.columns.len(), self.height, divisor);
        let whole_plane = self.whole_height(divisor) * width;
        for (source, target) in tile.chunks_exact(held.width * held.height).zip(whole.chunks_exact_mut(whole_plane)) {
            for y in part.y..part.y + part.height {
                let row = rows[y - held.y];
                let source = &source[(y - held.y) * held.width + part.x - held.x..][..part.width];
                let target = &mut target[y * width + part.x..][..part.width];
                let weights = &columns[part.x - held.x..];
                for ((value, weight), out) in source.iter().zip(weights).zip(target) {
                    *out += value * weight * row;
                }
            }
        }
    }

    fn whole_height(&self, divisor: usize) -> usize {
        let last = self.rows.last().expect("there is a row");
        (last.start + self.height) / divisor
    }

    /// How much each position along one axis of a tile counts.
    fn weights(&self, pieces: &[Piece], i: usize, size: usize, divisor: usize) -> Vec<f32> {
        let size = size / divisor;
        let start = |piece: &Piece| piece.start / divisor;
        if !self.blended {
            return vec![1.0; size];
        }
        // A trapezoid for each tile, over the sum of all: its sides are as wide as the overlap with its neighbour.
        let height = |i: usize, x: usize| -> f32 {
            let from = start(&pieces[i]);
            if x < from || x >= from + size {
                return 0.0;
            }
            let side = |distance: usize, overlap: usize| (distance as f32 + 0.5) / overlap as f32;
            let left = i.checked_sub(1).map_or(1.0, |j| side(x - from, start(&pieces[j]) + size - from));
            let right = pieces.get(i + 1).map_or(1.0, |next| side(from + size - 1 - x, from + size - start(next)));
            left.min(right).min(1.0)
        };
        let from = start(&pieces[i]);
        (from..from + size).map(|x| height(i, x) / (0..pieces.len()).map(|j| height(j, x)).sum::<f32>()).collect()
    }
}

/// The fewest pieces of `size` that overlap by at least `overlap`, evenly spread over `length`.
fn split(length: usize, size: usize, overlap: usize, unit: usize, blended: bool) -> Vec<Piece> {
    if size >= length {
        return vec![Piece { start: 0, owned: 0..length }];
    }
    let count = (length - overlap).div_ceil(size - overlap);
    let starts: Vec<usize> = (0..count).map(|i| (length - size) / unit * i / (count - 1) * unit).collect();
    let piece = |(i, &start): (usize, &usize)| {
        if blended {
            return Piece { start, owned: start..start + size };
        }
        // Neighbours meet in the middle of what they share.
        let meet = |left: usize, right: usize| (left + size + right) / 2 / unit * unit;
        let from = if i == 0 { 0 } else { meet(starts[i - 1], start) };
        let to = starts.get(i + 1).map_or(length, |&next| meet(start, next));
        Piece { start, owned: from..to }
    };
    starts.iter().enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_splits() -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let unit = 8;
        (1..60).flat_map(move |length| {
            (0..6).flat_map(move |halo| {
                (2 * halo + 1..20).map(move |size| (length * unit, size.min(length) * unit, 2 * halo * unit, unit))
            })
        })
    }

    #[test]
    fn exact_pieces_cover_everything_once_and_see_their_surroundings() {
        for (length, size, overlap, unit) in all_splits() {
            let pieces = split(length, size, overlap, unit, false);
            let mut covered = 0;
            for piece in &pieces {
                assert_eq!(piece.owned.start, covered, "{length} {size} {overlap}");
                covered = piece.owned.end;
                let (start, end) = (piece.start, piece.start + size);
                assert!(end <= length && start.is_multiple_of(unit) && covered.is_multiple_of(unit));
                assert!(start == 0 || piece.owned.start - start >= overlap / 2, "{length} {size} {overlap} {pieces:?}");
                assert!(end == length || end - piece.owned.end >= overlap / 2, "{length} {size} {overlap} {pieces:?}");
            }
            assert_eq!(covered, length);
        }
    }

    #[test]
    fn blended_weights_sum_up_to_one() {
        for (length, size, overlap, unit) in all_splits().step_by(7).filter(|s| s.2 > 0) {
            let columns = split(length, size, overlap, unit, true);
            let rows = vec![Piece { start: 0, owned: 0..unit }];
            let tiles = Tiles { columns, rows, width: size, height: unit, blended: true };
            let mut whole = vec![0.0; length * unit];
            for i in 0..tiles.count() {
                tiles.join(i, 1, &vec![1.0; size * unit], &mut whole, length);
            }
            assert!(whole.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{length} {size} {overlap}");
        }
    }

    /// In both directions, of pixels and of latents, several channels: where all tiles hold the same picture, that picture.
    #[test]
    fn tiles_of_one_picture_join_to_it() {
        let unit = 4;
        let shapes = [(10, 4, 1), (7, 3, 2), (9, 5, 2), (5, 5, 2), (13, 6, 4)];
        for ((across, down), blended) in shapes
            .iter()
            .flat_map(|across| shapes.iter().map(move |down| (across, down)))
            .flat_map(|s| [(s, true), (s, false)])
        {
            let pieces = |(length, size, overlap): (usize, usize, usize)| {
                // What exact tiles see on both sides.
                let overlap = if blended { overlap } else { overlap / 2 * 2 };
                split(length * unit, size * unit, overlap * unit, unit, blended)
            };
            let (width, height) = (across.1 * unit, down.1 * unit);
            let tiles = Tiles { columns: pieces(*across), rows: pieces(*down), width, height, blended };
            for divisor in [1, unit] {
                let (whole_width, whole_height) = (across.0 * unit / divisor, down.0 * unit / divisor);
                let value = |c: usize, y: usize, x: usize| ((c * 31 + y * 7 + x * 13) % 29) as f32 - 14.0;
                let mut whole = vec![0.0; 2 * whole_width * whole_height];
                for i in 0..tiles.count() {
                    let (held, _) = tiles.tile(i, divisor);
                    let tile: Vec<f32> =
                        places(2, held.height, held.width).map(|(c, y, x)| value(c, held.y + y, held.x + x)).collect();
                    tiles.join(i, divisor, &tile, &mut whole, whole_width);
                }
                for (found, (c, y, x)) in whole.iter().zip(places(2, whole_height, whole_width)) {
                    let expected = value(c, y, x);
                    assert!((found - expected).abs() < 1e-4, "{across:?} {down:?} {blended} {divisor}: {c} {y} {x}");
                }
            }
        }
    }

    fn places(channels: usize, height: usize, width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..channels).flat_map(move |c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
    }

    /// A tile counts less towards its neighbour, in a straight line over what they share, and all where it is alone.
    #[test]
    fn blended_weights_fall_towards_a_neighbour() {
        let columns = split(12, 8, 4, 1, true);
        assert_eq!(columns.iter().map(|piece| piece.start).collect::<Vec<_>>(), [0, 4]);
        let rows = vec![Piece { start: 0, owned: 0..1 }];
        let tiles = Tiles { columns, rows, width: 8, height: 1, blended: true };
        let mut whole = vec![0.0; 12];
        tiles.join(0, 1, &[1.0; 8], &mut whole, 12);
        assert_eq!(whole, [1.0, 1.0, 1.0, 1.0, 0.875, 0.625, 0.375, 0.125, 0.0, 0.0, 0.0, 0.0]);
    }
}
