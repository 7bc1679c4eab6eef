//! Tiles of a picture: where they lie, and how their results are joined.

use super::geometry::Geometry;
use crate::engine::{Engine, FrameSize};
use crate::error::{Result, fail};
use crate::media::Rect;
use std::ops::Range;

/// One axis of one tile, in pixels.
#[derive(Debug, Clone)]
struct Piece {
    start: usize,
    /// What of the picture this tile decides, or takes part in.
    owned: Range<usize>,
}

/// The tiles of all frames of a stream, in one direction. All have one size.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    columns: Vec<Piece>,
    rows: Vec<Piece>,
    size: FrameSize,
    blended: bool,
}

impl Tiles {
    /// The picture as one tile.
    pub(super) fn one(geometry: &Geometry) -> Self {
        let piece = |length: usize| vec![Piece { start: 0, owned: 0..length }];
        let size = geometry.padded;
        Tiles { columns: piece(size.width), rows: piece(size.height), size, blended: false }
    }

    /// Tiles of at most `size`, a multiple of `unit`, that overlap by `overlap`, another.
    pub(super) fn new(geometry: &Geometry, size: FrameSize, overlap: usize, blended: bool) -> Result<Self> {
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
        let (columns, width) = axis(geometry.padded.width, size.width, "width")?;
        let (rows, height) = axis(geometry.padded.height, size.height, "height")?;
        Ok(Tiles { columns, rows, size: FrameSize { width, height }, blended })
    }

    pub(super) fn count(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Whether outputs wait until all of their tiles are there.
    pub(super) fn are_joined<E: Engine>(&self) -> bool {
        self.count() > 1 && (self.blended || !E::GIVES_PARTS)
    }

    /// Of every tile.
    pub(super) fn size(&self) -> FrameSize {
        self.size
    }

    /// The whole picture, whose sides are `divisor` times smaller than the frame's.
    pub(super) fn whole(&self, divisor: usize) -> Rect {
        let end = |pieces: &[Piece], size: usize| (pieces.last().expect("there is a tile").start + size) / divisor;
        Rect::of(end(&self.columns, self.size.width), end(&self.rows, self.size.height))
    }

    /// Values of one channel of the whole picture, whose sides are `divisor` times smaller than the frame's.
    pub(super) fn whole_plane(&self, divisor: usize) -> usize {
        let Rect { width, height, .. } = self.whole(divisor);
        width * height
    }

    /// Where tile `i` lies, and what it decides or takes part in, of a picture whose sides are `divisor` times smaller.
    pub(super) fn tile(&self, i: usize, divisor: usize) -> (Rect, Rect) {
        let (column, row) = (&self.columns[i % self.columns.len()], &self.rows[i / self.columns.len()]);
        let rect = |x: usize, y: usize, width: usize, height: usize| Rect {
            x: x / divisor,
            y: y / divisor,
            width: width / divisor,
            height: height / divisor,
        };
        let owned = rect(column.owned.start, row.owned.start, column.owned.len(), row.owned.len());
        (rect(column.start, row.start, self.size.width, self.size.height), owned)
    }

    /// Adds the tile's planes `[channels, h, w]` to those of the whole picture, `[channels, H, W]`, whose sides are `divisor`
    /// times smaller than the frame's. The weights of all tiles sum up to 1.
    pub(super) fn join(&self, i: usize, divisor: usize, tile: &[f32], whole: &mut [f32]) {
        let width = self.whole(divisor).width;
        let (held, part) = self.tile(i, divisor);
        let columns = self.weights(&self.columns, i % self.columns.len(), self.size.width, divisor);
        let rows = self.weights(&self.rows, i / self.columns.len(), self.size.height, divisor);
        let whole_plane = self.whole_plane(divisor);
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
            let tiles = Tiles { columns, rows, size: FrameSize { width: size, height: unit }, blended: true };
            let mut whole = vec![0.0; length * unit];
            for i in 0..tiles.count() {
                tiles.join(i, 1, &vec![1.0; size * unit], &mut whole);
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
            let tiles =
                Tiles { columns: pieces(*across), rows: pieces(*down), size: FrameSize { width, height }, blended };
            for divisor in [1, unit] {
                let (whole_width, whole_height) = (across.0 * unit / divisor, down.0 * unit / divisor);
                let value = |c: usize, y: usize, x: usize| ((c * 31 + y * 7 + x * 13) % 29) as f32 - 14.0;
                let mut whole = vec![0.0; 2 * whole_width * whole_height];
                for i in 0..tiles.count() {
                    let (held, _) = tiles.tile(i, divisor);
                    let tile: Vec<f32> =
                        points(2, held.height, held.width).map(|(c, y, x)| value(c, held.y + y, held.x + x)).collect();
                    tiles.join(i, divisor, &tile, &mut whole);
                }
                for (found, (c, y, x)) in whole.iter().zip(points(2, whole_height, whole_width)) {
                    let expected = value(c, y, x);
                    assert!((found - expected).abs() < 1e-4, "{across:?} {down:?} {blended} {divisor}: {c} {y} {x}");
                }
            }
        }
    }

    fn points(channels: usize, height: usize, width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..channels).flat_map(move |c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
    }

    /// A tile counts less towards its neighbour, in a straight line over what they share, and all where it is alone.
    #[test]
    fn blended_weights_fall_towards_a_neighbour() {
        let columns = split(12, 8, 4, 1, true);
        assert_eq!(columns.iter().map(|piece| piece.start).collect::<Vec<_>>(), [0, 4]);
        let rows = vec![Piece { start: 0, owned: 0..1 }];
        let tiles = Tiles { columns, rows, size: FrameSize { width: 8, height: 1 }, blended: true };
        let mut whole = vec![0.0; 12];
        tiles.join(0, 1, &[1.0; 8], &mut whole);
        assert_eq!(whole, [1.0, 1.0, 1.0, 1.0, 0.875, 0.625, 0.375, 0.125, 0.0, 0.0, 0.0, 0.0]);
    }
}
