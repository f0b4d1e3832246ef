//! Containers that only their engine's socket knows of: real engines, and listeners of ours that are none.

use std::{
    io::Write as _,
    os::unix::{fs::chown, net::UnixListener},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Containerd, Engine, Event, Pod, Run, Watch, WatchCommand, Watched};

use super::{BARE, Lab, PATIENCE, READER, alone};

/// Reads the key that is mounted at /keys.
const READ: &[&str] = &["/bin/sh", "-c", "sleep 0.2; cat /keys/host.private && sleep 0.1"];

#[test]
fn docker_is_asked_about_a_container_that_no_known_folder_has() -> Result<()> {
    by_its_socket(Engine::docker_at_a_socket, "docker")
}

#[test]
fn podman_is_asked_about_a_container_that_no_known_folder_has() -> Result<()> {
    by_its_socket(Engine::podman_at_a_socket, "podman")
}

fn by_its_socket(engine: fn() -> Result<Engine>, runtime: &str) -> Result<()> {
    let _alone = alone();
    let (lab, engine) = (Lab::new()?, engine()?);
    engine.import(&lab.root, BARE)?;
    let (key, socket) = engine.socket().context("a socket")?;
    let watch = watch(&lab, &[(key, socket)])?;
    let folder = lab.folder_of_keys()?;
    let id = engine.run(&Run {
        name: "dkimwatch-asked",
        image: BARE,
        mounts: &[(folder, "/keys")],
        user: READER.0,
        command: READ,
    })?;
    let watched = told(watch, &[&id])?;
    let event = the_alert(&watched, &id)?;
    let host_path = lab.key.display().to_string();
    is_said(
        event,
        &[
            ("container.runtime", runtime),
            ("container.name", "dkimwatch-asked"),
            ("container.image.name", "localhost/dkimwatch-bare"),
            ("dkimwatch.inner.user.name", READER.0),
            ("dkimwatch.container.key.host_path", &host_path),
            ("dkimwatch.container.key.from", "mount"),
        ],
    )?;
    let image_id = event.text("dkimwatch.container.image_id").unwrap_or_default();
    ensure!(image_id.starts_with("sha256:"), "the image's id:\n{event}");
    ensure!(event.field("dkimwatch.container.privileged") == Some(&false.into()), "it is not privileged:\n{event}");
    ensure!(event.text("dkimwatch.container.created").is_some(), "when it was made:\n{event}");
    Ok(())
}

#[test]
fn containerd_is_asked_about_its_containers_and_about_those_of_pods() -> Result<()> {
    let _alone = alone();
    let (lab, containerd) = (Lab::new()?, Containerd::start(BARE)?);
    let digest = containerd.import(&lab.root, BARE)?;
    let socket = containerd.socket();
    let watch = watch(&lab, &[("containerd", &socket), ("cri", &socket)])?;
    let mounts: &[(&str, &str)] = &[(lab.folder_of_keys()?, "/keys")];
    let run = |name| Run { name, image: BARE, mounts, user: READER.0, command: READ };
    let by_hand = containerd.run(&run("by-hand"))?;
    let pod = Pod { name: "mail-0", namespace: "mail", uid: "6d2c1f0a-0000-4000-8000-0123456789ab" };
    let in_pod = containerd.run_in_pod(&pod, &run("opendkim"))?;
    let watched = told(watch, &[&by_hand, &in_pod])?;
    let host_path = lab.key.display().to_string();
    let both = [
        ("container.image.name", "localhost/dkimwatch-bare"),
        ("dkimwatch.container.key.host_path", host_path.as_str()),
        ("dkimwatch.container.key.from", "mount"),
    ];
    let event = the_alert(&watched, &by_hand)?;
    is_said(event, &both)?;
    is_said(event, &[("container.runtime", "containerd"), ("container.labels.app", "by-hand")])?;
    let known_by = serde_json::json!([digest]);
    ensure!(event.field("container.image.hash.all") == Some(&known_by), "{digest}:\n{event}");
    let event = the_alert(&watched, &in_pod)?;
    is_said(event, &both)?;
    let names =
        [("container.runtime", "kubernetes"), ("container.name", "opendkim"), ("orchestrator.namespace", "mail")];
    is_said(event, &names)?;
    ensure!(event.text("orchestrator.resource.name") == Some(pod.name), "its pod:\n{event}");
    ensure!(event.field("dkimwatch.container.entered") == Some(&false.into()), "it entered nothing:\n{event}");
    ensure!(event.field("dkimwatch.container.privileged") == Some(&false.into()), "it is not privileged:\n{event}");
    Ok(())
}

