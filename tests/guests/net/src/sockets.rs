//! Sockets and names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use wasip2::io::poll::poll;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasip2::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};

fn said(error: ErrorCode) -> String {
    error.name().to_owned()
}

pub fn addresses(name: &str) -> Result<String, String> {
    let all: Vec<String> = look_up(name)?.iter().map(ToString::to_string).collect();
    Ok(all.join(" "))
}

fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    let stream = ip_name_lookup::resolve_addresses(&instance_network(), name).map_err(said)?;
    let mut all = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(None) => return Ok(all),
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => all.push(Ipv4Addr::new(a, b, c, d).into()),
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                all.push(std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h).into());
            }
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(said(error)),
        }
    }
}

fn wit(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address = (a, b, c, d, e, f, g, h);
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port: v6.port(), flow_info: 0, address, scope_id: 0 })
        }
    }
}

fn shown(address: IpSocketAddress) -> String {
    match address {
        IpSocketAddress::Ipv4(v4) => {
            let (a, b, c, d) = v4.address;
            SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), v4.port).to_string()
        }
        IpSocketAddress::Ipv6(v6) => format!("[v6]:{}", v6.port),
    }
}

fn place(to: &str) -> Result<SocketAddr, String> {
    let (name, port) = to.rsplit_once(':').ok_or("no port")?;
    let port = port.parse().map_err(|_| "no port")?;
    let address = look_up(name.trim_matches(['[', ']']))?.into_iter().next().ok_or("no address")?;
    Ok(SocketAddr::new(address, port))
}

fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

fn connect(to: SocketAddr) -> Result<(TcpSocket, InputStream, OutputStream), String> {
    let socket = tcp_create_socket::create_tcp_socket(family(to)).map_err(said)?;
    socket.start_connect(&instance_network(), wit(to)).map_err(said)?;
    loop {
        match socket.finish_connect() {
            Ok((input, output)) => return Ok((socket, input, output)),
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(error) => return Err(said(error)),
        }
    }
}

fn write(output: &OutputStream, bytes: &[u8]) -> Result<(), String> {
    bytes.chunks(4096).try_for_each(|piece| output.blocking_write_and_flush(piece)).map_err(|error| format!("{error:?}"))
}

fn read_all(input: &InputStream) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        match input.blocking_read(64 << 10) {
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(StreamError::Closed) => return Ok(all),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}

/// Sends a text and its end, and answers all that comes back. A text of `N*C` is N times C.
pub fn tcp(to: &str, text: &str) -> Result<String, String> {
    let (socket, input, output) = connect(place(to)?)?;
    let repeated = text.split_once('*').and_then(|(count, what)| Some(what.repeat(count.parse().ok()?)));
    let long = repeated.is_some();
    // The other side sends back at once, and what it sends must be taken while this side still sends.
    let text = repeated.unwrap_or_else(|| text.to_owned());
    let mut all = Vec::new();
    let mut rest = text.as_bytes();
    let (readable, writable) = (input.subscribe(), output.subscribe());
    while !rest.is_empty() {
        poll(&[&readable, &writable]);
        all.extend(input.read(64 << 10).map_err(|error| format!("{error:?}"))?);
        let room = output.check_write().map_err(|error| format!("{error:?}"))?;
        let (piece, later) = rest.split_at(rest.len().min(room as usize));
        output.write(piece).map_err(|error| format!("{error:?}"))?;
        rest = later;
    }
    drop((readable, writable));
    socket.shutdown(ShutdownType::Send).map_err(said)?;
    all.extend(read_all(&input)?);
    let said = if long { format!("{} bytes", all.len()) } else { String::from_utf8_lossy(&all).into_owned() };
    Ok(said)
}

/// Opens connections until it may not, and keeps them; says how many there were and why no more.
pub fn hold(to: &str, count: usize) -> String {
    let to = match place(to) {
        Ok(to) => to,
        Err(error) => return format!("error {error}"),
    };
    let mut held = Vec::new();
    while held.len() < count {
        match connect(to) {
            // Streams go before their socket.
            Ok((socket, input, output)) => held.push((input, output, socket)),
            Err(error) => return format!("{} connections, then error {error}", held.len()),
        }
    }
    format!("{} connections", held.len())
}

