//! `wasi:sockets`: TCP and names.

use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::check::{Fact, Outcome};
use crate::{ensure, given, refused, same};

pub const FACTS: &[Fact] = &[
    ("tcp-socket-has-a-state", states),
    ("tcp-binds-to-its-pod-and-loopback", binds),
    ("tcp-address-is-taken-once", in_use),
    ("tcp-address-of-somebody-else-is-refused", not_ours),
    ("tcp-connects-and-both-sides-talk", talks),
    ("tcp-end-of-one-side-reaches-the-other", shuts),
    ("tcp-connection-is-refused-where-nobody-listens", nobody),
    ("tcp-of-another-family-is-refused", families),
    ("tcp-options-are-kept", options),
    ("tcp-reaches-nothing-that-was-not-granted", denied),
    ("names-of-the-cluster-are-found", names),
    ("names-that-are-none-are-refused", no_names),
];

pub const LOOPBACK: (u8, u8, u8, u8) = (127, 0, 0, 1);

pub fn v4(address: (u8, u8, u8, u8), port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address })
}

fn v6(address: (u16, u16, u16, u16, u16, u16, u16, u16), port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
}

pub fn parts(address: &IpSocketAddress) -> ((u8, u8, u8, u8), u16) {
    match address {
        IpSocketAddress::Ipv4(it) => (it.address, it.port),
        IpSocketAddress::Ipv6(it) => ((0, 0, 0, 0), it.port),
    }
}

fn socket() -> Result<TcpSocket, String> {
    create_tcp_socket(IpAddressFamily::Ipv4).map_err(|error| format!("create a socket: {error:?}"))
}

fn bind(socket: &TcpSocket, to: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), to)?;
    socket.finish_bind()
}

fn listener() -> Result<(TcpSocket, u16), String> {
    let socket = socket()?;
    let listens = || {
        bind(&socket, v4(LOOPBACK, 0))?;
        socket.start_listen()?;
        socket.finish_listen()?;
        socket.local_address()
    };
    let (_, port) = parts(&listens().map_err(|error| format!("listen: {error:?}"))?);
    Ok((socket, port))
}

fn connect(socket: &TcpSocket, to: IpSocketAddress) -> Result<(InputStream, OutputStream), ErrorCode> {
    socket.start_connect(&instance_network(), to)?;
    loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            other => return other,
        }
    }
}

fn accept(socket: &TcpSocket) -> Result<(TcpSocket, InputStream, OutputStream), ErrorCode> {
    loop {
        match socket.accept() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            other => return other,
        }
    }
}

fn read_all(input: &InputStream) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        match input.blocking_read(64 << 10) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => return Ok(all),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn states() -> Outcome {
    let socket = socket()?;
    ensure!(!socket.is_listening());
    same!(socket.address_family(), IpAddressFamily::Ipv4);
    refused!(socket.finish_bind(), ErrorCode::NotInProgress);
    refused!(socket.finish_connect(), ErrorCode::NotInProgress);
    refused!(socket.finish_listen(), ErrorCode::NotInProgress);
    refused!(socket.start_listen(), ErrorCode::InvalidState);
    refused!(socket.accept(), ErrorCode::InvalidState);
    refused!(socket.local_address().map(drop), ErrorCode::InvalidState);
    refused!(socket.remote_address().map(drop), ErrorCode::InvalidState);
    refused!(socket.shutdown(ShutdownType::Both), ErrorCode::InvalidState);
    given!(bind(&socket, v4(LOOPBACK, 0)));
    refused!(socket.start_bind(&instance_network(), v4(LOOPBACK, 0)), ErrorCode::InvalidState);
    given!(socket.start_listen());
    given!(socket.finish_listen());
    ensure!(socket.is_listening());
    refused!(socket.start_connect(&instance_network(), v4(LOOPBACK, 1)), ErrorCode::InvalidState);
    refused!(socket.accept(), ErrorCode::WouldBlock);
    Ok(())
}

fn binds() -> Outcome {
    for address in [LOOPBACK, (0, 0, 0, 0)] {
        let socket = socket()?;
        given!(bind(&socket, v4(address, 0)));
        let (_, port) = parts(&given!(socket.local_address()));
        ensure!(port != 0);
    }
    let socket = socket()?;
    given!(bind(&socket, v4((0, 0, 0, 0), 80)));
    same!(parts(&given!(socket.local_address())).1, 80);
    Ok(())
}

fn in_use() -> Outcome {
    let (one, port) = listener()?;
    let other = socket()?;
    let bound =
        bind(&other, v4(LOOPBACK, port)).and_then(|()| other.start_listen()).and_then(|()| other.finish_listen());
    refused!(bound, ErrorCode::AddressInUse);
    drop(one);
    // With its owner the address is free again.
    let third = socket()?;
    given!(bind(&third, v4(LOOPBACK, port)));
    given!(third.start_listen());
    given!(third.finish_listen());
    Ok(())
}

fn not_ours() -> Outcome {
    for address in [(192, 0, 2, 1), (8, 8, 8, 8)] {
        refused!(bind(&socket()?, v4(address, 0)), ErrorCode::AddressNotBindable, ErrorCode::AccessDenied);
    }
    Ok(())
}

