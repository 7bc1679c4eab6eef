//! How much memory the process can still get: the machine's available memory, or less if a control group (version 1 or
//! 2) limits it.
//!
//! The page cache does not count as used, because the system drops it when memory is needed. Control groups do count
//! it, including the pages of the checkpoint that this library reads, so it is subtracted. Swap does not count as
//! memory.

use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// In bytes; `None` if the system does not say.
pub(crate) fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

/// The same, with `proc` and `sys` under `root`.
fn available_below(root: &Path) -> Option<u64> {
    let info = read(&root.join("proc/meminfo"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    Some(groups(root).into_iter().filter_map(|group| group.available()).fold(machine, u64::min))
}

/// A control group of the process: its folder and, as far as they are visible, those of its parents.
struct Group {
    version: Version,
    folder: PathBuf,
    /// The outermost visible parent.
    top: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups that may limit memory. A hybrid system has one of each version, of which only one controls memory.
fn groups(root: &Path) -> Vec<Group> {
    let (Some(own), Some(mounts)) = (read(&root.join("proc/self/cgroup")), read(&root.join("proc/self/mountinfo")))
    else {
        return vec![];
    };
    mounts
        .lines()
        .filter_map(mount)
        .filter_map(|mount| {
            let path = own.lines().find_map(|line| own_path(line, mount.version))?;
            let top = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
            // If only a part of the hierarchy is mounted, the group's path starts with the root of that mount. In a
            // container it may not; then the mount itself is the group.
            let below = Path::new(path).strip_prefix(&mount.root).ok();
            let below = below.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))));
            let folder = below.map_or(top.clone(), |below| top.join(below));
            let folder = if folder.is_dir() { folder } else { top.clone() };
            Some(Group { version: mount.version, folder, top })
        })
        .collect()
}

/// The path in a line "number:controllers:path" of /proc/self/cgroup, if the line is for this version's memory
/// hierarchy.
fn own_path(line: &str, version: Version) -> Option<&str> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let fits = match version {
        Version::One => controllers.split(',').any(|name| name == "memory"),
        Version::Two => number == "0" && controllers.is_empty(),
    };
    fits.then_some(path)
}

struct Mount {
    version: Version,
    /// The part of the hierarchy that is mounted, and where.
    root: PathBuf,
    point: PathBuf,
}

/// Parses a line of /proc/self/mountinfo: "number parent device root point options... - type source options".
fn mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let mut tail = tail.split(' ');
    let version = match tail.next()? {
        "cgroup2" => Version::Two,
        "cgroup" if tail.nth(1)?.split(',').any(|name| name == "memory") => Version::One,
        _ => return None,
    };
    let mut head = head.split(' ').skip(3);
    let (root, point) = (head.next()?, head.next()?);
    Some(Mount { version, root: unescaped(root), point: unescaped(point) })
}

/// Decodes the octal escapes for spaces, tabs, newlines and backslashes.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (vec![], text.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = if *first == b'\\' { after.get(..3) } else { None };
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

impl Group {
    /// The smallest value of the group and its parents, since all their limits apply.
    fn available(&self) -> Option<u64> {
        let mut least: Option<u64> = None;
        for folder in self.folder.ancestors() {
            // Without `use_hierarchy`, a version 1 parent does not limit its children.
            let separate = self.version == Version::One && number(&folder.join("memory.use_hierarchy")) == Some(0);
            if folder == self.folder || !separate {
                let left = match self.version {
                    Version::One => left_1(folder),
                    Version::Two => left_2(folder),
                };
                least = [least, left].into_iter().flatten().min();
            }
            if folder == self.top {
                break;
            }
        }
        least
    }
}

