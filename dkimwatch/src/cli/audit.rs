//! `dkimwatch audit`: looks for keys where none should be.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;

use crate::{
    escape,
    exit::Outcome,
    host::Host,
    images::{self, Bar, Finding, LAYER_LIMIT_GIB, Occurrence, Progress, Question, Report, Silent, State, shown_path},
    judge::severity,
};

/// Looks for keys where none should be.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to look.
    #[command(subcommand)]
    pub place: Place,
}

/// Where to look.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Place {
    /// Search container images for private keys, layer by layer.
    ///
    /// Whoever pulls an image has the keys in it, also those that a later layer deletes. Without arguments, the stores on
    /// this host are searched: those of Podman, CRI-O, Docker and containerd, and each user's own. DKIM keys are told from
    /// other private keys by a published record, a key table, or where they lie.
    ///
    /// This command reads keys, which no other one does: only so can it say which selector is to be withdrawn. Their bytes
    /// are never shown, written or sent. What is shown is the SHA-256 of the public half (its SubjectPublicKeyInfo, in
    /// base64).
    ///
    /// Nothing is executed, unpacked or changed. Keys are looked for in the first 64 KiB of each file. containerd's names
    /// of images are in a database that is not read: its images are named by their digests. The table shows the beginning of
    /// a digest, as the engines do; --json shows it whole.
    ///
    /// Exits with 0 if no key was found, 1 if one was, 2 if the command line is wrong, 3 if a store, an archive or a part
    /// of one could not be searched, whatever was found in the rest.
    Images(ImagesArgs),
}

/// The arguments of `audit images`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImagesArgs {
    /// Archive of `docker save` or `podman save`, or OCI layout (a folder or an archive of one)
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Search this store of Podman, CRI-O, Docker or containerd (may be given several times)
    #[arg(long, value_name = "PATH")]
    pub store: Vec<PathBuf>,
    /// File with published DKIM records, as in a zone file, to tell whose key it is (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub record: Vec<PathBuf>,
    /// List well-known keys as well: those in the documentation and the test suites of packages
    #[arg(long)]
    pub all: bool,
    /// Search a layer until it has expanded to so many GiB
    #[arg(long, value_name = "GIB", default_value_t = LAYER_LIMIT_GIB, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub layer_limit: u64,
    /// Print one JSON document; in it DKIM keys are of severity high, other ones low, well-known ones notice
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Place::Images(args) = &args.place;
    let (out, err) = (&mut io::stdout().lock(), &mut io::stderr());
    match Bar::on_terminal() {
        Some(bar) => run_on(args, &Host::here(), &bar, out, err),
        None => run_on(args, &Host::here(), &Silent, out, err),
    }
}

fn run_on(
    args: &ImagesArgs,
    host: &Host,
    progress: &dyn Progress,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let question = Question {
        files: args.files.clone(),
        stores: args.store.clone(),
        records: args.record.clone(),
        limit: args.layer_limit.saturating_mul(1 << 30),
        all: args.all,
    };
    let report = images::search(&question, host, progress);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &Document::of(&report))?;
        writeln!(out)?;
    } else {
        table(&report.findings, out)?;
        remarks(&report, err)?;
    }
    Ok(match (report.troubles.is_empty(), report.findings.is_empty()) {
        (false, _) => Outcome::Blind,
        (true, false) => Outcome::Findings,
        (true, true) => Outcome::Quiet,
    })
}