fn talks() -> Outcome {
    let (listener, port) = listener()?;
    let client = socket()?;
    let (from_server, to_server) = given!(connect(&client, v4(LOOPBACK, port)));
    let (server, from_client, to_client) = given!(accept(&listener));
    same!(parts(&given!(client.remote_address())), (LOOPBACK, port));
    same!(parts(&given!(server.remote_address())), parts(&given!(client.local_address())));
    given!(to_server.blocking_write_and_flush(b"question"));
    same!(given!(from_client.blocking_read(100)), b"question");
    given!(to_client.blocking_write_and_flush(b"answer"));
    same!(given!(from_server.blocking_read(100)), b"answer");
    refused!(client.start_connect(&instance_network(), v4(LOOPBACK, port)), ErrorCode::InvalidState);
    drop((from_server, to_server, from_client, to_client));
    Ok(())
}

fn shuts() -> Outcome {
    let (listener, port) = listener()?;
    let client = socket()?;
    let (from_server, to_server) = given!(connect(&client, v4(LOOPBACK, port)));
    let (server, from_client, to_client) = given!(accept(&listener));
    given!(to_server.blocking_write_and_flush(b"all of it"));
    given!(client.shutdown(ShutdownType::Send));
    same!(read_all(&from_client)?, b"all of it");
    ensure!(to_server.blocking_write_and_flush(b"more").is_err());
    given!(to_client.blocking_write_and_flush(b"goodbye"));
    drop(to_client);
    given!(server.shutdown(ShutdownType::Both));
    drop((from_client, server));
    same!(read_all(&from_server)?, b"goodbye");
    drop((from_server, to_server));
    Ok(())
}

fn nobody() -> Outcome {
    refused!(connect(&socket()?, v4(LOOPBACK, 9)).map(drop), ErrorCode::ConnectionRefused);
    refused!(connect(&socket()?, v4(LOOPBACK, 0)).map(drop), ErrorCode::InvalidArgument);
    refused!(connect(&socket()?, v4((0, 0, 0, 0), 9)).map(drop), ErrorCode::InvalidArgument);
    Ok(())
}

fn families() -> Outcome {
    let loopback = v6((0, 0, 0, 0, 0, 0, 0, 1), 0);
    refused!(bind(&socket()?, loopback), ErrorCode::InvalidArgument);
    let six = given!(create_tcp_socket(IpAddressFamily::Ipv6));
    refused!(bind(&six, v4(LOOPBACK, 0)), ErrorCode::InvalidArgument);
    refused!(bind(&six, v6((0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), 0)), ErrorCode::InvalidArgument);
    Ok(())
}

fn options() -> Outcome {
    let socket = socket()?;
    given!(socket.set_keep_alive_enabled(true));
    same!(given!(socket.keep_alive_enabled()), true);
    refused!(socket.set_keep_alive_idle_time(0), ErrorCode::InvalidArgument);
    refused!(socket.set_keep_alive_interval(0), ErrorCode::InvalidArgument);
    refused!(socket.set_keep_alive_count(0), ErrorCode::InvalidArgument);
    refused!(socket.set_hop_limit(0), ErrorCode::InvalidArgument);
    given!(socket.set_hop_limit(42));
    same!(given!(socket.hop_limit()), 42);
    refused!(socket.set_receive_buffer_size(0), ErrorCode::InvalidArgument);
    refused!(socket.set_send_buffer_size(0), ErrorCode::InvalidArgument);
    given!(socket.set_receive_buffer_size(16_384));
    ensure!(given!(socket.receive_buffer_size()) >= 16_384);
    refused!(socket.set_listen_backlog_size(0), ErrorCode::InvalidArgument);
    given!(socket.set_listen_backlog_size(16));
    Ok(())
}

fn denied() -> Outcome {
    // Documentation's networks, a public resolver, and where clouds keep credentials.
    for address in [(192, 0, 2, 1), (8, 8, 8, 8), (169, 254, 169, 254)] {
        refused!(connect(&socket()?, v4(address, 80)).map(drop), ErrorCode::AccessDenied);
    }
    Ok(())
}

fn addresses(name: &str) -> Result<Vec<IpAddress>, ErrorCode> {
    let stream = resolve_addresses(&instance_network(), name)?;
    let mut all = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(address)) => all.push(address),
            Ok(None) => return Ok(all),
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}

fn names() -> Outcome {
    for name in ["echo", "echo.default", "echo.default.svc", "echo.default.svc.cluster.local"] {
        let found = given!(addresses(name));
        ensure!(matches!(found[..], [IpAddress::Ipv4(_)]));
    }
    ensure!(matches!(given!(addresses("localhost"))[..], [IpAddress::Ipv4(LOOPBACK), ..]));
    ensure!(matches!(given!(addresses("192.0.2.7"))[..], [IpAddress::Ipv4((192, 0, 2, 7))]));
    Ok(())
}

fn no_names() -> Outcome {
    let refusals = [
        ErrorCode::InvalidArgument,
        ErrorCode::NameUnresolvable,
        ErrorCode::AccessDenied,
        ErrorCode::PermanentResolverFailure,
    ];
    for name in ["", "no such name", "nobody.default.svc.cluster.local", "example.com", "http://echo", "echo:80"] {
        ensure!(addresses(name).is_err_and(|error| refusals.contains(&error)));
    }
    Ok(())
}
