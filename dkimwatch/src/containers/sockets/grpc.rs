//! gRPC at a socket: one call, one answer, and no more of it than that.

use hyper::http::uri::PathAndQuery;
use prost::Message;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    LONGEST, SocketFault,
    fault::{said, shown},
    socket::Socket,
};

/// Who asks.
pub(super) struct Asker(Grpc<Channel>);

impl Asker {
    /// Connects.
    pub(super) async fn connect(socket: &Socket) -> Result<Self, SocketFault> {
        let unreachable = |error: tonic::transport::Error| SocketFault::Unreachable(said(&error));
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.place().display())).map_err(unreachable)?;
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self(Grpc::new(channel).max_decoding_message_size(LONGEST)))
    }

    /// Asks one thing. `None` where the answer is that there is no such thing. `namespace` is containerd's.
    pub(super) async fn ask<Q, A>(
        &mut self,
        method: &'static str,
        question: Q,
        namespace: Option<&str>,
    ) -> Result<Option<A>, SocketFault>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut request = Request::new(question);
        if let Some(namespace) = namespace {
            // A name that can stand in no header is nobody's: containerd's own are letters, digits and dashes.
            let Ok(name) = MetadataValue::<Ascii>::try_from(namespace) else { return Ok(None) };
            request.metadata_mut().insert("containerd-namespace", name);
        }
        self.0.ready().await.map_err(|error| SocketFault::Unreachable(said(&error)))?;
        let codec = ProstCodec::<Q, A>::default();
        match self.0.unary(request, PathAndQuery::from_static(method), codec).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(fault(&status)),
        }
    }
}

fn fault(status: &Status) -> SocketFault {
    let said = match std::error::Error::source(status) {
        Some(_) => said(status),
        None => shown(&format!("{}: {}", status.code(), status.message())),
    };
    match status.code() {
        Code::Unavailable => SocketFault::Unreachable(said),
        // It speaks gRPC, but knows no such service; or what came is no gRPC.
        Code::Unimplemented | Code::Internal | Code::Unknown | Code::OutOfRange | Code::DataLoss => {
            SocketFault::Garbage(said)
        }
        _ => SocketFault::Refused(said),
    }
}
