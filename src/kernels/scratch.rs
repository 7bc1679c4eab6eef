//! Memory that the convolutions of a model's sessions work in. It is kept from one convolution to the next, as allocating it
//! costs time. A convolution allocates what all of its threads may need before it starts. So the amount follows from sizes
//! and the number of threads, not from which threads did the work. The same holds for attention on a matrix unit.

use crate::memory::Pages;
use parking_lot::Mutex;

/// The system gave no memory; there is no result, or it is incomplete.
#[derive(Debug)]
pub(crate) struct NoMemory;

/// All sessions of a model share one pool. It grows if nothing in it is free.
#[derive(Default)]
pub(crate) struct ScratchPool {
    /// Pieces for all threads of a convolution together.
    shared: Pieces,
    /// Pieces for one thread each, during a job.
    own: Pieces,
    /// Pieces for frames that a layer over a clip makes before it convolves them.
    frames: Pieces,
}

/// What a convolution takes of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ScratchSize {
    /// Elements for all threads together, while it runs.
    pub(crate) shared: usize,
    /// Elements for each thread that has a job.
    pub(crate) own: usize,
    /// Threads that have jobs, at most.
    pub(crate) workers: usize,
    /// Elements of frames that a layer over a clip makes.
    pub(crate) frames: usize,
}

/// A piece of the pool that is in use.
pub(super) struct Scratch<'a> {
    from: &'a Pieces,
    /// `Some` until this is dropped.
    memory: Option<Memory>,
}

/// Pieces of one kind.
#[derive(Default)]
struct Pieces(Mutex<State>);

#[derive(Default)]
struct State {
    /// The most elements that were asked for, and the most pieces. New pieces are that large, so that none is made twice.
    largest: usize,
    most: usize,
    /// All pieces, in use or not.
    count: usize,
    /// The pieces that are not in use, and the thread that had each last.
    idle: Vec<(Thread, Memory)>,
}

/// Whole large pages, if the system has them.
struct Memory {
    pages: Pages,
    floats: usize,
}

/// A thread. Another thread may get the same value after its end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Thread(usize);

/// More bytes than there are addresses, in whole large pages.
const MOST: usize = isize::MAX as usize / Pages::LARGE * Pages::LARGE;
/// No system has smaller pages.
const SMALL_PAGE: usize = 4 << 10;

impl ScratchSize {
    /// What a pool has after two convolutions that did not run at the same time.
    pub(crate) fn max(self, other: Self) -> Self {
        ScratchSize {
            shared: self.shared.max(other.shared),
            own: self.own.max(other.own),
            workers: self.workers.max(other.workers),
            frames: self.frames.max(other.frames),
        }
    }

    /// Bytes that the system gives for it.
    pub(crate) fn bytes(self) -> u64 {
        let own = (self.workers as u64).saturating_mul(bytes(self.own) as u64);
        (bytes(self.shared) as u64).saturating_add(bytes(self.frames) as u64).saturating_add(own)
    }
}

/// Bytes that the system gives for so many elements; more than it has if that is no number.
fn bytes(floats: usize) -> usize {
    floats.checked_mul(size_of::<f32>()).and_then(|bytes| bytes.checked_next_multiple_of(Pages::LARGE)).unwrap_or(MOST)
}

impl ScratchPool {
    /// `size.shared` elements of any value, for all threads of a convolution. Also allocates what each of them needs,
    /// which a convolution that runs at the same time may take.
    pub(super) fn shared(&self, size: ScratchSize) -> Result<Scratch<'_>, NoMemory> {
        self.own.prepare(size.own, size.workers)?;
        self.shared.prepare(size.shared, 1)?;
        self.shared.take()
    }

    /// `size.frames` elements of any value, for a layer over a clip.
    pub(super) fn frames(&self, size: ScratchSize) -> Result<Scratch<'_>, NoMemory> {
        self.frames.prepare(size.frames, 1)?;
        self.frames.take()
    }

    /// `size.own` elements of any value, for one thread. The piece that this thread had last, if it is free, as it may
    /// still be in the core's cache.
    pub(super) fn own(&self) -> Result<Scratch<'_>, NoMemory> {
        self.own.take()
    }

    /// Fills all free pieces with a value.
    #[cfg(test)]
    pub(super) fn fill(&self, value: f32) {
        for Pieces(state) in [&self.shared, &self.own, &self.frames] {
            for (_, memory) in &mut state.lock().idle {
                // SAFETY: it has so many elements, and nobody else uses it.
                unsafe { std::slice::from_raw_parts_mut(memory.start(), memory.floats) }.fill(value);
            }
        }
    }
}

impl Pieces {
    /// Allocates pieces of so many elements until there are `count`.
    fn prepare(&self, floats: usize, count: usize) -> Result<(), NoMemory> {
        let mut state = self.0.lock();
        let before = (state.largest, state.most);
        (state.largest, state.most) = (before.0.max(floats), before.1.max(count));
        state.drop_small();
        let made = state.make();
        if made.is_err() {
            // Smaller convolutions must not ask for what could not be allocated.
            (state.largest, state.most) = before;
        }
        made
    }

