//! Real containers, started by real engines, in which somebody reads a key.
//!
//! Needs root, and the packages that `cargo xtask setup` installs. Makes a user `dkimwatch-tests` for as long as it runs.

mod lxc;
mod sockets;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use dkimwatch_tests::support::{Engine, Event, Run, Watch, WatchCommand};

/// How long an event may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An image with nothing in it but busybox.
const BARE: &str = "localhost/dkimwatch-bare:1";
/// The same with a key.
const BAKED: &str = "localhost/dkimwatch-baked:1";
/// Where the key is in it.
const BAKED_KEY: &str = "/etc/dkimkeys/example.org.sel.private";

/// One at a time: every watch looks into all containers of the host.
static HOST: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who reads, in the container.
const READER: (&str, u32) = ("reader", 101);

#[test]
fn a_strangers_cat_in_a_container_of_podman_is_one_alert() -> Result<()> {
    strangers(Engine::podman, "podman")
}

#[test]
fn a_strangers_cat_in_a_container_of_an_ordinary_users_podman_is_one_alert() -> Result<()> {
    strangers(Engine::podman_of_a_user, "podman")
}

#[test]
fn a_strangers_cat_in_a_container_of_docker_is_one_alert() -> Result<()> {
    strangers(Engine::docker, "docker")
}

/// Three containers that live 300 ms: the key is mounted from the host, lies in a volume, and in the image.
fn strangers(engine: fn() -> Result<Engine>, runtime: &str) -> Result<()> {
    let _alone = alone();
    let engine = &engine()?;
    let lab = Lab::new()?;
    engine.import(&lab.root, BARE)?;
    lab.bake()?;
    engine.import(&lab.root, BAKED)?;
    let volume = engine.volume("dkimwatch-keys")?;
    // Who uses a volume for the first time has his engine set its owner: a change that is told, where it is seen in time.
    let mounts: &[(&str, &str)] = &[("dkimwatch-keys", "/etc/dkimkeys")];
    let command: &[&str] = &["/bin/sh", "-c", "exit 0"];
    engine.run(&Run { name: "dkimwatch-first", image: BARE, mounts, user: READER.0, command })?;
    let in_volume = volume.join("example.org.vol.private");
    lab.make_key(&in_volume)?;
    if let Some(user) = engine.user() {
        std::os::unix::fs::chown(&in_volume, Some(user.uid), None)?;
    }
    let watch = lab.watch(engine)?;

    let host_path = lab.key.to_str().context("a path in UTF-8")?;
    let folder = lab.folder_of_keys()?;
    let cases = [
        ("dkimwatch-host", BARE, folder, "/keys", "/keys/host.private", "mount", Some(host_path)),
        (
            "dkimwatch-volume",
            BARE,
            "dkimwatch-keys",
            "/etc/dkimkeys",
            "/etc/dkimkeys/example.org.vol.private",
            "volume",
            in_volume.to_str(),
        ),
        ("dkimwatch-baked", BAKED, "", "", BAKED_KEY, "root", None),
    ];
    let mut ran = Vec::new();
    for (name, image, from, to, inner, kind, on_host) in cases {
        let mounts: &[(&str, &str)] = if from.is_empty() { &[] } else { &[(from, to)] };
        let command = format!("sleep 0.2; cat {inner} && sleep 0.1");
        let run = Run { name, image, mounts, user: READER.0, command: &["/bin/sh", "-c", &command] };
        let id = engine.run(&run)?;
        let is_it = |event: &Event| event.is_access() && event.text("container.id") == Some(&id);
        watch.wait_for(name, PATIENCE, is_it)?;
        ran.push((id, name, image, inner, kind, on_host));
    }
    let watched = watch.stop()?;

    let uid = engine.user().map_or(Ok(READER.1), |user| user.host_uid(READER.1))?;
    for (id, name, image, inner, kind, on_host) in &ran {
        let of_it = watched.events.only(|event| event.is_access() && event.text("container.id") == Some(id));
        let event = of_it.one(name)?;
        let (image_name, tag) = image.rsplit_once(':').context("a tag")?;
        let uid = uid.to_string();
        for (field, expected) in [
            ("event.action", "key-opened"),
            ("event.kind", "alert"),
            ("container.runtime", runtime),
            ("container.name", name),
            ("container.image.name", image_name),
            ("dkimwatch.enrichment.state", "done"),
            ("dkimwatch.inner.user.id", "101"),
            ("dkimwatch.inner.user.name", READER.0),
            ("user.id", &uid),
            ("file.path", inner),
            ("dkimwatch.container.key.path", inner),
            ("dkimwatch.container.key.from", kind),
        ] {
            ensure!(event.text(field) == Some(expected), "{name}: {field} is not {expected:?}:\n{event}");
        }
        ensure!(event.field("container.image.tag") == Some(&serde_json::json!([tag])), "{name}: the tag:\n{event}");
        let told = event.text("dkimwatch.container.key.host_path").unwrap_or_default();
        match on_host {
            Some(path) => ensure!(told == *path, "{name}: {told} is not {path}"),
            // In the container's root, wherever that is.
            None => ensure!(told.ends_with(inner) && told != *inner, "{name}: {told}"),
        }
        ensure!(event.field("dkimwatch.container.entered") == Some(&false.into()), "{name} entered nothing:\n{event}");
        ensure!(
            event.field("dkimwatch.container.forgeable") == Some(&engine.user().is_some().into()),
            "{name}: whose word is it?\n{event}"
        );
    }
    let of_them = |event: &Event| ran.iter().any(|(id, ..)| event.text("container.id") == Some(id));
    let others = watched.events.only(|event| event.is_alert() && !of_them(event));
    if let Some(event) = others.iter().next() {
        bail!("an alert that is no container's, but perhaps its engine's: {event}");
    }
    watched.events.alerts().exactly(ran.len(), "one alert each")
}

