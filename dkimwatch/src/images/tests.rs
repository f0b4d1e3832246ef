//! Whole searches, of archives and stores made on the spot.

use std::{fs, os::unix::ffi::OsStrExt as _};

use super::{
    made::{Files, Layer, Packed, archive, config, docker_save, key, oci, packed, pem, record, rsa},
    *,
};

const NO_LIMIT: u64 = 1 << 40;

fn ask(files: Vec<PathBuf>, stores: Vec<PathBuf>) -> Report {
    let question = Question { files, stores, records: Vec::new(), limit: NO_LIMIT, all: false };
    search(&question, &Host::at("/nowhere"), &Silent)
}

/// The report of an archive with these bytes.
fn of_bytes(bytes: &[u8]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    fs::write(&path, bytes).unwrap();
    ask(vec![path], Vec::new())
}

fn lay(files: &Files, folder: &Path) {
    for (name, content) in files {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }
}

/// Class, path, algorithm, whose, and the layer and state in each image.
type Told = (Class, String, String, String, Vec<(Option<usize>, State)>);

fn told(report: &Report) -> Vec<Told> {
    let whose = |finding: &Finding| {
        format!("{}/{}", finding.domain.as_deref().unwrap_or("-"), finding.selector.as_deref().unwrap_or("-"))
    };
    let one = |finding: &Finding| {
        (
            finding.class,
            finding.path.as_deref().map_or_else(|| "-".to_owned(), shown_path),
            finding.key.algorithm.to_string(),
            whose(finding),
            finding.images.iter().map(|image| (image.layer, image.state)).collect(),
        )
    };
    report.findings.iter().map(one).collect()
}

fn dkim(path: &str, whose: &str, layer: usize, state: State) -> Told {
    (Class::Dkim, path.to_owned(), "RSA 2048".to_owned(), whose.to_owned(), vec![(Some(layer), state)])
}

/// Keys in the first layer, and what later ones do to them.
fn layers() -> Vec<Vec<u8>> {
    let base = Layer::new()
        .folder("./etc/opendkim/keys/example.org")
        .file("./etc/opendkim/keys/example.org/mail.private", &key(1))
        .file("etc/opendkim/keys/example.org/old.private", &key(2))
        .link("backup/copy", "etc/opendkim/keys/example.org/mail.private")
        .file("etc/dkim/a.private", &key(3))
        .file("etc/dkim/b.private", &key(4))
        .file("etc/ssl/private/server.key", &key(5))
        .file("usr/share/doc/x/key.pem", &key(6))
        .file("usr/bin/openssl", b"\x7fELF -----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----\0");
    let second = Layer::new()
        .file("etc/opendkim/keys/example.org/.wh.mail.private", b"")
        .file("etc/opendkim/keys/example.org/old.private", b"no key any more")
        .link("srv/linked.private", "etc/dkim/b.private");
    let third = Layer::new().folder("etc/dkim").file("etc/dkim/.wh..wh..opq", b"").file("etc/dkim/b.private", &key(7));
    vec![base.done(), second.done(), third.done()]
}

fn expected() -> Vec<Told> {
    let named = "example.org/mail";
    vec![
        dkim("/etc/dkim/a.private", "-/a", 1, State::Deleted(3)),
        // The same path in two layers: two keys. The order is that of their public halves.
        dkim("/etc/dkim/b.private", "-/b", 1, State::Replaced(3)),
        dkim("/etc/dkim/b.private", "-/b", 3, State::Present),
        dkim("/etc/opendkim/keys/example.org/mail.private", named, 1, State::Deleted(2)),
        dkim("/etc/opendkim/keys/example.org/old.private", "example.org/old", 1, State::Replaced(2)),
        dkim("/srv/linked.private", "-/linked", 2, State::Present),
        (Class::Private, "/backup/copy".into(), "RSA 2048".into(), "-/-".into(), vec![(Some(1), State::Present)]),
        (
            Class::Private,
            "/etc/ssl/private/server.key".into(),
            "RSA 2048".into(),
            "-/-".into(),
            vec![(Some(1), State::Present)],
        ),
    ]
}

fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort();
    told
}

#[test]
fn every_form_of_archive_tells_the_same() {
    for how in [Packed::Not, Packed::Gzip, Packed::Zstd] {
        for (form, files) in [("docker", docker_save(&layers(), how)), ("oci", oci(&layers(), how))] {
            for outer in [Packed::Not, Packed::Gzip, Packed::Zstd] {
                let report = of_bytes(&packed(&archive(&files), outer));
                assert!(report.troubles.is_empty(), "{form} {how:?} {outer:?}: {:?}", report.troubles);
                assert_eq!(sorted(told(&report)), sorted(expected()), "{form} {how:?} {outer:?}");
                assert_eq!(report.well_known, 1);
                let image = &report.findings[0].images[0];
                assert_eq!((image.names.as_slice(), image.layers), (&["mail:1".to_owned()][..], 3));
                assert_eq!(image.created_by.as_deref(), Some("step 1"));
                assert!(image.id.as_deref().is_some_and(|id| id.starts_with("sha256:")));
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    lay(&oci(&layers(), Packed::Gzip), folder.path());
    let report = ask(vec![folder.path().to_owned()], Vec::new());
    assert!(report.troubles.is_empty(), "{:?}", report.troubles);
    assert_eq!(sorted(told(&report)), sorted(expected()));
}

#[test]
fn attributes_are_those_of_the_layer() {
    let report = of_bytes(&archive(&docker_save(&layers(), Packed::Not)));
    let finding = &report.findings[0];
    assert_eq!((finding.mode, finding.uid, finding.gid), (Some(0o600), Some(101), Some(102)));
    assert_eq!(finding.diff_id, Some(layer::digest_of(&layers()[0])));
}

#[test]
fn a_record_anywhere_in_the_image_says_whose_key_it_is() {
    let keys = Layer::new()
        .file("srv/one", &key(1))
        .file("srv/two", &key(2))
        .file("srv/three", &key(3))
        .file("etc/KeyTable", b"x example.com:t:/srv/three\n");
    let records = Layer::new().file("srv/one.txt", record(1, "mail._domainkey.example.net").as_bytes());
    let files = oci(&[keys.done(), records.done()], Packed::Gzip);
    let folder = tempfile::tempdir().unwrap();
    let (image, zone) = (folder.path().join("image.tar"), folder.path().join("zone"));
    fs::write(&image, archive(&files)).unwrap();
    fs::write(&zone, format!("$ORIGIN example.org.\n{}", record(2, "s2._domainkey"))).unwrap();
    let mut question = Question { files: vec![image], records: vec![zone], limit: NO_LIMIT, ..Question::default() };
    let report = search(&question, &Host::at("/nowhere"), &Silent);
    assert_eq!(
        told(&report),
        [
            dkim("/srv/one", "example.net/mail", 1, State::Present),
            dkim("/srv/three", "example.com/t", 1, State::Present),
            dkim("/srv/two", "example.org/s2", 1, State::Present),
        ]
    );
    let known: Vec<_> = report.findings.iter().map(|finding| finding.known_by.clone().unwrap()).collect();
    assert_eq!(known[..2], ["the record in /srv/one.txt", "a key table in the image"]);
    assert!(known[2].ends_with("/zone"), "{known:?}");
    question.records = vec![folder.path().join("none")];
    assert_eq!(search(&question, &Host::at("/nowhere"), &Silent).troubles.len(), 1);
}

#[test]
fn a_key_in_a_variable_or_a_command_is_found_and_not_shown() {
    let layers = [Layer::new().file("x", b"y").done()];
    let text = String::from_utf8(key(1)).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config(&layers)).unwrap();
    config["config"] = serde_json::json!({"Env": [format!("DKIM_KEY={text}")]});
    config["history"][0]["created_by"] = serde_json::json!(format!("RUN echo '{text}' > /x"));
    let mut files = docker_save(&layers, Packed::Not);
    files.retain(|name, _| !name.ends_with(".json"));
    files.insert("c.json".into(), config.to_string().into_bytes());
    let name = files.keys().find(|name| name.ends_with("layer.tar")).unwrap().clone();
    let list = serde_json::json!([{"Config": "c.json", "Layers": [name]}]);
    files.insert("manifest.json".into(), list.to_string().into_bytes());
    let report = of_bytes(&archive(&files));
    assert_eq!(report.findings.len(), 1);
    let finding = &report.findings[0];
    assert_eq!((finding.class, finding.path.as_ref(), finding.images[0].layer), (Class::Private, None, None));
    let shown = format!("{report:?}");
    assert!(!shown.contains(&text[40..60]), "{shown}");
}

#[test]
fn a_layer_that_images_share_is_one_finding_with_all_of_them() {
    let (base, top) = (layers()[0].clone(), layers()[1].clone());
    let mut files = oci(&[base.clone(), top], Packed::Gzip);
    let other = oci(&[base], Packed::Gzip);
    let index = |files: &Files| serde_json::from_slice::<serde_json::Value>(&files["index.json"]).unwrap();
    let (mut all, more) = (index(&files), index(&other));
    all["manifests"].as_array_mut().unwrap().extend(more["manifests"].as_array().unwrap().clone());
    files.extend(other);
    files.insert("index.json".into(), all.to_string().into_bytes());
    let report = of_bytes(&archive(&files));
    assert!(report.troubles.is_empty(), "{:?}", report.troubles);
    assert_eq!((report.searched[0].images, report.searched[0].layers), (2, 2));
    let mail = report.findings.iter().find(|finding| finding.selector.as_deref() == Some("mail")).unwrap();
    let states: Vec<_> = mail.images.iter().map(|image| (image.layers, image.state)).collect();
    assert_eq!(states, [(2, State::Deleted(2)), (1, State::Present)]);
}

#[test]
fn hostile_names_are_kept_apart_and_escaped() {
    let long = format!("etc/dkim/{}", "n".repeat(255));
    let layer = Layer::new()
        .raw(b"../../etc/dkim/up.private", &key(1))
        .raw(b"/etc/dkim/absolute.private", &key(2))
        .raw(b"etc/dkim/\xff\n\x1b[31m.private", &key(3))
        .file(&long, &key(4))
        .symlink("etc/dkim/out.private", "/etc/passwd");
    let report = of_bytes(&archive(&docker_save(&[layer.done()], Packed::Not)));
    let mut paths: Vec<_> = report.findings.iter().map(|finding| shown_path(finding.path.as_ref().unwrap())).collect();
    paths.sort();
    let up = "/etc/dkim/up.private".to_owned();
    let odd = r"/etc/dkim/\xff\x0a\x1b[31m.private".to_owned();
    assert_eq!(paths, [odd, "/etc/dkim/absolute.private".into(), format!("/{long}"), up]);
}

#[test]
fn the_same_name_twice_in_a_layer_is_two_keys_of_which_one_is_hidden() {
    let layer = Layer::new().file("etc/dkim/a.private", &key(1)).file("./etc/dkim/a.private", &key(2));
    let report = of_bytes(&archive(&docker_save(&[layer.done()], Packed::Not)));
    let mut states: Vec<_> = report.findings.iter().map(|finding| finding.images[0].state).collect();
    states.sort();
    assert_eq!(states, [State::Present, State::Replaced(1)]);
}

#[test]
fn cut_anywhere_it_is_told_and_nothing_panics() {
    let base = Layer::new().file("etc/dkim/a.private", &key(1)).file("big", &[b'x'; 5000]);
    let layers = [base.done(), Layer::new().file("etc/dkim/.wh.a.private", b"").done()];
    for how in [Packed::Not, Packed::Gzip, Packed::Zstd] {
        for files in [docker_save(&layers, how), oci(&layers, how)] {
            let whole = archive(&files);
            for length in (0..whole.len()).step_by(499).chain([whole.len() - 1, whole.len() - 512]) {
                let report = of_bytes(&whole[..length]);
                assert!(!report.troubles.is_empty(), "{how:?} {length} of {}", whole.len());
            }
        }
    }
    // A layer that is cut in a whole archive: named, with its offset, and what was before is told.
    for how in [Packed::Not, Packed::Gzip, Packed::Zstd] {
        let mut files = docker_save(&layers, how);
        let name = files.keys().find(|name| name.ends_with("0/layer.tar")).unwrap().clone();
        let layer = files.get_mut(&name).unwrap();
        for length in (1..layer.len()).rev().step_by(211) {
            files.get_mut(&name).unwrap().truncate(length);
            let report = of_bytes(&archive(&files));
            let told: Vec<_> = report.troubles.iter().map(ToString::to_string).collect();
            assert!(
                told.iter().any(|one| one.contains("layer 1 of 2 of mail:1") && one.contains("at byte")),
                "{told:?}"
            );
        }
    }
}

#[test]
fn flipped_bytes_never_pass_unseen() {
    let layers = [Layer::new().file("etc/dkim/a.private", &key(1)).file("big", &[b'x'; 3000]).done()];
    for how in [Packed::Not, Packed::Gzip, Packed::Zstd] {
        let files = docker_save(&layers, how);
        let name = files.keys().find(|name| name.ends_with("layer.tar")).unwrap().clone();
        for at in (0..files[&name].len()).step_by(97) {
            let mut files = files.clone();
            files.get_mut(&name).unwrap()[at] ^= 0x55;
            let report = of_bytes(&archive(&files));
            // gzip's header holds a time and a system that change nothing.
            let is_decoration = how == Packed::Gzip && (4..10).contains(&at);
            assert!(is_decoration || !report.troubles.is_empty(), "{how:?} {at}");
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit_and_is_told() {
    let layer = Layer::new().file("etc/dkim/a.private", &key(1)).file("zeros", &vec![0; 4 << 20]).done();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    fs::write(&path, archive(&oci(&[layer], Packed::Gzip))).unwrap();
    let question = Question { files: vec![path], limit: 1 << 20, ..Question::default() };
    let report = search(&question, &Host::at("/nowhere"), &Silent);
    assert_eq!(report.findings.len(), 1, "what was before the limit");
    assert!(matches!(report.troubles[0].fault, Fault::Expands(limit) if limit == 1 << 20), "{:?}", report.troubles);
}

#[test]
fn what_is_no_archive_of_images_is_told() {
    for bytes in [&b""[..], b"no archive", &[0; 1024], &archive(&Files::from([("x".into(), b"y".to_vec())]))] {
        assert_eq!(of_bytes(bytes).troubles.len(), 1);
    }
    let missing = Files::from([("manifest.json".into(), br#"[{"Config":"c","Layers":["../../x"]}]"#.to_vec())]);
    assert_eq!(of_bytes(&archive(&missing)).troubles.len(), 2, "configuration and layer");
    for list in ["", "{}", "[1]", "null", r#"[{"Config":1}]"#] {
        let files = Files::from([("manifest.json".into(), list.as_bytes().to_vec())]);
        assert_eq!(of_bytes(&archive(&files)).troubles.len(), 1, "{list}");
    }
    let evil = r#"{"manifests":[{"mediaType":"x","digest":"sha256:../../../etc/passwd"}]}"#;
    let files = Files::from([("index.json".into(), evil.as_bytes().to_vec())]);
    let report = of_bytes(&archive(&files));
    assert!(report.troubles[0].to_string().contains("is no digest"), "{:?}", report.troubles);
}

#[test]
fn an_index_that_leads_to_itself_ends() {
    let index = br#"{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:00000000000000000000000000000000"}]}"#;
    let files = Files::from([
        ("index.json".into(), index.to_vec()),
        ("blobs/sha256/00000000000000000000000000000000".into(), index.to_vec()),
    ]);
    assert!(!of_bytes(&archive(&files)).troubles.is_empty());
}

/// Docker writes both lists since version 25; an index can give an image two names.
#[test]
fn an_image_in_two_lists_is_one_and_a_forged_one_is_another() {
    let layer = Layer::new().file("etc/dkim/a.private", &key(1)).done();
    let mut files = oci(std::slice::from_ref(&layer), Packed::Gzip);
    let blob = |digest: String| format!("blobs/{}", digest.replace(':', "/"));
    let config = blob(layer::digest_of(&config(std::slice::from_ref(&layer))));
    let own = blob(layer::digest_of(&packed(&layer, Packed::Gzip)));
    let list = serde_json::json!([{"Config": config, "RepoTags": ["mail:latest"], "Layers": [own]}]).to_string();
    files.insert("manifest.json".into(), list.clone().into_bytes());
    let images = |files: &Files| {
        let report = of_bytes(&archive(files));
        assert!(report.troubles.is_empty(), "{:?}", report.troubles);
        report.findings.into_iter().flat_map(|finding| finding.images).collect::<Vec<_>>()
    };
    let one = images(&files);
    assert_eq!((one.len(), one[0].names.as_slice()), (1, &["mail:latest".to_owned()][..]));
    assert!(one[0].digest.is_some());

    let mut index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let mut again = index["manifests"][0].clone();
    again["annotations"]["org.opencontainers.image.ref.name"] = "mail:2".into();
    index["manifests"].as_array_mut().unwrap().push(again);
    files.insert("index.json".into(), index.to_string().into_bytes());
    files.remove("manifest.json");
    assert_eq!(images(&files)[0].names, ["mail:1", "mail:2"]);

    // The same configuration, and another layer, which its digest gives away.
    let other = Layer::new().file("etc/dkim/hidden.private", &key(2)).done();
    files.insert("other".into(), other);
    files.insert("manifest.json".into(), list.replace(&own, "other").into_bytes());
    let report = of_bytes(&archive(&files));
    assert_eq!(report.findings.len(), 2);
    assert!(matches!(report.troubles[0].fault, Fault::Digest { .. }), "{:?}", report.troubles);
}

#[test]
fn layers_may_be_links_in_the_archive() {
    let layer = Layer::new().file("etc/dkim/a.private", &key(1)).done();
    let config = config(std::slice::from_ref(&layer));
    let list = br#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar"]}]"#;
    let bytes = Layer::new()
        .file("x.tar", &layer)
        .symlink("a/layer.tar", "../x.tar")
        .symlink("loop", "loop")
        .file("c.json", &config)
        .file("manifest.json", list)
        .done();
    assert_eq!(told(&of_bytes(&bytes)), [dkim("/etc/dkim/a.private", "-/a", 1, State::Present)]);
}

#[test]
fn other_shapes_of_keys_where_the_path_says_dkim() {
    let seed = base64::encoded(&[7; 32]);
    let der = rsa(1024, 9);
    let layer = Layer::new()
        .file("var/lib/rspamd/dkim/example.org.s1.key", seed.as_bytes())
        .file("var/lib/rspamd/dkim/example.org.s2.key", &der)
        .file("etc/dkim/encrypted.private", &pem("ENCRYPTED PRIVATE KEY", &der))
        .file("etc/token", seed.as_bytes())
        .done();
    let report = of_bytes(&archive(&docker_save(&[layer], Packed::Not)));
    let found: Vec<_> = told(&report).into_iter().map(|one| (one.2, one.3)).collect();
    let one = |algorithm: &str, whose: &str| (algorithm.to_owned(), whose.to_owned());
    assert_eq!(
        found,
        [
            one("unknown (encrypted)", "-/encrypted"),
            one("Ed25519", "example.org/s1"),
            one("RSA 1024", "example.org/s2")
        ]
    );
}

#[test]
fn containerd_stores_blobs_by_digest() {
    let store = tempfile::tempdir().unwrap();
    let mut files = oci(&layers(), Packed::Zstd);
    let index = files.remove("index.json").unwrap();
    files.remove("oci-layout");
    files.insert(format!("blobs/{}", layer::digest_of(&index).replace(':', "/")), index);
    lay(&files, &store.path().join("io.containerd.content.v1.content"));
    let report = ask(Vec::new(), vec![store.path().to_owned()]);
    assert!(report.troubles.is_empty(), "{:?}", report.troubles);
    assert_eq!(sorted(told(&report)), sorted(expected()));
    let image = &report.findings[0].images[0];
    assert_eq!((image.kind, image.names.as_slice()), ("containerd", &["mail:1".to_owned()][..]));
    // A layer that was thrown away once it was unpacked.
    let gone = layer::digest_of(&packed(&layers()[1], Packed::Zstd));
    fs::remove_file(store.path().join("io.containerd.content.v1.content/blobs").join(gone.replace(':', "/"))).unwrap();
    let report = ask(Vec::new(), vec![store.path().to_owned()]);
    assert!(matches!(report.troubles[0].fault, Fault::Missing), "{:?}", report.troubles);
    let states: Vec<_> = report.findings.iter().flat_map(|finding| &finding.images).map(|image| image.state).collect();
    assert!(states.contains(&State::Undecided(2)), "{states:?}");
}

#[test]
fn a_folder_that_is_no_store_is_told_and_an_empty_one_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    assert!(ask(Vec::new(), vec![folder.path().to_owned()]).troubles.is_empty());
    fs::write(folder.path().join("x"), "").unwrap();
    assert_eq!(ask(Vec::new(), vec![folder.path().to_owned()]).troubles.len(), 1);
    assert_eq!(ask(Vec::new(), vec![folder.path().join("none")]).troubles.len(), 1);
}

#[test]
fn the_stores_of_a_host_are_found_by_themselves_and_not_through_links() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::at(root.path());
    let silent = |host: &Host| search(&Question { limit: NO_LIMIT, ..Question::default() }, host, &Silent);
    assert!(silent(&host).notes[0].starts_with("no store of images"));
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("var/lib/containers/storage/overlay-images")).unwrap();
    fs::write(at("var/lib/containers/storage/overlay-images/images.json"), "[]").unwrap();
    fs::create_dir_all(at("etc")).unwrap();
    fs::write(at("etc/passwd"), "u:x:1000:1000::/home/alice:/bin/sh\nv:x:1001:1001::/home/bob:/bin/sh\n").unwrap();
    fs::create_dir_all(at("home/alice/.local/share/containers/storage/overlay-images")).unwrap();
    fs::write(at("home/alice/.local/share/containers/storage/overlay-images/images.json"), "[]").unwrap();
    fs::create_dir_all(at("home/bob/.local/share/containers")).unwrap();
    std::os::unix::fs::symlink("/", at("home/bob/.local/share/containers/storage")).unwrap();
    let report = silent(&host);
    let places: Vec<_> = report.searched.iter().map(|one| one.kind).collect();
    assert_eq!(places, ["containers-storage", "containers-storage"]);
    assert_eq!(report.troubles.len(), 1);
    assert!(report.troubles[0].to_string().contains("symbolic link"), "{}", report.troubles[0]);
}

#[test]
fn names_that_are_not_text_are_arguments_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"i\xff\n.tar"));
    fs::write(&path, "x").unwrap();
    let report = ask(vec![path], Vec::new());
    assert!(report.troubles[0].to_string().contains(r"i\xff\x0a.tar"), "{}", report.troubles[0]);
}
