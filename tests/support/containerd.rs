//! containerd by itself, run for real, with containers that `ctr` starts, and pods as the kubelet would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    Run,
    cri::{Cri, Pod},
    daemon::Daemon,
    engine::said,
};

/// The namespace of `ctr`, and that of Kubernetes.
const NAMESPACES: [&str; 2] = ["default", "k8s.io"];

/// containerd with a root, a state and a socket of its own.
#[derive(Debug)]
pub struct Containerd {
    /// Dropped before its folder.
    daemon: Option<Daemon>,
    folder: tempfile::TempDir,
}

impl Containerd {
    /// Starts it; its pods' own containers are of this image.
    ///
    /// # Errors
    /// It does not start; the message has its log.
    pub fn start(pause: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for containerd")?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (root, state, socket, none) = (at("root"), at("state"), at("socket"), at("none"));
        // Neither a network nor security modules are its own to change here.
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n[grpc]\naddress = {socket:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {pause:?}\ndisable_apparmor = true\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {none:?}\nconf_dir = {none:?}\n"
        );
        let config_at = folder.path().join("config.toml");
        fs::write(&config_at, config)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(config_at);
        let daemon = Some(Daemon::start(command, folder.path())?);
        Ok(Self { daemon, folder })
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Makes an image of a root folder, whose containers sleep unless they are told otherwise, and says its manifest's digest.
    ///
    /// # Errors
    /// Its own.
    pub fn import(&self, root: &Path, image: &str) -> Result<String> {
        let archive = self.archive(root, image)?;
        for namespace in NAMESPACES {
            said(self.ctr(namespace).args(["images", "import"]).arg(&archive))?;
        }
        let listed = said(self.ctr("default").args(["images", "ls", &format!("name=={image}")]))?;
        let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.map(str::to_owned).with_context(|| format!("no digest of {image}: {listed}"))
    }

    /// Runs a container to its end and says its id.
    ///
    /// # Errors
    /// Its own, or the program's in it.
    pub fn run(&self, run: &Run<'_>) -> Result<String> {
        let id = hex(run.name.as_bytes());
        let mut command = self.ctr("default");
        command.args(["run", "--rm", "--label", &format!("app={}", run.name)]);
        // As it does with the cgroupfs driver for nerdctl: a folder for the namespace.
        command.args(["--cgroup", &format!("/default/{id}")]);
        for (from, to) in run.mounts {
            command.args(["--mount", &format!("type=bind,src={from},dst={to},options=rbind:ro")]);
        }
        said(command.arg(run.image).arg(&id).args(run.command))?;
        Ok(id)
    }

    /// Runs a container in a pod to its end, as the kubelet would, and says its id.
    ///
    /// # Errors
    /// Its own.
    pub fn run_in_pod(&self, pod: &Pod<'_>, run: &Run<'_>) -> Result<String> {
        let ran = Cri::connect(&self.socket())?.run(pod, run);
        remove_cgroups(&["kubepods", "burstable", &format!("pod{}", pod.uid)]);
        ran
    }

    fn ctr(&self, namespace: &str) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.socket()).args(["--namespace", namespace]);
        command
    }

    /// An archive of an image as `docker save` writes it: a layer, a configuration, and a list of both.
    fn archive(&self, root: &Path, image: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join("image");
        fs::create_dir_all(&folder)?;
        let tar = |from: &Path, into: &Path, what: &[&str]| {
            let mut tar = Command::new("tar");
            said(tar.arg("--create").arg("--file").arg(into).arg("--directory").arg(from).args(what))
        };
        tar(root, &folder.join("layer.tar"), &["."])?;
        let digest = format!("sha256:{}", hex(&fs::read(folder.join("layer.tar"))?));
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Cmd": ["/bin/sleep", "600"], "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [digest] },
        });
        fs::write(folder.join("config.json"), config.to_string())?;
        let manifest = json!([{ "Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"] }]);
        fs::write(folder.join("manifest.json"), manifest.to_string())?;
        let archive = self.folder.path().join("image.tar");
        tar(&folder, &archive, &["manifest.json", "config.json", "layer.tar"])?;
        Ok(archive)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // What a test that failed has left: a container outlives the daemon.
        for namespace in NAMESPACES {
            let tasks = said(self.ctr(namespace).args(["tasks", "ls", "--quiet"])).unwrap_or_default();
            for task in tasks.split_whitespace() {
                let _ = said(self.ctr(namespace).args(["tasks", "rm", "--force", task]));
            }
        }
        self.daemon = None;
        remove_cgroups(&["default"]);
    }
}

/// Removes control groups that were made around a container, from within, in every hierarchy. What is not empty is somebody else's
/// as well.
fn remove_cgroups(names: &[&str]) {
    let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for tree in trees.chain([PathBuf::from("/sys/fs/cgroup")]) {
        for depth in (1..=names.len()).rev() {
            let group: PathBuf = names.iter().take(depth).collect();
            let _ = fs::remove_dir(tree.join(group));
        }
    }
}

/// A digest, in digits.
fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
