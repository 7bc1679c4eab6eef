//! Keeps the library from overwriting the open model's own files.

use super::checkpoint::Checkpoint;
use super::files;
use crate::error::{Result, fail};
use crate::platform;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

impl Checkpoint {
    /// Fails if `target` is one of the checkpoint's files, also through links, or if opening the folder again could
    /// take it for one.
    pub(crate) fn check_target(&self, target: &Path) -> Result<()> {
        if let Some(own) = self.own_files()?.into_iter().find(|own| is_same(own, target)) {
            fail!(
                InvalidArgument,
                "{}: is the open model's own file {}; give another name",
                target.display(),
                own.display()
            );
        }
        let folder = or_here(target.parent().unwrap_or(Path::new("")));
        let own = |file: &Path| file.parent().is_some_and(|parent| is_same(or_here(parent), folder));
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        if self.paths().any(own) && files::competes(folder, &name, Path::new(self.name()).is_dir()) {
            fail!(
                InvalidArgument,
                "{}: would be opened as weights of the model in this folder; give another name or folder",
                target.display()
            );
        }
        Ok(())
    }

    /// Fails if `folder` contains files of the checkpoint.
    pub(crate) fn check_target_folder(&self, folder: &Path) -> Result<()> {
        // A download cache contains links to files in other folders. Check both folders.
        let real = self.paths().filter_map(|file| dunce::canonicalize(file).ok());
        let mut files = self.paths().map(Path::to_path_buf).chain(real);
        if files.any(|file| file.parent().is_some_and(|parent| is_same(or_here(parent), folder))) {
            fail!(InvalidArgument, "{}: holds the open model's own files; give another folder", folder.display());
        }
        Ok(())
    }

    /// The weights, and the JSON files beside them.
    fn own_files(&self) -> Result<Vec<PathBuf>> {
        let mut own: Vec<PathBuf> = vec![];
        for file in self.paths() {
            let folder = or_here(file.parent().unwrap_or(Path::new("")));
            let list = || -> std::io::Result<Vec<_>> { std::fs::read_dir(folder)?.collect() };
            let listed = match list() {
                // A folder whose files may be opened, but not listed.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => vec![],
                listed => files::if_there(folder, listed)?.unwrap_or_default(),
            };
            let beside = listed.into_iter().map(|entry| entry.path());
            own.extend(beside.filter(|path| path.extension().is_some_and(|e| e == "json")));
            own.push(file.to_path_buf());
        }
        Ok(own)
    }
}

/// A bare file name has an empty parent.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

fn is_same(a: &Path, b: &Path) -> bool {
    platform::file_id(a).is_some_and(|a| Some(a) == platform::file_id(b))
}