/// What belongs to no finding.
fn remarks(report: &Report, err: &mut impl Write) -> io::Result<()> {
    for one in &report.searched {
        let (images, layers) = (counted(one.images, "image"), counted(one.layers, "layer"));
        writeln!(err, "searched: {} ({}): {images}, {layers}", one.place, one.kind)?;
    }
    if report.well_known > 0 {
        let keys = counted(report.well_known, "well-known key");
        writeln!(err, "note: {keys} of documentation or test suites not listed; --all lists them")?;
    }
    for note in &report.notes {
        writeln!(err, "note: {note}")?;
    }
    for trouble in &report.troubles {
        writeln!(err, "not searched: {trouble}")?;
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Columns as wide as their widest cell; the last one is free. Below each key, the images that have it.
fn table(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), |text| escape::text(text.as_bytes()));
    let mut rows = vec![["CLASS", "KEY", "DOMAIN", "SELECTOR", "MODE", "OWNER", "PATH"].map(str::to_owned)];
    rows.extend(findings.iter().map(|finding| {
        let owner = finding.uid.zip(finding.gid).map(|(uid, gid)| format!("{uid}:{gid}"));
        [
            finding.class.name().to_owned(),
            finding.key.algorithm.to_string(),
            dash(finding.domain.as_deref()),
            dash(finding.selector.as_deref()),
            finding.mode.map_or_else(|| "-".to_owned(), |mode| format!("{mode:04o}")),
            owner.unwrap_or_else(|| "-".to_owned()),
            finding.path.as_deref().map_or_else(|| "(in the image's configuration)".to_owned(), shown_path),
        ]
    }));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let details = std::iter::once(None).chain(findings.iter().map(Some));
    for (row, finding) in rows.iter().zip(details) {
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            if at + 1 == row.len() { writeln!(out, "{cell}")? } else { write!(out, "{cell:width$}  ")? }
        }
        if let Some(finding) = finding {
            below(finding, out)?;
        }
    }
    Ok(())
}

fn below(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let public = finding.key.public.map_or_else(|| "not known".to_owned(), |public| public.to_string());
    writeln!(out, "    {}; public half (SHA-256): {public}", finding.key.form)?;
    if let Some(known_by) = &finding.known_by {
        writeln!(out, "    known by {known_by}")?;
    }
    // Each step of a build leaves an image without a name; beside one that has a name they say nothing new.
    let is_named = |image: &&Occurrence| !image.names.is_empty();
    let (named, nameless): (Vec<_>, Vec<_>) = finding.images.iter().partition(is_named);
    let shown = if named.is_empty() { &nameless } else { &named };
    for image in shown {
        writeln!(out, "  {}", sentence(image, finding.diff_id.as_deref()))?;
        writeln!(out, "    {}", origin(image))?;
    }
    if !named.is_empty() && !nameless.is_empty() {
        writeln!(out, "  and {} without a name (--json lists them)", counted(nameless.len(), "image"))?;
    }
    Ok(())
}

/// One image: its name and digest, the layer, and the state.
fn sentence(image: &Occurrence, diff_id: Option<&str>) -> String {
    let names: Vec<_> = image.names.iter().map(|name| escape::word(name.as_bytes())).collect();
    let name = if names.is_empty() { "an image without a name".to_owned() } else { names.join(", ") };
    let digest = image.digest.as_ref().or(image.id.as_ref()).map(|digest| format!(" ({})", short(digest)));
    let named = format!("{name}{}", digest.unwrap_or_default());
    let Some(layer) = image.layer else { return named };
    let diff_id = diff_id.map(|diff_id| format!(" ({})", short(diff_id))).unwrap_or_default();
    let state = match image.state {
        State::Present => "present".to_owned(),
        State::Deleted(later) => format!("deleted in layer {later}"),
        State::Replaced(later) if later == layer => "replaced in the same layer".to_owned(),
        State::Replaced(later) => format!("replaced in layer {later}"),
        State::Undecided(later) => format!("undecided, as layer {later} could not be read"),
    };
    format!("{named}, layer {layer} of {}{diff_id}: {state}", image.layers)
}

/// Where that image is, and what made the layer.
fn origin(image: &Occurrence) -> String {
    let command = image.created_by.as_ref().map(|command| format!("; made by: {command}")).unwrap_or_default();
    format!("{} {}{command}", image.kind, image.place)
}

/// A digest as the engines show it to people: the beginning, which they take as an argument as well.
fn short(digest: &str) -> String {
    match digest.strip_prefix("sha256:").and_then(|hex| hex.get(..12)) {
        Some(beginning) => escape::word(format!("sha256:{beginning}").as_bytes()),
        None => escape::word(digest.as_bytes()),
    }
}

