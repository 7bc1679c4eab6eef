//! What all systems have in common.

use std::fs::Metadata;

/// Who sees a library's functions.
#[derive(Clone, Copy)]
pub(crate) enum Symbols {
    /// Whoever asks the library for them.
    Own,
    /// Libraries that are loaded later, too. On Windows they must ask as well.
    Global,
}

/// What a [`Thread`](super::Thread) runs.
pub(crate) type Work<'a> = &'a (dyn Fn() + Sync);

/// The stack of a thread, as the standard library's threads have it.
pub(super) const STACK_BYTES: usize = 2 << 20;

/// What a path leads to, also through links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// A device, a pipe or a socket.
    Other,
}

impl Kind {
    pub(super) fn of(meta: &Metadata) -> Self {
        match (meta.is_file(), meta.is_dir()) {
            (true, _) => Kind::File,
            (_, true) => Kind::Folder,
            _ => Kind::Other,
        }
    }
}
