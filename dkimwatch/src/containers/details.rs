//! The noun: what is known of a container beside its id.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::decode::IdMap;

/// What a runtime keeps of a container, and what its root says of its users.
///
/// Text in it is as it was written down, by whoever could: it is escaped where it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Its name.
    pub name: Option<String>,
    /// The image it was made from.
    pub image: Option<Image>,
    /// `metadata.name` of its pod.
    pub pod: Option<String>,
    /// `metadata.namespace` of its pod; of a container of containerd's own, the namespace there.
    pub namespace: Option<String>,
    /// Its labels, as far as they are let through.
    pub labels: BTreeMap<String, String>,
    /// When it was made, as the runtime wrote it (RFC 3339).
    pub created: Option<String>,
    /// Run with `--privileged`.
    pub privileged: Option<bool>,
    /// What was mounted into it from the host.
    pub mounts: Vec<Mount>,
    /// Its root folder, as the host has it; `None` where only its own processes see one.
    pub root: Option<PathBuf>,
    /// The folders of its layers on the host, the uppermost first, where they are known.
    pub layers: Vec<PathBuf>,
    /// User ids in its user namespace, where its runtime gave it one of its own.
    pub uid_map: Option<IdMap>,
    /// It was put into a pid namespace that was there already, as the containers of a pod with `shareProcessNamespace` are: its own
    /// processes cannot be told from those that entered it.
    pub joins_pid_namespace: bool,
    /// Names of user ids by its own `/etc/passwd`.
    pub users: HashMap<u32, String>,
    /// Names of group ids by its own `/etc/group`.
    pub groups: HashMap<u32, String>,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The name that it was asked for by, with its tag.
    pub name: Option<String>,
    /// The digest of its configuration: `sha256:…`.
    pub id: Option<String>,
    /// Digests of its manifests, by which a registry knows it: `sha256:…`.
    pub digests: Vec<String>,
}

impl Image {
    /// As [`Details::completed_by`].
    fn completed_by(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            id: self.id.or(other.id),
            digests: if self.digests.is_empty() { other.digests } else { self.digests },
        }
    }

    /// Its name without the tag, and the tag: `registry:5000/a/b` and `1.2`.
    #[must_use]
    pub fn name_and_tag(&self) -> (Option<&str>, Option<&str>) {
        let Some(name) = self.name.as_deref() else { return (None, None) };
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        // A colon before the last slash is of the registry's port.
        match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((name, tag)) => (Some(name), Some(tag)),
            None => (Some(name), None),
        }
    }
}

/// A mount of the host's in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The folder or file on the host.
    pub source: PathBuf,
    /// Where, in the container.
    pub destination: PathBuf,
    /// The volume's name, where it is one.
    pub volume: Option<String>,
}

impl Details {
    /// These, completed by what somebody else knows of the same container.
    #[must_use]
    pub(super) fn completed_by(self, other: Self) -> Self {
        let mut labels = other.labels;
        labels.extend(self.labels);
        Self {
            name: self.name.or(other.name),
            image: match (self.image, other.image) {
                (Some(own), Some(other)) => Some(own.completed_by(other)),
                (own, other) => own.or(other),
            },
            pod: self.pod.or(other.pod),
            namespace: self.namespace.or(other.namespace),
            labels,
            created: self.created.or(other.created),
            privileged: self.privileged.or(other.privileged),
            mounts: if self.mounts.is_empty() { other.mounts } else { self.mounts },
            root: self.root.or(other.root),
            layers: if self.layers.is_empty() { other.layers } else { self.layers },
            uid_map: self.uid_map.or(other.uid_map),
            joins_pid_namespace: self.joins_pid_namespace || other.joins_pid_namespace,
            users: if self.users.is_empty() { other.users } else { self.users },
            groups: if self.groups.is_empty() { other.groups } else { self.groups },
        }
    }

    /// The mount that shows a path of the container: the innermost one.
    #[must_use]
    pub fn exposing(&self, path: &Path) -> Option<&Mount> {
        let over = self.mounts.iter().filter(|mount| path.starts_with(&mount.destination));
        over.max_by_key(|mount| mount.destination.components().count())
    }
}

impl Mount {
    /// A path in the container as the host has it.
    #[must_use]
    pub fn on_host(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.destination) {
            Ok(rest) if !rest.as_os_str().is_empty() => self.source.join(rest),
            _ => self.source.clone(),
        }
    }
}

/// How far the look for a container's details has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Enrichment {
    /// It ran in no container.
    #[default]
    None,
    /// They are being looked for: a second line with the same `event.id` follows.
    Pending,
    /// They were found.
    Done(Arc<Details>),
    /// They were not, and why.
    Failed(String),
}

impl Enrichment {
    /// The details, where found.
    #[must_use]
    pub fn details(&self) -> Option<&Details> {
        match self {
            Self::Done(details) => Some(details),
            Self::None | Self::Pending | Self::Failed(_) => None,
        }
    }

    /// The word in events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        path::{Path, PathBuf},
    };

    use super::{Details, Image, Mount};

    #[test]
    fn a_tag_is_what_follows_the_last_colon_behind_the_last_slash() {
        for (name, expected) in [
            ("docker.io/mailserver/docker-mailserver:13", ("docker.io/mailserver/docker-mailserver", Some("13"))),
            ("localhost:5000/mail", ("localhost:5000/mail", None)),
            ("localhost:5000/mail:1", ("localhost:5000/mail", Some("1"))),
            ("mail:1@sha256:00", ("mail", Some("1"))),
            ("mail", ("mail", None)),
        ] {
            let image = Image { name: Some(name.to_owned()), ..Image::default() };
            assert_eq!(image.name_and_tag(), (Some(expected.0), expected.1), "{name}");
        }
    }

    #[test]
    fn what_is_known_already_is_kept() {
        let labels = |labels: &[(&str, &str)]| {
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let image = |name: Option<&str>, digests: &[&str]| Image {
            name: name.map(str::to_owned),
            id: None,
            digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
        };
        let own = Details {
            name: Some("mail".to_owned()),
            image: Some(image(None, &["sha256:1"])),
            labels: labels(&[("app", "disk")]),
            ..Details::default()
        };
        let other = Details {
            name: Some("other".to_owned()),
            image: Some(image(Some("mail:1"), &["sha256:2"])),
            labels: labels(&[("app", "socket"), ("tier", "mx")]),
            pod: Some("pod".to_owned()),
            ..Details::default()
        };
        let both = own.completed_by(other);
        assert_eq!((both.name.as_deref(), both.pod.as_deref()), (Some("mail"), Some("pod")));
        assert_eq!(both.image, Some(image(Some("mail:1"), &["sha256:1"])));
        assert_eq!(both.labels, labels(&[("app", "disk"), ("tier", "mx")]));
    }

    #[test]
    fn a_key_is_shown_by_the_innermost_mount() {
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.into(),
            volume: None,
        };
        let details = Details {
            mounts: vec![mount("/srv/etc", "/etc"), mount("/srv/keys", "/etc/dkimkeys"), mount("/srv/one", "/k/one")],
            ..Details::default()
        };
        let host = |path: &str| details.exposing(Path::new(path)).map(|mount| mount.on_host(Path::new(path)));
        assert_eq!(host("/etc/dkimkeys/a.private"), Some(PathBuf::from("/srv/keys/a.private")));
        assert_eq!(host("/etc/passwd"), Some(PathBuf::from("/srv/etc/passwd")));
        assert_eq!(host("/k/one"), Some(PathBuf::from("/srv/one")));
        assert_eq!(host("/etcetera"), None);
    }
}
