//! Which accesses a report is about: `--key`, `--domain`, `--verdict`, `--user`, `--process`, `--container`, and the range.

use std::path::{Path, PathBuf};

use globset::{Candidate, GlobBuilder, GlobMatcher};

use super::{
    event::{Event, text},
    shown::Shown,
    when,
};
use crate::{escape, judge::Verdict, keys::is_glob};

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// From this time on, nanoseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Until before this time.
    pub until: Option<i64>,
    /// Keys.
    pub key: Option<KeyPattern>,
    /// The signing domain.
    pub domain: Option<String>,
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// A user, by name or number: effective, real, or who logged in.
    pub user: Option<String>,
    /// A program, by its path or its name.
    pub process: Option<String>,
    /// A container, by its name or the beginning of its id.
    pub container: Option<String>,
}

/// A path, or a glob.
#[derive(Clone, Debug)]
pub struct KeyPattern {
    typed: PathBuf,
    glob: Option<GlobMatcher>,
}

impl KeyPattern {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with the glob.
    pub fn new(typed: &Path) -> Result<Self, String> {
        let glob = match typed.to_str().filter(|_| is_glob(typed)) {
            None => None,
            Some(text) => {
                let glob = GlobBuilder::new(text).literal_separator(true).build();
                Some(glob.map_err(|error| format!("--key {}: is not a glob: {}", escape::path(typed), error.kind()))?)
            }
        };
        Ok(Self { typed: typed.to_owned(), glob: glob.map(|glob| glob.compile_matcher()) })
    }

    /// Whether an event's path (escaped, as events have it) is one of these.
    fn fits(&self, path: &str) -> bool {
        let Some(bytes) = escape::bytes(path) else { return false };
        let path = crate::host::path_of(&bytes);
        match &self.glob {
            // A key that is called like a glob is found by its name as well.
            Some(glob) => glob.is_match_candidate(&Candidate::new(&path)) || path == self.typed,
            None => path == self.typed || path.starts_with(&self.typed),
        }
    }
}

impl Filter {
    /// Whether a time is in the range.
    pub(super) fn spans(&self, unix_ns: i64) -> bool {
        self.since.is_none_or(|since| since <= unix_ns) && self.until.is_none_or(|until| unix_ns < until)
    }

    /// Whether a key is asked for.
    pub(super) fn has_key(&self, path: &str, domain: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.fits(path))
            && self.domain.as_ref().is_none_or(|wanted| wanted.trim_end_matches('.').eq_ignore_ascii_case(domain))
    }

    /// Whether an access is asked for. The container's name may not be known yet.
    pub(super) fn has(&self, verdict: Verdict, event: &Event<'_>) -> bool {
        self.verdict.is_none_or(|wanted| wanted == verdict)
            && self.has_key(text(&event.dkimwatch.key.path), text(&event.dkimwatch.key.domain))
            && self.user.as_ref().is_none_or(|wanted| {
                let (process, login) = (&event.process, &event.dkimwatch.process);
                [
                    &process.user.id,
                    &process.user.name,
                    &process.real_user.id,
                    &process.real_user.name,
                    &login.login_uid,
                    &login.login_user,
                ]
                .into_iter()
                .any(|known| text(known) == wanted)
            })
            && self.process.as_ref().is_none_or(|wanted| {
                let executable = text(&event.process.executable);
                executable == wanted
                    || text(&event.process.name) == wanted
                    || executable.rsplit('/').next().is_some_and(|name| name == wanted)
            })
    }

    /// Whether it is of a container that is asked for.
    pub(super) fn has_container(&self, event: &Event<'_>) -> bool {
        self.container.as_ref().is_none_or(|wanted| {
            let (id, name) = (text(&event.container.id), text(&event.container.name));
            !id.is_empty() && (name == wanted || (wanted.len() >= 4 && id.starts_with(wanted.as_str())))
        })
    }

    /// Whether only some accesses are asked for: then the report's verdict is about those.
    #[must_use]
    pub fn is_selective(&self) -> bool {
        !self.words().is_empty()
    }

    /// What is asked for, a phrase each. The range is none of them.
    pub(super) fn words(&self) -> Vec<Shown> {
        let word = |text: &str| escape::word(text.as_bytes());
        let mut words = Vec::new();
        let mut say = |what: &str, value: Option<String>| {
            if let Some(value) = value {
                words.push(Shown::of(&format!("{what} {value}")));
            }
        };
        say("key", self.key.as_ref().map(|key| escape::path(&key.typed)));
        say("domain", self.domain.as_deref().map(word));
        say("verdict", self.verdict.map(|verdict| verdict.name().to_owned()));
        say("user", self.user.as_deref().map(word));
        say("process", self.process.as_deref().map(word));
        say("container", self.container.as_deref().map(word));
        words
    }

    /// The range, for people.
    pub(super) fn range(&self) -> String {
        match (self.since, self.until) {
            (None, None) => "all that the journals hold".to_owned(),
            (Some(since), None) => format!("since {}", when::plain(since)),
            (None, Some(until)) => format!("until {}", when::plain(until)),
            (Some(since), Some(until)) => format!("{} to {}", when::plain(since), when::plain(until)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_path_folder_or_glob_and_in_bytes() {
        let fits = |typed: &str, path: &str| KeyPattern::new(Path::new(typed)).expect("a pattern").fits(path);
        assert!(fits("/k/a.private", "/k/a.private"));
        assert!(fits("/k", "/k/a.private"), "a folder is all that is in it");
        assert!(!fits("/k/a", "/k/a.private"));
        assert!(fits("/k/*.private", "/k/a.private"));
        assert!(!fits("/*.private", "/k/a.private"), "a star is within a name");
        assert!(fits("/**/*.private", r"/k/\xff.private"), "a name that is no text");
        assert!(fits("/k/a\n", r"/k/a\x0a"), "an event's path is escaped");
        let error = KeyPattern::new(Path::new("/k/[")).expect_err("no glob");
        assert!(error.starts_with("--key /k/[: is not a glob: "), "{error}");
    }

    #[test]
    fn users_programs_and_containers_are_named_as_people_name_them() {
        let json = br#"{"process":{"executable":"/usr/bin/cat","name":"cat","real_user":{"id":"33","name":"www-data"}},
            "container":{"id":"0123456789ab","name":"mx"},
            "dkimwatch":{"key":{"path":"/k/a","domain":"example.org"},"process":{"login_uid":"1000","login_user":"alice"}}}"#;
        let event: Event<'_> = serde_json::from_slice(json).expect("an event");
        let own = |name: &str| Some(name.to_owned());
        let has = |filter: Filter| filter.has(Verdict::Unexpected, &event) && filter.has_container(&event);
        for user in ["33", "www-data", "1000", "alice"] {
            assert!(has(Filter { user: own(user), ..Filter::default() }), "{user}");
        }
        assert!(!has(Filter { user: own("root"), ..Filter::default() }));
        for (process, yes) in [("cat", true), ("/usr/bin/cat", true), ("/bin/cat", false), ("at", false)] {
            assert_eq!(has(Filter { process: own(process), ..Filter::default() }), yes, "{process}");
        }
        for (container, yes) in [("mx", true), ("0123", true), ("012", false), ("m", false)] {
            assert_eq!(has(Filter { container: own(container), ..Filter::default() }), yes, "{container}");
        }
        assert!(has(Filter { domain: own("Example.ORG."), ..Filter::default() }));
        assert!(!has(Filter { verdict: Some(Verdict::Expected), ..Filter::default() }));
    }
}
