//! containerd's own services: `Namespaces`, `Containers` and `Images` (containerd, `api/services/*/v1/*.proto`). Of each message, the
//! fields that are asked for; the number of a field is its number there.

use std::{collections::HashMap, path::Path};

use chrono::{DateTime, SecondsFormat};

use super::{SocketFault, grpc::Asker, socket::Socket};
use crate::containers::{Details, Image, Labels, bundle, json::cut};

/// Namespaces that are looked into. A host has one or two.
const NAMESPACES: usize = 64;

/// Asks for a container in each of the namespaces.
pub(super) async fn find(socket: &Socket, id: &str, labels: &Labels) -> Result<Details, SocketFault> {
    let mut asker = Asker::connect(socket).await?;
    let listed: Option<ListNamespacesResponse> =
        asker.ask("/containerd.services.namespaces.v1.Namespaces/List", ListNamespacesRequest {}, None).await?;
    let namespaces = listed.unwrap_or_default().namespaces;
    // Docker's containers are asked for at Docker's socket.
    for namespace in namespaces.into_iter().take(NAMESPACES).filter(|namespace| namespace.name != "moby") {
        let (name, get) = (namespace.name.as_str(), GetContainerRequest { id: id.to_owned() });
        let found: Option<GetContainerResponse> =
            asker.ask("/containerd.services.containers.v1.Containers/Get", get, Some(name)).await?;
        let Some(container) = found.and_then(|found| found.container) else { continue };
        if container.id != id {
            return Err(SocketFault::Garbage("the answer is about another container".to_owned()));
        }
        let get = GetImageRequest { name: container.image.clone() };
        // The image's name may have been taken away: its container goes on.
        let image: Option<GetImageResponse> =
            asker.ask("/containerd.services.images.v1.Images/Get", get, Some(name)).await.unwrap_or_default();
        let digest = image.and_then(|found| found.image?.target).map(|target| target.digest);
        return Ok(details(&container, digest, name, labels));
    }
    Err(SocketFault::NoSuchContainer)
}

fn details(container: &Container, digest: Option<String>, namespace: &str, labels: &Labels) -> Details {
    let spec = container.spec.as_ref().and_then(|spec| serde_json::from_slice(&spec.value).ok());
    // The folder that it was started from is not said, so that a path in the specification that is relative to it leads nowhere.
    let spec = spec.map(|spec| bundle::of_spec(&spec, Path::new(""), labels)).unwrap_or_default();
    let text = |text: &str| (!text.is_empty()).then(|| cut(text));
    let label = |name: &str| container.labels.get(name).and_then(|value| text(value));
    let told = Details {
        name: label("nerdctl/name").or_else(|| label("io.kubernetes.container.name")),
        image: image(&container.image, digest),
        pod: label("io.kubernetes.pod.name"),
        namespace: label("io.kubernetes.pod.namespace"),
        labels: labels.of(container.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        created: container.created_at.as_ref().and_then(|at| time(at.seconds, at.nanos)),
        ..Details::default()
    };
    let mut told = told.completed_by(spec);
    told.namespace = told.namespace.or_else(|| text(namespace));
    told
}

/// An image: its name, or, where it was asked for by that, its digest.
fn image(name: &str, digest: Option<String>) -> Option<Image> {
    let digests: Vec<String> =
        digest.filter(|digest| !digest.is_empty()).map(|digest| cut(&digest)).into_iter().collect();
    match name {
        "" => None,
        id if id.starts_with("sha256:") => Some(Image { name: None, id: Some(cut(id)), digests }),
        name => Some(Image { name: Some(cut(name)), id: None, digests }),
    }
}

/// A moment, as text.
pub(super) fn time(seconds: i64, nanoseconds: i32) -> Option<String> {
    let at = DateTime::from_timestamp(seconds, u32::try_from(nanoseconds).ok()?)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Nanos, true))
}

/// `namespaces.proto`, as are the next two.
#[derive(Clone, PartialEq, prost::Message)]
struct ListNamespacesRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct ListNamespacesResponse {
    #[prost(message, repeated, tag = "1")]
    namespaces: Vec<Namespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Namespace {
    #[prost(string, tag = "1")]
    name: String,
}

/// `containers.proto`, as are the next two.
#[derive(Clone, PartialEq, prost::Message)]
struct GetContainerRequest {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetContainerResponse {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    /// The image's name.
    #[prost(string, tag = "3")]
    image: String,
    /// What the OCI runtime is given, in JSON.
    #[prost(message, optional, tag = "5")]
    spec: Option<Any>,
    #[prost(message, optional, tag = "8")]
    created_at: Option<Timestamp>,
}

/// `google/protobuf/any.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google/protobuf/timestamp.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `images.proto`, as are the next two.
#[derive(Clone, PartialEq, prost::Message)]
struct GetImageRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetImageResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<StoredImage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredImage {
    #[prost(message, optional, tag = "3")]
    target: Option<Descriptor>,
}

/// `api/types/descriptor.proto`: here, of the image's manifest, or of the index of those for several machines.
#[derive(Clone, PartialEq, prost::Message)]
struct Descriptor {
    #[prost(string, tag = "2")]
    digest: String,
}
