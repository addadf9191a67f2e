//! `wasi:sockets`: UDP.

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasip2::sockets::udp::{
    IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::check::{Fact, Outcome};
use crate::tcp::{LOOPBACK, parts, v4};
use crate::{ensure, given, refused, same};

pub const FACTS: &[Fact] = &[
    ("udp-socket-has-a-state", states),
    ("udp-datagrams-arrive-whole-and-with-their-sender", arrives),
    ("udp-that-is-connected-hears-only-the-other", connected),
    ("udp-without-an-address-is-refused", nowhere),
    ("udp-options-are-kept", options),
    ("udp-reaches-nothing-that-was-not-granted", denied),
];

fn socket() -> Result<UdpSocket, String> {
    create_udp_socket(IpAddressFamily::Ipv4).map_err(|error| format!("create a socket: {error:?}"))
}

/// A socket at a port of the loopback, and that address.
fn bound() -> Result<(UdpSocket, IpSocketAddress), String> {
    let socket = socket()?;
    let binds = || {
        socket.start_bind(&instance_network(), v4(LOOPBACK, 0))?;
        socket.finish_bind()?;
        socket.local_address()
    };
    let address = binds().map_err(|error| format!("bind: {error:?}"))?;
    Ok((socket, address))
}

fn send(stream: &OutgoingDatagramStream, data: &[u8], to: Option<IpSocketAddress>) -> Result<u64, ErrorCode> {
    while stream.check_send()? == 0 {
        stream.subscribe().block();
    }
    stream.send(&[OutgoingDatagram { data: data.to_vec(), remote_address: to }])
}

fn receive(stream: &IncomingDatagramStream) -> Result<IncomingDatagram, ErrorCode> {
    loop {
        if let Some(datagram) = stream.receive(1)?.pop() {
            return Ok(datagram);
        }
        stream.subscribe().block();
    }
}

fn states() -> Outcome {
    let socket = socket()?;
    same!(socket.address_family(), IpAddressFamily::Ipv4);
    refused!(socket.finish_bind(), ErrorCode::NotInProgress);
    refused!(socket.local_address().map(drop), ErrorCode::InvalidState);
    refused!(socket.remote_address().map(drop), ErrorCode::InvalidState);
    refused!(socket.stream(None).map(drop), ErrorCode::InvalidState);
    given!(socket.start_bind(&instance_network(), v4(LOOPBACK, 0)));
    given!(socket.finish_bind());
    refused!(socket.start_bind(&instance_network(), v4(LOOPBACK, 0)), ErrorCode::InvalidState);
    Ok(())
}

fn arrives() -> Outcome {
    let ((one, at_one), (other, at_other)) = (bound()?, bound()?);
    let (to_one, from_one) = given!(one.stream(None));
    let (to_other, from_other) = given!(other.stream(None));
    for data in [&b"first"[..], b"", &[7; 1200]] {
        same!(given!(send(&from_one, data, Some(at_other))), 1);
        let heard = given!(receive(&to_other));
        same!(heard.data, data);
        same!(parts(&heard.remote_address), parts(&at_one));
    }
    same!(given!(send(&from_other, b"back", Some(at_one))), 1);
    same!(given!(receive(&to_one)).data, b"back");
    ensure!(given!(to_one.receive(5)).is_empty());
    drop((to_one, from_one, to_other, from_other));
    Ok(())
}

fn connected() -> Outcome {
    let ((one, at_one), (other, at_other), (stranger, _)) = (bound()?, bound()?, bound()?);
    let (heard, _) = given!(one.stream(Some(at_other)));
    same!(parts(&given!(one.remote_address())), parts(&at_other));
    let (_, from_stranger) = given!(stranger.stream(None));
    let (_, from_other) = given!(other.stream(Some(at_one)));
    given!(send(&from_stranger, b"from a stranger", Some(at_one)));
    given!(send(&from_other, b"from the other", None));
    same!(given!(receive(&heard)).data, b"from the other");
    refused!(send(&from_other, b"x", Some(at_other)), ErrorCode::InvalidArgument);
    Ok(())
}

fn nowhere() -> Outcome {
    let (socket, _) = bound()?;
    let (_, stream) = given!(socket.stream(None));
    refused!(send(&stream, b"x", None), ErrorCode::InvalidArgument);
    refused!(send(&stream, b"x", Some(v4(LOOPBACK, 0))), ErrorCode::InvalidArgument);
    refused!(send(&stream, b"x", Some(v4((0, 0, 0, 0), 9))), ErrorCode::InvalidArgument);
    Ok(())
}

fn options() -> Outcome {
    let socket = socket()?;
    refused!(socket.set_unicast_hop_limit(0), ErrorCode::InvalidArgument);
    given!(socket.set_unicast_hop_limit(42));
    same!(given!(socket.unicast_hop_limit()), 42);
    refused!(socket.set_send_buffer_size(0), ErrorCode::InvalidArgument);
    given!(socket.set_receive_buffer_size(16_384));
    ensure!(given!(socket.receive_buffer_size()) >= 16_384);
    Ok(())
}

fn denied() -> Outcome {
    let socket = socket()?;
    given!(socket.start_bind(&instance_network(), v4((0, 0, 0, 0), 0)));
    given!(socket.finish_bind());
    let (_, stream) = given!(socket.stream(None));
    for address in [(192, 0, 2, 1), (8, 8, 8, 8)] {
        refused!(send(&stream, b"x", Some(v4(address, 53))), ErrorCode::AccessDenied, ErrorCode::RemoteUnreachable);
    }
    Ok(())
}