fn left_1(folder: &Path) -> Option<u64> {
    let limit = number(&folder.join("memory.limit_in_bytes"))?;
    let used = number(&folder.join("memory.usage_in_bytes"))?;
    let files = statistics(folder, &["total_inactive_file", "total_active_file"]);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

/// Above memory.high the kernel slows a group down almost to a stop.
fn left_2(folder: &Path) -> Option<u64> {
    let limits = ["memory.max", "memory.high"].map(|name| number(&folder.join(name)));
    let limit = limits.into_iter().flatten().min()?;
    let used = number(&folder.join("memory.current"))?;
    let files = statistics(folder, &["inactive_file", "active_file", "slab_reclaimable"]);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

/// The sum of the named lines of memory.stat.
fn statistics(folder: &Path, names: &[&str]) -> u64 {
    let text = read(&folder.join("memory.stat")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| names.contains(name)).filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
}

/// `None` also for "max", which means no limit.
fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    /// A system with 8 GB, of which 4 GB are available.
    struct System(tempfile::TempDir);

    impl System {
        fn new(cgroup: &str, mountinfo: &str) -> Self {
            let system = System(tempfile::tempdir().unwrap());
            system.write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\nMemAvailable:    4194304 kB\n");
            system.write("proc/self/cgroup", cgroup);
            system.write("proc/self/mountinfo", mountinfo);
            system
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        /// Adds a version 2 group, in MB: its limits ("" leaves the file out), its usage, and the page cache within
        /// that.
        fn group(self, folder: &str, max: &str, high: &str, current: u64, files: [u64; 3]) -> Self {
            let [inactive, active, slab] = files.map(|n| n * MB);
            let limit = |text: &str| text.parse::<u64>().map_or(text.to_string(), |n| (n * MB).to_string());
            for (name, text) in [("memory.max", limit(max)), ("memory.high", limit(high))] {
                if !text.is_empty() {
                    self.write(&format!("{folder}/{name}"), &format!("{text}\n"));
                }
            }
            self.write(&format!("{folder}/memory.current"), &format!("{}\n", current * MB));
            let anon = current * MB - inactive - active - slab;
            self.write(
                &format!("{folder}/memory.stat"),
                &format!(
                    "anon {anon}\nfile 1\ninactive_file {inactive}\nactive_file {active}\nslab_reclaimable {slab}\n"
                ),
            );
            self
        }

        /// The same for version 1.
        fn old_group(
            self,
            folder: &str,
            limit: u64,
            usage: u64,
            [inactive, active]: [u64; 2],
            hierarchy: &str,
        ) -> Self {
            self.write(&format!("{folder}/memory.limit_in_bytes"), &format!("{limit}\n"));
            self.write(&format!("{folder}/memory.usage_in_bytes"), &format!("{}\n", usage * MB));
            let [inactive, active] = [inactive, active].map(|n| n * MB);
            // Entries without "total_" do not include the children.
            self.write(
                &format!("{folder}/memory.stat"),
                &format!(
                    "inactive_file 77\nactive_file 77\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n"
                ),
            );
            self.write(&format!("{folder}/memory.use_hierarchy"), hierarchy);
            self
        }

        fn available(&self) -> Option<u64> {
            available_below(self.0.path())
        }
    }

    const V2: &str = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "36 32 0:33 / /sys/fs/cgroup/memory rw,nosuid shared:15 - cgroup cgroup rw,memory\n\
                      37 32 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
    const NO_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

    #[test]
    fn each_kind_of_system_has_its_number() {
        let cases: Vec<(&str, System, u64)> = vec![
            ("no groups at all", System::new("", ""), 4096),
            (
                "the root of version 2 has no limits",
                System::new("0::/\n", V2).group("sys/fs/cgroup", "", "", 3000, [0; 3]),
                4096,
            ),
            ("no limit", System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "max", "max", 3000, [0; 3]), 4096),
            (
                "a limit above what the machine has",
                System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "6000", "max", 100, [0; 3]),
                4096,
            ),
            ("a limit", System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "1000", "max", 300, [0; 3]), 700),
            (
                "files and slabs can go",
                System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "1000", "max", 990, [400, 200, 90]),
                700,
            ),
            (
                "full of what cannot go",
                System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "1000", "max", 1000, [0; 3]),
                0,
            ),
            ("above its limit", System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "1000", "max", 1200, [0; 3]), 0),
            (
                "slowed down before the limit",
                System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "1000", "500", 300, [100, 0, 0]),
                300,
            ),
            (
                "a parent has less left",
                System::new("0::/a/b/c\n", V2)
                    .group("sys/fs/cgroup/a", "800", "max", 700, [50, 0, 0])
                    .group("sys/fs/cgroup/a/b", "max", "max", 100, [0; 3])
                    .group("sys/fs/cgroup/a/b/c", "1000", "max", 100, [0; 3]),
                150,
            ),
            (
                "a sibling does not matter",
                System::new("0::/a\n", V2).group("sys/fs/cgroup/a", "1000", "max", 100, [0; 3]).group(
                    "sys/fs/cgroup/b",
                    "200",
                    "max",
                    200,
                    [0; 3],
                ),
                900,
            ),
            (
                "a namespace: the mount is the group",
                System::new("0::/\n", V2).group("sys/fs/cgroup", "1000", "max", 400, [100, 0, 0]),
                700,
            ),
            (
                "moved out of its namespace's root",
                System::new("0::/../other\n", V2).group("sys/fs/cgroup", "1000", "max", 400, [0; 3]),
                600,
            ),
            (
                "a part of the hierarchy, mounted elsewhere, with a space",
                System::new(
                    "0::/docker/x/job\n",
                    "31 23 0:26 /docker/x /mnt/control\\040groups rw - cgroup2 none rw\n",
                )
                .group("mnt/control groups", "900", "max", 300, [0; 3])
                .group("mnt/control groups/job", "max", "max", 100, [0; 3]),
                600,
            ),
            (
                "another part than the path goes through",
                System::new("0::/machine/y\n", "31 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 none rw\n").group(
                    "sys/fs/cgroup",
                    "900",
                    "max",
                    300,
                    [0; 3],
                ),
                600,
            ),
            (
                "version 1",
                System::new("9:cpu:/x\n4:memory,hugetlb:/a\n", V1).old_group(
                    "sys/fs/cgroup/memory/a",
                    1000 * MB,
                    900,
                    [300, 100],
                    "1",
                ),
                500,
            ),
            (
                "version 1 without a limit, below a parent with one",
                System::new("4:memory:/a/b\n", V1)
                    .old_group("sys/fs/cgroup/memory", NO_LIMIT, 3000, [0; 2], "1")
                    .old_group("sys/fs/cgroup/memory/a", 600 * MB, 500, [200, 0], "1")
                    .old_group("sys/fs/cgroup/memory/a/b", NO_LIMIT, 100, [0; 2], "1"),
                300,
            ),
            (
                "version 1, a parent that counts without its children",
                System::new("4:memory:/a/b\n", V1)
                    .old_group("sys/fs/cgroup/memory/a", 600 * MB, 500, [0, 0], "0")
                    .old_group("sys/fs/cgroup/memory/a/b", 900 * MB, 100, [0; 2], "0"),
                800,
            ),
            (
                "version 1 in a container: the mount is the group",
                System::new(
                    "4:memory:/docker/x\n",
                    "36 32 0:33 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                )
                .old_group("sys/fs/cgroup/memory", 1000 * MB, 900, [300, 100], "1"),
                500,
            ),
            (
                "hybrid: memory is version 1's, version 2 has names only",
                System::new(
                    "4:memory:/a\n0::/a\n",
                    &format!("{V1}42 32 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"),
                )
                .old_group("sys/fs/cgroup/memory/a", 1000 * MB, 900, [300, 100], "1"),
                500,
            ),
        ];
        for (what, system, expected) in cases {
            assert_eq!(system.available(), Some(expected * MB), "{what}");
        }
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        let system = System::new("\nx\n0::\n", "\n - \n1 2\n31 23 0:26 / - cgroup2\n32 1 0:1 / /sys - cgroup\n");
        assert_eq!(system.available(), Some(4096 * MB));
        std::fs::remove_file(system.0.path().join("proc/meminfo")).unwrap();
        assert_eq!(system.available(), None);
    }
}
