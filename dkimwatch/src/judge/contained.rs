//! A signer that is expected in containers of an image: by that image, the program in it, and the user within.
//!
//! Another container has another overlay, in which the same program is another file to the kernel. So the program is looked
//! up in each container of the image that is met, and counts if it is the image's own file: what somebody put over it
//! later lies in the container's upper layer.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::{
    ExpectedImage, Policy, Provenance, Reader, code,
    fit::{Detail, Fit, deed_checks},
};
use crate::{
    attribute::{AttributedAccess, Container},
    containers::{Enrichment, Image},
    decode::ImageSource,
};

/// What is asked of a signer's container, and where its program was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contained {
    /// Images, each by name, name and tag, or digest.
    pub images: Vec<String>,
    /// The containers of these images that were met, newest last.
    pub met: Vec<Met>,
}

/// A container that was met, and the signer's program in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its id.
    pub container: String,
    /// The program. [`Provenance::Accepted`]: the image's own file; [`Provenance::Changed`]: put there since.
    pub program: ExpectedImage,
}

impl Contained {
    /// Whether an image is one of those.
    #[must_use]
    pub fn is_of(&self, image: &Image) -> bool {
        self.images.iter().any(|wanted| is_named(image, wanted))
    }

    /// The program as it was met in a container.
    fn program(&self, container: &Container, attributed: &AttributedAccess) -> Option<&ExpectedImage> {
        let image = attributed.access.process.image.known()?;
        let met = self.met.iter().rev().filter(|met| met.container == container.id);
        met.map(|met| &met.program).find(|program| {
            let is_as_old = program.ctime == image.ctime || program.ctime == 0 || image.ctime == 0;
            program.id == image.id && program.uid == image.uid && is_as_old
        })
    }
}

/// The shortest beginning of an id that stands for it, as `docker ps` shows it.
const SHORTEST_ID: usize = 12;

/// Whether a container is one of those that a configuration names: by its id or the beginning of one, or by its name.
pub(super) fn is_listed(list: &[String], attributed: &AttributedAccess) -> bool {
    let Some(container) = attributed.container.as_ref().filter(|container| !container.forgeable) else { return false };
    let name = attributed.enrichment.details().and_then(|details| details.name.as_ref());
    list.iter().filter(|one| !one.is_empty()).any(|one| {
        // A name may look like the beginning of an id; not like so much of one.
        let begins = container.id.len() == 64 && one.len() >= SHORTEST_ID && container.id.starts_with(one.as_str());
        begins || *one == container.id || Some(one) == name
    })
}

/// Whether it is the image that somebody means: `sha256:…`, `name@sha256:…`, `name:tag`, or `name` with any tag.
fn is_named(image: &Image, wanted: &str) -> bool {
    let digest = wanted.rsplit_once('@').map_or(wanted, |(_, digest)| digest);
    if digest.starts_with("sha256:") {
        return image.id.as_deref() == Some(digest) || image.digests.iter().any(|known| known == digest);
    }
    let (name, tag) = image.name_and_tag();
    let wanted = Image { name: Some(wanted.to_owned()), ..Image::default() };
    let (wanted_name, wanted_tag) = wanted.name_and_tag();
    let is_name = name.zip(wanted_name).is_some_and(|(name, wanted)| familiar(name) == familiar(wanted));
    // Asked for without a tag, it was `latest`.
    is_name && wanted_tag.is_none_or(|wanted| tag.unwrap_or("latest") == wanted)
}

/// A name as people write it: Docker's own registry goes without saying.
fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Compares a process with a reader that is expected in containers.
pub(super) fn fit(reader: &Reader, contained: &Contained, attributed: &AttributedAccess, policy: &Policy) -> Fit {
    let process = &attributed.access.process;
    let (Some(image), Some(container)) = (process.image.known(), &attributed.container) else { return Fit::Other };
    let path = attributed.executable.path.as_deref();
    let program = contained.program(container, attributed);
    if program.is_none() && !path.is_some_and(|path| is_called(Path::new(OsStr::from_bytes(path)), &reader.executable))
    {
        return Fit::Other;
    }
    let is_pending = attributed.enrichment == Enrichment::Pending;
    let details = attributed.enrichment.details();
    let of_image = details.and_then(|details| details.image.as_ref()).is_some_and(|image| contained.is_of(image));
    // In a container that is none of these, and in one that anybody could have named so, it is a stranger like any other.
    if !is_pending && (!of_image || container.forgeable) {
        return Fit::Other;
    }
    let listed = reader.containers.is_empty() || is_listed(&reader.containers, attributed);
    // What is not known yet is off as that, and nothing else.
    let place = is_pending || listed;
    let mut off: Vec<Detail> = [
        (Detail::Replaced, !place || is_pending || program.is_some_and(|one| one.provenance == Provenance::Accepted)),
        (Detail::Unexamined, !is_pending),
        (Detail::Library, code::libraries_are_its_own(reader, attributed, policy)),
        (Detail::Environment, code::environment_is_plain(reader, attributed)),
        (Detail::Traced, !process.traced),
        (Detail::Writable, image.mode & 0o022 == 0),
        (Detail::Nameless, image.nlink > 0),
        (Detail::Claim, !attributed.executable.claim_differs && image.source != ImageSource::AtAccess),
        (Detail::User, is_pending || user(reader, attributed)),
        (Detail::Entered, attributed.has_entered() != Some(true)),
        (Detail::Container, place),
    ]
    .into_iter()
    .chain(deed_checks(reader, attributed))
    .filter(|(_, right)| !right)
    .map(|(detail, _)| detail)
    .collect();
    off.sort_unstable();
    if off.is_empty() { Fit::Fits } else { Fit::Off(off) }
}