#[test]
fn who_is_put_into_a_running_container_entered_it() -> Result<()> {
    let _alone = alone();
    let lab = Lab::new()?;
    let engine = Engine::podman()?;
    engine.import(&lab.root, BARE)?;
    let watch = lab.watch(&engine)?;
    let folder = lab.folder_of_keys()?;
    let mount = format!("{folder}:/keys");
    let mut arguments = vec!["run", "--detach", "--network=none", "--runtime", "runc", "--name", "dkimwatch-long"];
    arguments.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--volume", &mount, BARE]);
    arguments.extend(["/bin/sleep", "600"]);
    let id = engine.ask(&arguments)?.trim().to_owned();
    engine.ask(&["exec", "dkimwatch-long", "/bin/cat", "/keys/host.private"])?;
    // By way of the container's view of files, and not in it: a process of the host.
    let pid = engine.ask(&["inspect", "--format", "{{.State.Pid}}", "dkimwatch-long"])?;
    let around = PathBuf::from(format!("/proc/{}/root/keys/host.private", pid.trim()));
    let mut cat = std::process::Command::new("cat");
    ensure!(cat.arg(&around).output()?.status.success(), "the host reaches into the container");
    engine.ask(&["rm", "--force", "--time", "0", "dkimwatch-long"])?;
    let watched = watch.stop()?;
    let opened = watched.events.only(|event| event.action() == "key-opened");
    opened.exactly(2, "both readers")?;
    let inside = opened.only(|event| event.text("container.id") == Some(&id));
    let inside = inside.one("the one that was put into it")?;
    ensure!(inside.field("dkimwatch.container.entered") == Some(&true.into()), "it came from outside:\n{inside}");
    let outside = opened.only(|event| event.text("container.id").is_none());
    let outside = outside.one("the host's")?;
    ensure!(outside.text("process.name") == Some("cat") && outside.text("user.id") == Some("0"), "{outside}");
    ensure!(outside.field("dkimwatch.enrichment").is_none(), "it is in no container:\n{outside}");
    Ok(())
}

/// A key on the host, and a root for images.
struct Lab {
    folder: tempfile::TempDir,
    key: PathBuf,
    root: PathBuf,
}

impl Lab {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let (key, root) = (folder.path().join("keys/host.private"), folder.path().join("root"));
        for made in ["keys", "root/bin", "root/etc"] {
            fs::create_dir_all(folder.path().join(made))?;
        }
        let lab = Self { folder, key, root };
        lab.make_key(&lab.key)?;
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.context("busybox, of the package busybox-static")?, lab.root.join("bin/busybox"))?;
        for applet in ["sh", "cat", "sleep"] {
            symlink("busybox", lab.root.join("bin").join(applet))?;
        }
        let (name, uid) = READER;
        fs::write(lab.root.join("etc/passwd"), format!("root:x:0:0::/:/bin/sh\n{name}:x:{uid}:{uid}::/:/bin/sh\n"))?;
        fs::write(lab.root.join("etc/group"), format!("root:x:0:\n{name}:x:{uid}:\n"))?;
        Ok(lab)
    }

    /// A key that all may read, as it is in many an image.
    fn make_key(&self, path: &Path) -> Result<()> {
        fs::write(path, "a private key\n").with_context(|| format!("{}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
        Ok(())
    }

    /// Puts a key into the root.
    fn bake(&self) -> Result<()> {
        fs::create_dir_all(self.root.join("etc/dkimkeys"))?;
        self.make_key(&self.root.join(BAKED_KEY.trim_start_matches('/')))
    }

    /// The folder of the key, as it is mounted.
    fn folder_of_keys(&self) -> Result<&str> {
        self.key.parent().and_then(Path::to_str).context("a folder")
    }

    /// Watches the key, and whatever there is in containers.
    fn watch(&self, engine: &Engine) -> Result<Watch> {
        let stores: Vec<String> = engine.store().into_iter().map(|store| store.display().to_string()).collect();
        let users: Vec<&str> = engine.user().into_iter().map(|user| user.name).collect();
        let key = self.key.display().to_string();
        let config = format!("[keys]\npaths = [{key:?}]\n[containers]\nstores = {stores:?}\nusers = {users:?}\n");
        WatchCommand::new().config(config).start()
    }
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").field("folder", &self.folder.path()).finish()
    }
}
