//! Which of a container's labels go into events: they are free text, and hold secrets now and then.

use std::collections::BTreeMap;

/// Those that go in unless the configuration says otherwise: what compose files, Kubernetes and images call themselves.
pub const LABELS: [&str; 8] = [
    "app",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/name",
    "com.docker.compose.project",
    "com.docker.compose.service",
    "io.kubernetes.container.name",
    "org.opencontainers.image.title",
    "org.opencontainers.image.version",
];

/// Labels of one container that are kept, and bytes of a value: a runaway label must not fill a log.
const KEPT: usize = 32;
const LONGEST: usize = 256;

/// The names that are let through; a `*` at the end stands for any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Default for Labels {
    fn default() -> Self {
        Self::new(LABELS.map(str::to_owned))
    }
}

impl Labels {
    /// A list of names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Those of a container's that are let through.
    pub(super) fn of<'v>(&self, all: impl Iterator<Item = (&'v str, &'v str)>) -> BTreeMap<String, String> {
        let kept = all.filter(|(name, _)| self.has(name)).take(KEPT);
        kept.map(|(name, value)| (name.to_owned(), value.chars().take(LONGEST).collect())).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| match one.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == one,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    #[test]
    fn only_listed_labels_go_through_and_long_ones_are_cut() {
        let labels = Labels::new(["app".to_owned(), "com.example.*".to_owned()]);
        let long = "x".repeat(1_000);
        let all = [("app", long.as_str()), ("application", "no"), ("com.example.a", "b"), ("token", "secret")];
        let kept = labels.of(all.into_iter());
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["app", "com.example.a"]);
        assert_eq!(kept["app"].len(), 256);
    }
}
