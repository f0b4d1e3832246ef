//! The configuration as typed: every key, optional, with the place where it stood.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) keys: Keys,
    #[serde(default)]
    pub(super) containers: Containers,
    #[serde(default)]
    pub(super) journal: super::journal::Journal,
    #[serde(default)]
    pub(super) signer: Vec<Spanned<Reader>>,
    #[serde(default)]
    pub(super) maintenance: Vec<Spanned<Reader>>,
}

/// `[keys]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) discover: Option<bool>,
    #[serde(default)]
    pub(super) paths: Vec<Spanned<String>>,
    pub(super) public: Option<Vec<Spanned<String>>>,
}

/// `[containers]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Containers {
    #[serde(default)]
    pub(super) stores: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) users: Vec<Spanned<User>>,
    pub(super) labels: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) sockets: Sockets,
}

/// `[containers.sockets]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sockets {
    pub(super) docker: Option<Spanned<String>>,
    pub(super) podman: Option<Spanned<String>>,
    pub(super) containerd: Option<Spanned<String>>,
    pub(super) cri: Option<Spanned<String>>,
}

/// `[[signer]]` and `[[maintenance]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reader {
    pub(super) name: Option<Spanned<String>>,
    pub(super) executable: Option<Spanned<String>>,
    pub(super) script: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) users: Vec<Spanned<User>>,
    #[serde(default)]
    pub(super) units: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) containers: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) images: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) keys: Vec<Spanned<String>>,
}

/// A user: a name, or a number with or without quotes.
#[derive(Debug)]
pub(super) enum User {
    Name(String),
    Number(u32),
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = User;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user name or a uid (0 to 4294967294)")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<User, E> {
                if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return match value.parse() {
                        Ok(number) if number != u32::MAX => Ok(User::Number(number)),
                        _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                    };
                }
                Ok(User::Name(value.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<User, E> {
                match u32::try_from(value) {
                    // The last one means "no user" to the kernel.
                    Ok(number) if number != u32::MAX => Ok(User::Number(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