/// Serves for ever: an HTTP request is answered, any other bytes come back behind the caller's address.
pub fn serve(at: &str) -> Result<String, String> {
    let at: SocketAddr = at.parse().map_err(|_| "no address")?;
    let socket = tcp_create_socket::create_tcp_socket(family(at)).map_err(said)?;
    socket.start_bind(&instance_network(), wit(at)).map_err(said)?;
    socket.finish_bind().map_err(said)?;
    socket.start_listen().map_err(said)?;
    socket.finish_listen().map_err(said)?;
    println!("listening at {}", shown(socket.local_address().map_err(said)?));
    loop {
        match socket.accept() {
            Ok((caller, input, output)) => {
                let from = shown(caller.remote_address().map_err(said)?);
                if let Err(error) = answer(&from, &caller, &input, &output) {
                    println!("{from}: error {error}");
                }
            }
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(error) => return Err(said(error)),
        }
    }
}

fn answer(from: &str, caller: &TcpSocket, input: &InputStream, output: &OutputStream) -> Result<(), String> {
    let mut first = match input.blocking_read(64 << 10) {
        Ok(first) => first,
        Err(StreamError::Closed) => return Ok(()),
        Err(error) => return Err(format!("{error:?}")),
    };
    if first.starts_with(b"GET ") {
        let line = String::from_utf8_lossy(&first).lines().next().unwrap_or_default().to_owned();
        let text = format!("program answers {line}\n");
        write(output, format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len()).as_bytes())?;
        return caller.shutdown(ShutdownType::Send).map_err(said);
    }
    if first.len() < 100 {
        write(output, format!("{} says ", from.split(':').next().unwrap_or_default()).as_bytes())?;
    }
    loop {
        write(output, &first)?;
        first = match input.blocking_read(64 << 10) {
            Ok(more) => more,
            Err(StreamError::Closed) => return caller.shutdown(ShutdownType::Send).map_err(said),
            Err(error) => return Err(format!("{error:?}")),
        };
    }
}

fn udp_socket(port: u16) -> Result<UdpSocket, String> {
    let socket = udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4).map_err(said)?;
    let any = SocketAddr::from(([0, 0, 0, 0], port));
    socket.start_bind(&instance_network(), wit(any)).map_err(said)?;
    socket.finish_bind().map_err(said)?;
    Ok(socket)
}

/// Sends a datagram, and answers the one that comes back.
pub fn udp(to: &str, text: &str) -> Result<String, String> {
    let to = place(to)?;
    let socket = udp_socket(0)?;
    let (incoming, outgoing) = socket.stream(Some(wit(to))).map_err(said)?;
    outgoing.check_send().map_err(said)?;
    outgoing.send(&[OutgoingDatagram { data: text.into(), remote_address: None }]).map_err(said)?;
    loop {
        let received = incoming.receive(1).map_err(said)?;
        match received.first() {
            Some(datagram) => return Ok(String::from_utf8_lossy(&datagram.data).into_owned()),
            None => incoming.subscribe().block(),
        }
    }
}

/// Sends each datagram back, for ever.
pub fn udp_serve(port: u16) -> Result<String, String> {
    let socket = udp_socket(port)?;
    println!("listening at {}", shown(socket.local_address().map_err(said)?));
    let (incoming, outgoing) = socket.stream(None).map_err(said)?;
    loop {
        for datagram in incoming.receive(16).map_err(said)? {
            outgoing.check_send().map_err(said)?;
            let data = [b"back: ".as_slice(), &datagram.data].concat();
            outgoing.send(&[OutgoingDatagram { data, remote_address: Some(datagram.remote_address) }]).map_err(said)?;
        }
        incoming.subscribe().block();
    }
}
