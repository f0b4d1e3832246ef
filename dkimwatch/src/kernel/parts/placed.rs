//! Names that are placed in watched folders: what is born or moved there.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const NEW_SUBFOLDER: Limit = (
    "new-subfolder",
    "a key in a subfolder made after the start is seen only once the folder has been noticed by inotify",
);
const MOVED_SUBFOLDER: Limit = (
    "moved-subfolder",
    "a key in a subfolder that was moved into a watched one is seen only once the folder has been noticed by inotify",
);
const FRESH_LAYER: Limit = (
    "fresh-layer",
    "a key on an overlay that is read around it, in the layer that it was copied up to a moment ago, until that has been noticed (milliseconds); or in a layer that lies at no path of the watch's own mount namespace",
);
const FRESH_CONTAINER: Limit = (
    "fresh-container",
    "a key that a container brings with it (in its image, or in a volume that none had before), until the container's files have been noticed (milliseconds); a key in a container that lies in none of the folders where mail servers have theirs, or is reached there by a link; a refused open at a folder above a container's key; a key in the root of a container of another user's whose layers are at no path of the host, and any key of a user's that containers.users does not name",
);
const FRESH_MOUNT: Limit = (
    "fresh-mount",
    "a key on a file system that was mounted over its path a moment ago, until the mount has been noticed (milliseconds) and its place looked at",
);

const FRESH_LINK: Limit = (
    "fresh-link",
    "a file that a link at a watched path, or on the way to one, was turned to a moment ago, until that has been noticed (milliseconds) and looked at; the turning itself is told as what is done to the key, but not where a link is made where nothing was, nor of a link on the way that is turned again before that",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm => {
            const {
                &[
                    Part::new(
                        programs::LSM_D_INSTANTIATE,
                        Hook::Instantiate,
                        Attach::Lsm("d_instantiate"),
                        NEW_SUBFOLDER,
                    ),
                    Part::new(programs::LSM_INODE_RENAME, Hook::Rename, Attach::Lsm("inode_rename"), MOVED_SUBFOLDER),
                ]
            }
        }
        Backend::Fentry => {
            const {
                &[
                    Part::new(
                        programs::FENTRY_D_INSTANTIATE,
                        Hook::Instantiate,
                        Attach::Fentry("security_d_instantiate"),
                        NEW_SUBFOLDER,
                    ),
                    Part::new(
                        programs::FENTRY_INODE_RENAME,
                        Hook::Rename,
                        Attach::Fentry("security_inode_rename"),
                        MOVED_SUBFOLDER,
                    ),
                ]
            }
        }
        Backend::Tracepoint => &[],
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[FRESH_LAYER, FRESH_MOUNT, FRESH_LINK, FRESH_CONTAINER],
        Backend::Tracepoint => &[
            FRESH_LAYER,
            FRESH_MOUNT,
            FRESH_LINK,
            FRESH_CONTAINER,
            (
                "deep-new-subfolder",
                "a key more than four folders deep in a watched one, in folders made after the start and not yet noticed by inotify",
            ),
        ],
    }
}
