//! What a watched folder holds now.

use std::path::{Path, PathBuf};

use dkimwatch_common::{limits, watch::Tag};

use super::{Purpose, Target};

/// Folders below a watched one that are walked; what lies deeper is still seen once its folder gets its inode.
const DEPTH: usize = 16;

/// Files that are armed one by one, over all folders: half the table, the rest is for what is born later. A file beyond
/// them is still seen by the folder that it lies in.
const FILES: usize = limits::WATCHED_FILES as usize / 2;

/// Folders that are marked, likewise.
const FOLDERS: usize = limits::WATCHED_DIRS as usize / 2;

/// The folder, those below it, and their files and links. These are not followed: what they lead to is not in the folder.
pub(super) fn members(root: &Path, tag: Tag, folders: &mut Vec<Target>, files: &mut Vec<Target>) {
    let mut waiting: Vec<(PathBuf, usize)> = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        if folders.len() >= FOLDERS {
            tracing::warn!(folder = %root.display(), "more folders than can be watched: a key born in one of those left out is not seen");
            return;
        }
        folders.push(Target { path: folder.clone(), purpose: Purpose::Folder(tag) });
        if depth == DEPTH {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push((entry.path(), depth + 1)),
                Ok(kind) if (kind.is_file() || kind.is_symlink()) && files.len() < FILES => {
                    files.push(Target { path: entry.path(), purpose: Purpose::Member(tag) });
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_and_folders_without_following_links() {
        let root = std::env::temp_dir().join(format!("dkimwatch-folders-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).expect("make folders");
        std::fs::write(root.join("a/b/key"), "").expect("make a file");
        std::os::unix::fs::symlink("/etc", root.join("away")).expect("make a link");
        let (mut folders, mut files) = (Vec::new(), Vec::new());
        members(&root, 7, &mut folders, &mut files);
        assert_eq!(folders.len(), 3);
        assert_eq!(
            files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(),
            [root.join("away"), root.join("a/b/key")]
        );
        std::fs::remove_dir_all(root).expect("clean up");
    }
}
