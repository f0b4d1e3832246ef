//! The command that made a layer, fit to be shown: short, and without the key that it may itself contain.

use crate::escape;

/// Most characters that are shown.
const LONGEST: usize = 120;
/// From this length on, digits of base64 in a row may be a key: a seed has 43.
const SUSPICIOUS: usize = 40;

/// The command as one line. Keys are written into images by `RUN echo`, and then stand in the image's history: what looks
/// like one is left out, and so is all that follows the words PRIVATE KEY.
pub(super) fn shown(command: &str) -> String {
    let (command, has_key) = match command.find("PRIVATE KEY") {
        Some(at) => (command.get(..at).unwrap_or_default(), true),
        None => (command, false),
    };
    let mut clean = String::new();
    let mut run = String::new();
    for c in command.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') {
            run.push(c);
            continue;
        }
        clean.push_str(if is_key_like(&run) { "[left out]" } else { &run });
        run.clear();
        if c != '\0' && !(c == ' ' && clean.ends_with(' ')) {
            clean.push(c);
        }
    }
    if has_key {
        clean.push_str("PRIVATE KEY [left out]");
    }
    let mut cut: String = clean.trim().chars().take(LONGEST).collect();
    if cut.len() < clean.trim().len() {
        cut.push('…');
    }
    escape::text(cut.as_bytes())
}

/// Upper case, lower case and digits together in so long a row: a digest in hexadecimal and a path are not like that.
fn is_key_like(run: &str) -> bool {
    run.len() >= SUSPICIOUS
        && run.bytes().any(|byte| byte.is_ascii_uppercase())
        && run.bytes().any(|byte| byte.is_ascii_lowercase())
        && run.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_command_is_not_shown() {
        let seed = super::super::base64::encoded(&[0x5a, 0x17, 0xfe, 0x90].repeat(8));
        let shown_seed = shown(&format!("RUN echo {seed} > /etc/dkim/x.key"));
        assert_eq!(shown_seed, "RUN echo [left out] > /etc/dkim/x.key");
        let pem = shown("RUN printf '-----BEGIN RSA PRIVATE KEY-----\\nMIIE' > x");
        assert_eq!(pem, "RUN printf '-----BEGIN RSA PRIVATE KEY [left out]");
        assert!(!shown(&"Ab1".repeat(1000)).contains("Ab1"));
    }

    #[test]
    fn other_commands_are_shown_in_one_line_and_cut() {
        assert_eq!(shown("/bin/sh -c  a \\\n\t b\x1b[31m"), r"/bin/sh -c a \\ b\x1b[31m");
        let digest = format!("COPY dir:{} in /", "0a".repeat(32));
        assert_eq!(shown(&digest), digest);
        assert_eq!(shown(&"é ".repeat(200)).chars().count(), LONGEST + 1);
        assert_eq!(shown(""), "");
    }
}