/// The report as JSON. Paths and names are escaped as everywhere in the output: `\xNN` for a byte that is not text, `\\`
/// for `\`.
#[derive(Serialize)]
struct Document {
    findings: Vec<JsonFinding>,
    searched: Vec<JsonSearched>,
    not_searched: Vec<JsonTrouble>,
    well_known_not_listed: usize,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct JsonFinding {
    class: &'static str,
    severity: &'static str,
    path: Option<String>,
    mode: Option<String>,
    uid: Option<u64>,
    gid: Option<u64>,
    key: String,
    form: &'static str,
    public_sha256: Option<String>,
    domain: Option<String>,
    selector: Option<String>,
    known_by: Option<String>,
    diff_id: Option<String>,
    images: Vec<JsonOccurrence>,
}

#[derive(Serialize)]
struct JsonOccurrence {
    place: String,
    kind: &'static str,
    names: Vec<String>,
    digest: Option<String>,
    id: Option<String>,
    layer: Option<usize>,
    layers: usize,
    created_by: Option<String>,
    state: &'static str,
    state_layer: Option<usize>,
}

#[derive(Serialize)]
struct JsonSearched {
    place: String,
    kind: &'static str,
    images: usize,
    layers: usize,
}

#[derive(Serialize)]
struct JsonTrouble {
    place: String,
    part: Option<String>,
    reason: String,
}

impl Document {
    fn of(report: &Report) -> Self {
        Self {
            findings: report.findings.iter().map(JsonFinding::of).collect(),
            searched: (report.searched.iter())
                .map(|one| JsonSearched {
                    place: one.place.clone(),
                    kind: one.kind,
                    images: one.images,
                    layers: one.layers,
                })
                .collect(),
            not_searched: (report.troubles.iter())
                .map(|trouble| JsonTrouble {
                    place: trouble.place.clone(),
                    part: trouble.part.clone(),
                    reason: trouble.fault.to_string(),
                })
                .collect(),
            well_known_not_listed: report.well_known,
            notes: report.notes.clone(),
        }
    }
}

impl JsonFinding {
    fn of(finding: &Finding) -> Self {
        Self {
            class: finding.class.name(),
            severity: severity::name(finding.class.severity()),
            path: finding.path.as_deref().map(shown_path),
            mode: finding.mode.map(|mode| format!("{mode:04o}")),
            uid: finding.uid,
            gid: finding.gid,
            key: finding.key.algorithm.to_string(),
            form: finding.key.form,
            public_sha256: finding.key.public.map(|public| public.to_string()),
            domain: finding.domain.as_deref().map(safe),
            selector: finding.selector.as_deref().map(safe),
            known_by: finding.known_by.clone(),
            diff_id: finding.diff_id.as_deref().map(safe),
            images: finding.images.iter().map(JsonOccurrence::of).collect(),
        }
    }
}

impl JsonOccurrence {
    fn of(image: &Occurrence) -> Self {
        let (state, state_layer) = match image.state {
            State::Present => ("present", None),
            State::Deleted(later) => ("deleted", Some(later)),
            State::Replaced(later) => ("replaced", Some(later)),
            State::Undecided(later) => ("undecided", Some(later)),
        };
        Self {
            place: image.place.clone(),
            kind: image.kind,
            names: image.names.iter().map(|name| safe(name)).collect(),
            digest: image.digest.as_deref().map(safe),
            id: image.id.as_deref().map(safe),
            layer: image.layer,
            layers: image.layers,
            created_by: image.created_by.clone(),
            state,
            state_layer,
        }
    }
}

fn safe(text: &str) -> String {
    escape::text(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    use crate::images::made::{Layer, Packed, archive, docker_save, key};

    fn run_in(folder: &Path, json: bool, files: &[&str]) -> (Outcome, String, String) {
        let args = ImagesArgs {
            files: files.iter().map(|file| folder.join(file)).collect(),
            store: Vec::new(),
            record: Vec::new(),
            all: false,
            layer_limit: LAYER_LIMIT_GIB,
            json,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let outcome = run_on(&args, &Host::at(folder), &Silent, &mut out, &mut err).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&*folder.to_string_lossy(), "FOLDER");
        (outcome, text(out), text(err))
    }

    /// An archive with a key that is deleted, one of TLS, and one in a manual.
    fn image(folder: &Path) {
        let base = Layer::new()
            .file("etc/opendkim/keys/example.org/mail.private", &key(1))
            .file("etc/ssl/private/s\n.key", &key(2))
            .file("usr/share/doc/x/key.pem", &key(3));
        let top = Layer::new().file("etc/opendkim/keys/example.org/.wh.mail.private", b"");
        let files = docker_save(&[base.done(), top.done()], Packed::Gzip);
        fs::write(folder.join("image.tar"), archive(&files)).unwrap();
    }

    #[test]
    fn a_table_for_people() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let (outcome, out, err) = run_in(folder.path(), false, &["image.tar"]);
        assert_eq!(outcome, Outcome::Findings);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 10, "{out}");
        let table = [
            "CLASS        KEY       DOMAIN       SELECTOR  MODE  OWNER    PATH",
            "dkim         RSA 2048  example.org  mail      0600  101:102  /etc/opendkim/keys/example.org/mail.private",
        ];
        assert_eq!(lines[..2], table);
        assert!(lines[2].starts_with("    PKCS#8 PEM; public half (SHA-256): "), "{out}");
        assert_eq!(lines[3], "    known by its path");
        assert!(lines[4].starts_with("  mail:1 (sha256:"), "{out}");
        assert!(lines[4].ends_with("): deleted in layer 2"), "{out}");
        assert_eq!(lines[5], "    archive FOLDER/image.tar; made by: step 1");
        let other = r"private-key  RSA 2048  -            -         0600  101:102  /etc/ssl/private/s\x0a.key";
        assert_eq!(lines[6], other);
        let remarks = [
            "searched: FOLDER/image.tar (archive): 1 image, 2 layers",
            "note: 1 well-known key of documentation or test suites not listed; --all lists them",
        ];
        assert_eq!(err.lines().collect::<Vec<_>>(), remarks);
    }