/// One container, three watches: each is told of another socket that is no engine's.
#[test]
fn a_socket_that_hangs_delays_no_alert_and_one_that_lies_is_named() -> Result<()> {
    let _alone = alone();
    let (lab, engine) = (Lab::new()?, Engine::podman_unknown()?);
    engine.import(&lab.root, BARE)?;
    let (silent, garbage, strangers) = (Listener::silent()?, Listener::of_garbage()?, Listener::silent()?);
    chown(&strangers.path, Some(65_534), None)?;
    let watches = [&silent, &garbage, &strangers].map(|listener| watch(&lab, &[("podman", listener.path.as_path())]));
    let [on_silent, on_garbage, on_strangers] = watches;
    let (on_silent, on_garbage, on_strangers) = (on_silent?, on_garbage?, on_strangers?);
    let folder = lab.folder_of_keys()?;
    let id = engine.run(&Run {
        name: "dkimwatch-unknown",
        image: BARE,
        mounts: &[(folder, "/keys")],
        user: READER.0,
        command: READ,
    })?;
    for (watch, listener, why) in [
        (on_garbage, &garbage, "gave no answer that can be understood: "),
        (on_strangers, &strangers, "is owned by uid 65534, who could answer anything"),
    ] {
        let watched = told(watch, &[&id])?;
        failed(the_alert(&watched, &id)?, listener, why)?;
    }
    let watched = told(on_silent, &[&id])?;
    silent.was_asked()?;
    failed(the_alert(&watched, &id)?, &silent, "gave no answer within 4s")?;
    let lines: Vec<_> = watched.lines.iter().filter(|(_, event)| event.text("container.id") == Some(&id)).collect();
    let [(arrived, first), (_, second)] = lines.as_slice() else {
        anyhow::bail!("{} lines instead of two: {lines:?}", lines.len());
    };
    ensure!(first.text("dkimwatch.enrichment.state") == Some("pending"), "it waited for the socket:\n{first}");
    ensure!(first.text("event.id") == second.text("event.id"), "not the same event:\n{first}\n{second}");
    let opened: chrono::DateTime<chrono::Utc> = first.text("@timestamp").context("a time")?.parse()?;
    let took = arrived.duration_since(SystemTime::from(opened)).unwrap_or_default();
    println!("beside a socket that hangs, an alert came {took:?} after the access; its follow-up: {second}");
    Ok(())
}

/// A watch of the lab's key that knows of these sockets, and of nothing else.
fn watch(lab: &Lab, sockets: &[(&str, &Path)]) -> Result<Watch> {
    let key = lab.key.display().to_string();
    let mut config = format!("[keys]\ndiscover = false\npaths = [{key:?}]\n[containers.sockets]\n");
    for (name, path) in sockets {
        config.push_str(&format!("{name} = {:?}\n", path.display().to_string()));
    }
    WatchCommand::new().config(config).start()
}

/// What was told by the end of the watch, and not before the last word on each of these containers.
fn told(watch: Watch, ids: &[&str]) -> Result<Watched> {
    for id in ids {
        let is_told = |event: &Event| {
            let state = event.text("dkimwatch.enrichment.state");
            event.is_access() && event.text("container.id") == Some(id) && state.is_some_and(|state| state != "pending")
        };
        // A follow-up stands in the place of its event.
        watch.wait_until("the last word on a container", PATIENCE, |events| events.iter().any(is_told))?;
    }
    watch.stop()
}

/// The only alert about a container.
fn the_alert<'w>(watched: &'w Watched, id: &str) -> Result<&'w Event> {
    let mut alerts = watched.events.iter().filter(|event| event.is_alert() && event.text("container.id") == Some(id));
    let alert = alerts.next().with_context(|| format!("no alert:\n{}\n{}", watched.events, watched.log))?;
    ensure!(alerts.next().is_none(), "more than one alert:\n{}", watched.events);
    Ok(alert)
}

/// These fields, of details that were found.
fn is_said(event: &Event, fields: &[(&str, &str)]) -> Result<()> {
    for (field, expected) in fields.iter().chain(&[("dkimwatch.enrichment.state", "done")]) {
        ensure!(event.text(field) == Some(expected), "{field} is not {expected:?}:\n{event}");
    }
    ensure!(event.field("container.image.tag") == Some(&serde_json::json!(["1"])), "the tag:\n{event}");
    Ok(())
}

fn failed(event: &Event, listener: &Listener, why: &str) -> Result<()> {
    let reason = event.text("dkimwatch.enrichment.reason").unwrap_or_default();
    let begins = format!("the socket {} (containers.sockets.podman) {why}", listener.path.display());
    ensure!(event.text("dkimwatch.enrichment.state") == Some("failed"), "it is known:\n{event}");
    ensure!(reason.starts_with(&begins), "{reason}\ninstead of\n{begins}");
    Ok(())
}

/// A socket that is no engine's.
struct Listener {
    path: PathBuf,
    asked: Receiver<()>,
    /// Dropped, it lets a silent one go.
    _hold: Sender<()>,
    _folder: tempfile::TempDir,
}

impl Listener {
    /// One that takes a connection, and says nothing for half a minute.
    fn silent() -> Result<Self> {
        Self::new(|_, hold| {
            let _ = hold.recv_timeout(Duration::from_secs(30));
        })
    }

    /// One that says anything.
    fn of_garbage() -> Result<Self> {
        Self::new(|stream, _| {
            let _ = stream.write_all(b"good day\r\n\r\n\x00\xff");
        })
    }

    fn new(answer: fn(&mut std::os::unix::net::UnixStream, &Receiver<()>)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o660))?;
        let (tell, asked) = channel();
        let (_hold, held) = channel();
        // It ends with the test's process at the latest.
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = tell.send(());
                answer(&mut stream, &held);
            }
        });
        Ok(Self { path, asked, _hold, _folder: folder })
    }

    fn was_asked(&self) -> Result<()> {
        self.asked.try_recv().context("nobody asked at the socket")
    }
}
