//! The runtime's side of Kubernetes, CRI: `RuntimeService.ContainerStatus` (Kubernetes,
//! `staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`). Of each message, the fields that are asked for; the number of a field
//! is its number there.

use std::{collections::HashMap, path::Path};

use serde_json::Value;

use super::{SocketFault, containerd::time, grpc::Asker, socket::Socket};
use crate::containers::{
    Details, Image, Labels, MOST, Mount, bundle,
    json::{absolute, cut},
};

/// Asks for a container.
pub(super) async fn find(socket: &Socket, id: &str, labels: &Labels) -> Result<Details, SocketFault> {
    let mut asker = Asker::connect(socket).await?;
    // Only who asks for everything is told whether it is privileged.
    let question = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let found: Option<ContainerStatusResponse> =
        asker.ask("/runtime.v1.RuntimeService/ContainerStatus", question, None).await?;
    let found = found.ok_or(SocketFault::NoSuchContainer)?;
    let status = found.status.ok_or_else(|| SocketFault::Garbage("the answer is empty".to_owned()))?;
    if status.id != id {
        return Err(SocketFault::Garbage("the answer is about another container".to_owned()));
    }
    let info = found.info.get("info").and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
    Ok(details(status, &info, labels))
}

fn details(status: ContainerStatus, info: &Value, labels: &Labels) -> Details {
    let text = |text: &str| (!text.is_empty()).then(|| cut(text));
    let label = |name: &str| status.labels.get(name).and_then(|value| text(value));
    let told = Details {
        name: status.metadata.as_ref().and_then(|metadata| text(&metadata.name)),
        image: Some(image(&status)),
        pod: label("io.kubernetes.pod.name"),
        namespace: label("io.kubernetes.pod.namespace"),
        labels: labels.of(status.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        created: Some(status.created_at).filter(|at| *at > 0).and_then(created),
        privileged: privileged(info),
        mounts: status.mounts.iter().take(MOST).filter_map(mount).collect(),
        ..Details::default()
    };
    match info.pointer("/runtimeSpec") {
        Some(spec) => told.completed_by(bundle::of_spec(spec, Path::new(""), labels)),
        None => told,
    }
}

/// The image, by its name or its digests as the runtime has them: `image` is what was asked for, and may be an id; `image_ref` is an id,
/// or a name with a digest.
fn image(status: &ContainerStatus) -> Image {
    let asked = status.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
    let is_id = |text: &str| text.starts_with("sha256:");
    let id = [status.image_id.as_str(), status.image_ref.as_str(), asked].into_iter().find(|text| is_id(text));
    Image {
        name: Some(asked).filter(|name| !name.is_empty() && !is_id(name)).map(cut),
        id: id.map(cut),
        digests: status.image_ref.rsplit_once('@').map(|(_, digest)| cut(digest)).into_iter().collect(),
    }
}

/// CRI-O says it either way. containerd's plugin gives the configuration that it was asked for, without what is `false`.
fn privileged(info: &Value) -> Option<bool> {
    let said = |place: &str| info.pointer(place).and_then(Value::as_bool);
    let configured = info.get("config").filter(|config| config.is_object());
    said("/privileged")
        .or_else(|| configured.map(|_| said("/config/linux/security_context/privileged").unwrap_or(false)))
}

fn mount(mount: &StatusMount) -> Option<Mount> {
    Some(Mount { source: absolute(&mount.host_path)?, destination: absolute(&mount.container_path)?, volume: None })
}

/// A moment in nanoseconds, as text.
fn created(ns: i64) -> Option<String> {
    const SECOND: i64 = 1_000_000_000;
    time(ns.div_euclid(SECOND), i32::try_from(ns.rem_euclid(SECOND)).ok()?)
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
    /// JSON, whose shape is the runtime's.
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatus {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<ContainerMetadata>,
    /// Nanoseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(message, optional, tag = "8")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    image_ref: String,
    #[prost(map = "string, string", tag = "12")]
    labels: HashMap<String, String>,
    #[prost(message, repeated, tag = "14")]
    mounts: Vec<StatusMount>,
    /// Since Kubernetes 1.29.
    #[prost(string, tag = "17")]
    image_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

/// `Mount` there.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusMount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
}
