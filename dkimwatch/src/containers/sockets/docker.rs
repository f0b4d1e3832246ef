//! Docker's API, and Podman's that is like it: `GET /containers/ID/json` and `GET /images/ID/json` (moby, `api/swagger.yaml`).

use std::path::PathBuf;

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker,
    errors::Error,
    models::{ContainerInspectResponse, MountPoint},
    query_parameters::InspectContainerOptions,
};
use hyper::{
    Response,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncReadExt as _, net::UnixStream};

use super::{
    LONGEST, PATIENCE, SocketFault,
    fault::{said, shown},
    socket::Socket,
};
use crate::containers::{
    Details, Image, Labels, MOST, Mount,
    json::{absolute, cut},
};

/// Asks about a container, and about its image.
pub(super) async fn find(socket: &Socket, id: &str, labels: &Labels) -> Result<Details, SocketFault> {
    let place = socket.place();
    let talk = move |request| talk(place.clone(), request);
    let address = Some("http://localhost");
    let docker = Docker::connect_with_custom_transport(talk, address, PATIENCE.as_secs(), API_DEFAULT_VERSION)
        .map_err(|error| fault(&error))?;
    let found = docker.inspect_container(id, None::<InspectContainerOptions>).await.map_err(|error| fault(&error))?;
    if found.id.as_deref() != Some(id) {
        return Err(SocketFault::Garbage("the answer is about another container".to_owned()));
    }
    let mut details = details(found, labels);
    // The image may be gone: its container goes on.
    if let Some(image) = details.image.as_mut()
        && let Some(id) = image.id.as_deref().filter(|id| is_digest(id))
        && let Ok(known) = docker.inspect_image(id).await
    {
        let digests = known.repo_digests.unwrap_or_default().into_iter().take(MOST);
        image.digests = digests.filter_map(|name| name.rsplit_once('@').map(|(_, digest)| cut(digest))).collect();
        image.digests.sort();
        image.digests.dedup();
    }
    Ok(details)
}

/// One request, on a connection of its own, with an answer of a bounded length.
async fn talk(place: PathBuf, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let (read, write) = UnixStream::connect(place).await?.into_split();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let stream = TokioIo::new(tokio::io::join(read.take(limit), write));
    let (mut asker, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    Ok(asker.send_request(request).await?)
}

fn details(found: ContainerInspectResponse, labels: &Labels) -> Details {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| cut(&text));
    let config = found.config.unwrap_or_default();
    let known = config.labels.unwrap_or_default();
    let driver = found.graph_driver.map(|driver| driver.data).unwrap_or_default();
    Details {
        name: text(found.name).map(|name| name.trim_start_matches('/').to_owned()),
        image: Some(Image {
            name: text(config.image),
            // Podman's is without the kind of digest.
            id: text(found.image).map(|id| if id.contains(':') { id } else { format!("sha256:{id}") }),
            digests: Vec::new(),
        }),
        labels: labels.of(known.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        created: text(found.created),
        privileged: found.host_config.and_then(|host| host.privileged),
        mounts: found.mounts.unwrap_or_default().into_iter().take(MOST).filter_map(mount).collect(),
        // Where the driver is `overlay2`, or Podman's `overlay`.
        root: driver.get("MergedDir").and_then(|root| absolute(root)),
        ..Details::default()
    }
}

fn mount(point: MountPoint) -> Option<Mount> {
    Some(Mount {
        source: absolute(&point.source?)?,
        destination: absolute(&point.destination?)?,
        volume: point.name.filter(|name| !name.is_empty()).map(|name| cut(&name)),
    })
}

/// `sha256:…`: what can stand in a request's path.
fn is_digest(id: &str) -> bool {
    id.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn fault(error: &Error) -> SocketFault {
    match error {
        Error::DockerResponseServerError { status_code: 404, .. } => SocketFault::NoSuchContainer,
        Error::DockerResponseServerError { status_code, message } => {
            SocketFault::Refused(shown(&format!("{message} (status {status_code})")))
        }
        Error::IOError { .. } => SocketFault::Unreachable(said(error)),
        Error::RequestTimeoutError => SocketFault::TooLate(PATIENCE),
        _ => SocketFault::Garbage(said(error)),
    }
}