    #[test]
    fn a_document_for_programs() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let (outcome, out, err) = run_in(folder.path(), true, &["image.tar"]);
        assert_eq!((outcome, err.as_str()), (Outcome::Findings, ""));
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        let finding = &document["findings"][0];
        assert_eq!((&finding["class"], &finding["severity"]), (&"dkim".into(), &"high".into()));
        assert_eq!((&finding["domain"], &finding["selector"]), (&"example.org".into(), &"mail".into()));
        assert_eq!((&finding["mode"], &finding["uid"]), (&"0600".into(), &101.into()));
        let image = &finding["images"][0];
        assert_eq!((&image["names"][0], &image["layer"], &image["layers"]), (&"mail:1".into(), &1.into(), &2.into()));
        assert_eq!((&image["state"], &image["state_layer"]), (&"deleted".into(), &2.into()));
        assert_eq!(document["findings"][1]["path"], r"/etc/ssl/private/s\x0a.key");
        assert_eq!(document["well_known_not_listed"], 1);
        let text = String::from_utf8(key(1)).unwrap();
        assert!(text.lines().skip(1).take(10).all(|line| !out.contains(line)));
    }

    #[test]
    fn what_could_not_be_searched_comes_before_what_was_found() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let (outcome, out, err) = run_in(folder.path(), false, &["image.tar", "none.tar"]);
        assert_eq!((outcome, out.lines().count()), (Outcome::Blind, 10));
        assert_eq!(err.lines().last(), Some("not searched: FOLDER/none.tar is missing"));
        let (_, out, _) = run_in(folder.path(), true, &["none.tar"]);
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["not_searched"][0]["reason"], "is missing");
    }

    #[test]
    fn nothing_found_is_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let files = docker_save(&[Layer::new().file("x", b"y").done()], Packed::Not);
        fs::write(folder.path().join("clean.tar"), archive(&files)).unwrap();
        let (outcome, out, _) = run_in(folder.path(), false, &["clean.tar"]);
        assert_eq!((outcome, out.as_str()), (Outcome::Quiet, ""));
        let (outcome, out, err) = run_in(folder.path(), false, &[]);
        assert_eq!((outcome, out.as_str()), (Outcome::Quiet, ""));
        assert!(err.starts_with("note: no store of images on this host"), "{err}");
    }
}