/// One of the reader's users, as the container has them: by number, or by the name that its own `/etc/passwd` gives.
fn user(reader: &Reader, attributed: &AttributedAccess) -> bool {
    // By the container's own map. Who makes a user namespace within it, is whoever he likes there.
    let maps = attributed.access.process.id_maps.known();
    let own = attributed.enrichment.details().and_then(|details| details.uid_map.as_ref());
    let is_containers = maps.is_some_and(|maps| own.map_or(maps.users.is_identity(), |own| *own == maps.users));
    let id = attributed.inner_ids().filter(|_| is_containers).and_then(|ids| ids.real_user);
    reader.users.is_empty()
        || id.is_some_and(|id| {
            let name = attributed.inner_user(id);
            reader.users.iter().any(|user| user.parse() == Ok(id) || Some(user.as_str()) == name)
        })
}

/// Whether a signer's program may have come into a container since it was last looked at.
#[must_use]
pub fn is_unmet(attributed: &AttributedAccess, policy: &Policy) -> bool {
    let Some(container) = attributed.container.as_ref().filter(|container| !container.forgeable) else { return false };
    let Some(image) = attributed.enrichment.details().and_then(|details| details.image.as_ref()) else { return false };
    let path = attributed.executable.path.as_deref();
    policy.readers.iter().any(|reader| {
        reader.contained.as_ref().is_some_and(|contained| {
            path.is_some_and(|path| is_called(Path::new(OsStr::from_bytes(path)), &reader.executable))
                && contained.is_of(image)
                && contained.program(container, attributed).is_none()
        })
    })
}

/// Whether a file is called as a program is, or as a version of it (`/usr/bin/rspamd` is `rspamd-3.4` in some packages).
#[must_use]
pub fn is_called(path: &Path, program: &Path) -> bool {
    let (Some(name), Some(wanted)) = (path.file_name(), program.file_name()) else { return false };
    let version = name.as_bytes().strip_prefix(wanted.as_bytes());
    version.is_some_and(|rest| {
        let mut rest = rest.iter();
        match rest.next() {
            None => true,
            Some(b'-' | b'.') => rest.next().is_some_and(u8::is_ascii_digit),
            Some(_) => false,
        }
    })
}

/// The program's path in a container's root.
#[must_use]
pub fn within(program: &Path) -> &Path {
    program.strip_prefix("/").unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::{is_called, is_named};
    use crate::containers::Image;

    #[test]
    fn a_program_may_bear_its_version() {
        let is = |path: &str| is_called(path.as_ref(), "/usr/bin/rspamd".as_ref());
        for path in ["/usr/bin/rspamd", "/merged/usr/bin/rspamd", "/usr/bin/rspamd-3.4", "/usr/bin/rspamd.3"] {
            assert!(is(path), "{path}");
        }
        for path in ["/bin/cat", "/usr/bin/rspamd_stats", "/usr/bin/rspamdx", "/usr/bin/rspamd-evil", "/"] {
            assert!(!is(path), "{path}");
        }
    }

    #[test]
    fn an_image_is_known_by_name_tag_or_digest() {
        let image = Image {
            name: Some("docker.io/mailserver/docker-mailserver:13".to_owned()),
            id: Some("sha256:aa".to_owned()),
            digests: vec!["sha256:bb".to_owned()],
        };
        for wanted in [
            "docker.io/mailserver/docker-mailserver:13",
            "mailserver/docker-mailserver:13",
            "mailserver/docker-mailserver",
            "sha256:aa",
            "sha256:bb",
            "mailserver/docker-mailserver@sha256:bb",
        ] {
            assert!(is_named(&image, wanted), "{wanted}");
        }
        for wanted in [
            "docker-mailserver:13",
            "mailserver/docker-mailserver:1",
            "mailserver/docker-mailserver-evil",
            "evil/mailserver/docker-mailserver:13",
            "quay.io/mailserver/docker-mailserver:13",
            "sha256:a",
            "mailserver/docker-mailserver@sha256:cc",
            "",
        ] {
            assert!(!is_named(&image, wanted), "{wanted}");
        }
        let untagged = Image { name: Some("mail".to_owned()), ..Image::default() };
        assert!(
            is_named(&untagged, "mail:latest") && is_named(&untagged, "library/mail") && !is_named(&untagged, "mail:1")
        );
        assert!(!is_named(&Image::default(), "mail") && !is_named(&Image::default(), ""));
    }
}
