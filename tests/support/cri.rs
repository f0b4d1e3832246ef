//! A kubelet's part: a pod, and a container in it, asked for by CRI (Kubernetes,
//! `staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`; of each message, the fields that are set or read here).

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use hyper::http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::Run;

/// How long an image or a container's end is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is asked: CRI has no way to be told.
const OFTEN: Duration = Duration::from_millis(50);

/// `CONTAINER_EXITED`.
const EXITED: i32 = 2;
/// `NODE`, of the kinds of namespaces: the host's own.
const OF_THE_HOST: i32 = 2;
/// `CONTAINER`: one of its own, which is the kubelet's default for processes.
const OF_ITS_OWN: i32 = 1;

/// A pod.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

/// Who asks.
pub(super) struct Cri {
    runtime: Runtime,
    asker: Grpc<Channel>,
}

impl Cri {
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.connect())?;
        Ok(Self { runtime, asker: Grpc::new(channel) })
    }

    fn ask<Q: Message + 'static, A: Message + Default + 'static>(
        &mut self,
        method: &'static str,
        question: Q,
    ) -> Result<A> {
        let asker = &mut self.asker;
        let answer = self.runtime.block_on(async {
            asker.ready().await.context("the socket")?;
            let codec = ProstCodec::<Q, A>::default();
            asker.unary(Request::new(question), PathAndQuery::from_static(method), codec).await.context(method)
        })?;
        Ok(answer.into_inner())
    }

    /// Runs a container in a pod to its end, and says its id.
    pub(super) fn run(&mut self, pod: &Pod<'_>, run: &Run<'_>) -> Result<String> {
        self.wait_for(|cri| {
            let image = Some(ImageSpec { image: run.image.to_owned() });
            let known: ImageStatusResponse =
                cri.ask("/runtime.v1.ImageService/ImageStatus", ImageStatusRequest { image })?;
            Ok(known.image.is_some())
        })
        .context("the image, which CRI learns of a moment after it was imported")?;
        let sandbox_config = Some(sandbox(pod));
        let made: RunPodSandboxResponse = self
            .ask("/runtime.v1.RuntimeService/RunPodSandbox", RunPodSandboxRequest { config: sandbox_config.clone() })?;
        let pod_sandbox_id = made.pod_sandbox_id;
        let ran = self.run_in(&pod_sandbox_id, sandbox_config, pod, run);
        let _: Empty = self
            .ask("/runtime.v1.RuntimeService/StopPodSandbox", PodSandbox { pod_sandbox_id: pod_sandbox_id.clone() })?;
        let _: Empty = self.ask("/runtime.v1.RuntimeService/RemovePodSandbox", PodSandbox { pod_sandbox_id })?;
        ran
    }

    fn run_in(
        &mut self,
        sandbox: &str,
        sandbox_config: Option<PodSandboxConfig>,
        pod: &Pod<'_>,
        run: &Run<'_>,
    ) -> Result<String> {
        let mounts = run.mounts.iter().map(|(host, container)| Mount {
            container_path: (*container).to_owned(),
            host_path: (*host).to_owned(),
            readonly: true,
        });
        let labels = [
            ("app", run.name),
            ("io.kubernetes.container.name", run.name),
            ("io.kubernetes.pod.name", pod.name),
            ("io.kubernetes.pod.namespace", pod.namespace),
        ];
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: run.name.to_owned() }),
            image: Some(ImageSpec { image: run.image.to_owned() }),
            command: run.command.iter().map(|word| (*word).to_owned()).collect(),
            mounts: mounts.collect(),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext { namespace_options: Some(namespaces()) }),
            }),
        };
        let question =
            CreateContainerRequest { pod_sandbox_id: sandbox.to_owned(), config: Some(config), sandbox_config };
        let made: Container = self.ask("/runtime.v1.RuntimeService/CreateContainer", question)?;
        let _: Empty = self.ask("/runtime.v1.RuntimeService/StartContainer", made.clone())?;
        self.wait_for(|cri| {
            let known: ContainerStatusResponse = cri.ask("/runtime.v1.RuntimeService/ContainerStatus", made.clone())?;
            Ok(known.status.is_some_and(|status| status.state == EXITED))
        })
        .context("the container's end")?;
        Ok(made.container_id)
    }

    fn wait_for(&mut self, mut is_there: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !is_there(self)? {
            if std::time::Instant::now() > deadline {
                bail!("not within {PATIENCE:?}");
            }
            self.runtime.block_on(async { tokio::time::sleep(OFTEN).await });
        }
        Ok(())
    }
}

fn namespaces() -> NamespaceOption {
    NamespaceOption { network: OF_THE_HOST, pid: OF_ITS_OWN }
}

/// A pod on the host's network, in the control group where the kubelet would put it.
fn sandbox(pod: &Pod<'_>) -> PodSandboxConfig {
    let metadata =
        PodSandboxMetadata { name: pod.name.to_owned(), uid: pod.uid.to_owned(), namespace: pod.namespace.to_owned() };
    let namespace_options = Some(namespaces());
    PodSandboxConfig {
        metadata: Some(metadata),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/kubepods/burstable/pod{}", pod.uid),
            security_context: Some(LinuxSandboxSecurityContext { namespace_options }),
        }),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Empty>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

/// `StopPodSandboxRequest` and `RemovePodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<LinuxSandboxSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
    #[prost(int32, tag = "2")]
    pid: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
    #[prost(map = "string, string", tag = "9")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainerConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    security_context: Option<LinuxContainerSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxContainerSecurityContext {
    #[prost(message, optional, tag = "3")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
    #[prost(bool, tag = "3")]
    readonly: bool,
}

/// `CreateContainerResponse`, `StartContainerRequest` and `ContainerStatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatus {
    #[prost(int32, tag = "3")]
    state: i32,
}
