//! Sockets of ours that answer as an engine does, and as none would.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{Labels, Socket, SocketFault, Sockets, containerd, cri, docker, within_time};
use crate::{
    containers::{Details, Image, Mount, NotFound},
    host::Host,
};

const ID: &str = "3f5a0c1b2d4e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";

/// A socket at which somebody answers each question so.
fn answering(answer: impl Fn(&str, &mut UnixStream) + Send + 'static) -> (tempfile::TempDir, Socket) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 1_024];
            let length = stream.read(&mut asked).unwrap_or_default();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            answer(asked.lines().next().unwrap_or_default(), &mut stream);
        }
    });
    (folder, Socket::of_anybody(&path))
}

fn say(stream: &mut UnixStream, status: &str, body: &str) {
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

fn ask_docker(socket: &Socket) -> Result<Details, SocketFault> {
    within_time(docker::find(socket, ID, &Labels::default()))
}

#[test]
fn docker_tells_a_container_and_its_image() {
    let image = format!("sha256:{}", "ab".repeat(32));
    let (_folder, socket) = answering({
        let image = image.clone();
        move |asked, stream| {
            let about_image = asked.contains("/images/sha256:");
            let container = format!(
                r#"{{"Id":"{ID}","Name":"/mail","Image":"{image}","Created":"2026-11-20T10:00:00Z",
                "Config":{{"Image":"mail:1","Labels":{{"app":"mail","token":"secret"}},"Env":["PASSWORD=x"]}},
                "HostConfig":{{"Privileged":true}},"GraphDriver":{{"Name":"overlay2","Data":{{"MergedDir":"/d/merged"}}}},
                "Mounts":[{{"Type":"volume","Name":"keys","Source":"/v/keys/_data","Destination":"/etc/dkimkeys"}},
                {{"Type":"tmpfs","Source":"","Destination":"/tmp"}}]}}"#
            );
            let digests = r#"{"RepoDigests":["r.example/mail@sha256:01","mail@sha256:01","r.example/mail@sha256:02"]}"#;
            say(stream, "200 OK", if about_image { digests } else { &container });
        }
    });
    let expected = Details {
        name: Some("mail".to_owned()),
        image: Some(Image {
            name: Some("mail:1".to_owned()),
            id: Some(image),
            digests: ["sha256:01", "sha256:02"].map(str::to_owned).to_vec(),
        }),
        labels: [("app".to_owned(), "mail".to_owned())].into(),
        created: Some("2026-11-20T10:00:00Z".to_owned()),
        privileged: Some(true),
        mounts: vec![Mount {
            source: "/v/keys/_data".into(),
            destination: "/etc/dkimkeys".into(),
            volume: Some("keys".to_owned()),
        }],
        root: Some("/d/merged".into()),
        ..Details::default()
    };
    assert_eq!(ask_docker(&socket), Ok(expected));
}

#[test]
fn what_is_no_answer_says_so() {
    let (_folder, socket) = answering(|_, stream| say(stream, "404 Not Found", r#"{"message":"No such container"}"#));
    assert_eq!(ask_docker(&socket), Err(SocketFault::NoSuchContainer));
    let (_folder, socket) = answering(|_, stream| say(stream, "200 OK", r#"{"Id":"another"}"#));
    assert!(matches!(ask_docker(&socket), Err(SocketFault::Garbage(_))));
    let (_folder, socket) = answering(|_, stream| say(stream, "500 Oh", r#"{"message":"no\u001b[31m"}"#));
    let Err(SocketFault::Refused(why)) = ask_docker(&socket) else { panic!("it refused") };
    assert_eq!(why, r"no\x1b[31m (status 500)", "escaped");
    let (folder, socket) = answering(|_, _| {});
    drop(folder);
    assert!(ask_docker(&socket).is_err(), "it hung up");
}

#[test]
fn an_answer_without_end_is_given_up() {
    let (_folder, socket) = answering(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[");
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
    });
    assert!(matches!(ask_docker(&socket), Err(SocketFault::Garbage(_))));
}

#[test]
fn what_is_no_socket_of_roots_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| Socket::open(&folder.path().join(path)).map(|_| ());
    assert_eq!(at("none"), Err(SocketFault::Missing));
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(at("file"), Err(SocketFault::NotASocket));
    assert_eq!(at("."), Err(SocketFault::NotASocket));
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let me = rustix::process::geteuid().as_raw();
    let expected = if me == 0 { SocketFault::Writable(0o666) } else { SocketFault::Owner(me) };
    assert_eq!(at("socket"), Err(expected));
}

#[test]
fn each_runtime_is_asked_for_where_it_is_known() {
    let path = |name: &str| Some(PathBuf::from(name));
    let all = Sockets { docker: path("/d"), podman: path("/p"), containerd: path("/c"), cri: path("/k") };
    let asked = |runtime| all.of(runtime).into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
    assert_eq!(asked("docker"), ["docker"]);
    assert_eq!(asked("podman"), ["podman"]);
    assert_eq!(asked("containerd"), ["containerd", "cri"]);
    assert_eq!(asked("cri-o"), ["cri"]);
    assert_eq!(asked("kubernetes"), ["cri", "containerd"]);
    for runtime in ["lxc", "systemd-nspawn", "runc"] {
        assert!(!all.know(runtime), "{runtime}");
    }
    let host = tempfile::tempdir().unwrap();
    let error = all.find(&Host::at(host.path()), "kubernetes", ID, &Labels::default()).unwrap_err();
    let missing = NotFound::Socket { key: "cri", path: Path::new("/k").to_owned(), fault: SocketFault::Missing };
    assert_eq!(error, missing, "the first one");
    assert_eq!(
        error.to_string(),
        "the socket /k (containers.sockets.cri) does not exist: start the engine, or correct the path"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_bytes_are_an_answer_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..200), frames in any::<bool>()) {
        // What HTTP/2 begins with: empty SETTINGS.
        let settings: &[u8] = if frames { &[0, 0, 0, 4, 0, 0, 0, 0, 0] } else { &[] };
        let bytes = [settings, &bytes].concat();
        let (_folder, socket) = answering(move |_, stream| {
            let _ = stream.write_all(&bytes);
        });
        prop_assert!(ask_docker(&socket).is_err());
        prop_assert!(within_time(containerd::find(&socket, ID, &Labels::default())).is_err());
        prop_assert!(within_time(cri::find(&socket, ID, &Labels::default())).is_err());
    }
}