    fn take(&self) -> Result<Scratch<'_>, NoMemory> {
        let mut state = self.0.lock();
        let mine = state.idle.iter().rposition(|(thread, _)| *thread == Thread::this());
        let memory = match mine.or(state.idle.len().checked_sub(1)) {
            Some(index) => state.idle.remove(index).1,
            None => {
                let memory = Memory::new(state.largest)?;
                state.count += 1;
                memory
            }
        };
        Ok(Scratch { from: self, memory: Some(memory) })
    }
}

impl State {
    fn make(&mut self) -> Result<(), NoMemory> {
        while self.count < self.most {
            let memory = Memory::new(self.largest)?;
            self.idle.try_reserve(1).map_err(|_| NoMemory)?;
            self.idle.push((Thread::NONE, memory));
            self.count += 1;
        }
        Ok(())
    }

    /// Frees pieces that are too small by now, to make room for their successors.
    fn drop_small(&mut self) {
        let before = self.idle.len();
        let largest = self.largest;
        self.idle.retain(|(_, memory)| memory.floats >= largest);
        self.count -= before - self.idle.len();
    }
}

impl Scratch<'_> {
    pub(super) fn start(&mut self) -> *mut f32 {
        self.memory.as_mut().expect("not dropped").start()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let mut state = self.from.0.lock();
        let memory = self.memory.take().expect("only here");
        // It goes back to the system if it is too small by now or the list cannot grow.
        if memory.floats >= state.largest && state.idle.try_reserve(1).is_ok() {
            state.idle.push((Thread::this(), memory));
        } else {
            state.count -= 1;
        }
    }
}

impl Memory {
    fn new(floats: usize) -> Result<Self, NoMemory> {
        let bytes = bytes(floats);
        let pages = Pages::new(bytes).map_err(|_| NoMemory)?;
        let memory = Memory { pages, floats: bytes / size_of::<f32>() };
        // The system allocates a page when it is first written to.
        for offset in (0..memory.floats).step_by(SMALL_PAGE / size_of::<f32>()) {
            // SAFETY: within the mapping.
            unsafe { memory.start().add(offset).write_volatile(0.0) };
        }
        Ok(memory)
    }

    fn start(&self) -> *mut f32 {
        self.pages.start().cast()
    }
}

impl Thread {
    const NONE: Self = Thread(0);

    fn this() -> Self {
        thread_local!(static HERE: u8 = const { 0 });
        Thread(HERE.with(|here| std::ptr::from_ref(here).addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: ScratchSize = ScratchSize { shared: 100, own: 10, workers: 3, frames: 0 };
    const LARGE: ScratchSize = ScratchSize { shared: 1 << 20, own: 1 << 20, workers: 2, frames: 0 };

    impl ScratchPool {
        /// Bytes that the system gave for it.
        fn bytes(&self) -> u64 {
            let taken = |pieces: &Pieces| {
                let state = pieces.0.lock();
                assert_eq!(state.count, state.idle.len(), "nothing is in use");
                state.idle.iter().map(|(_, memory)| (memory.floats * size_of::<f32>()) as u64).sum::<u64>()
            };
            taken(&self.shared) + taken(&self.own) + taken(&self.frames)
        }
    }

    #[test]
    fn there_is_as_much_as_the_estimate_says_whichever_threads_work() {
        let pool = ScratchPool::default();
        for (size, all) in [(SMALL, SMALL), (LARGE, SMALL.max(LARGE)), (SMALL, SMALL.max(LARGE))] {
            let shared = pool.shared(size).unwrap();
            let one = pool.own().unwrap();
            drop((one, shared));
            assert_eq!(pool.bytes(), all.bytes());
        }
        assert_eq!(SMALL.max(LARGE).bytes(), (4 << 20) + 3 * (4 << 20));
        assert_eq!(SMALL.max(LARGE), LARGE.max(SMALL));
    }

    #[test]
    fn convolutions_at_the_same_time_have_pieces_of_their_own() {
        let pool = ScratchPool::default();
        let (mut first, mut second) = (pool.shared(SMALL).unwrap(), pool.shared(LARGE).unwrap());
        assert_ne!(first.start(), second.start());
        let mut jobs: Vec<_> = (0..5).map(|_| pool.own().unwrap()).collect();
        let starts: std::collections::HashSet<_> = jobs.iter_mut().map(Scratch::start).collect();
        assert_eq!(starts.len(), 5, "more than either asked for");
        drop((jobs, first, second));
        // The first one's is too small by now.
        assert_eq!(pool.bytes(), (4 << 20) + 5 * (4 << 20));
    }

    #[test]
    fn what_could_not_be_allocated_is_not_asked_for_again() {
        let pool = ScratchPool::default();
        // More than there are addresses, and more bytes than a number counts.
        for many in [1 << 60, (1 << 62) + 1, usize::MAX] {
            for size in [ScratchSize { own: many, ..SMALL }, ScratchSize { shared: many, ..SMALL }] {
                assert!(pool.shared(size).is_err(), "{many}");
                drop(pool.shared(SMALL).unwrap());
            }
        }
    }

    #[test]
    fn a_thread_gets_what_it_had_last() {
        let pool = ScratchPool::default();
        drop(pool.shared(SMALL).unwrap());
        let own = || pool.own().unwrap().start().addr();
        let held = pool.own().unwrap();
        let (has_worked, may_work) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let first = own();
                has_worked.wait();
                may_work.wait();
                assert_eq!(own(), first);
            });
            has_worked.wait();
            // Above the other thread's piece.
            drop(held);
            may_work.wait();
        });
    }
}
