//! Sockets and names.

use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket,
};
use wasip3::wit_stream;

async fn addresses(name: &str) -> Result<Vec<IpAddress>, String> {
    resolve_addresses(name.to_owned()).await.map_err(|error| format!("{error:?}"))
}

pub async fn look_up(name: &str) -> Result<String, String> {
    let shown = |address: IpAddress| match address {
        IpAddress::Ipv4((a, b, c, d)) => format!("{a}.{b}.{c}.{d}"),
        IpAddress::Ipv6(_) => "v6".to_owned(),
    };
    Ok(addresses(name).await?.into_iter().map(shown).collect::<Vec<_>>().join(" "))
}

/// The first address of IPv4, and the port.
async fn place(to: &str) -> Result<IpSocketAddress, String> {
    let (name, port) = to.rsplit_once(':').ok_or("no port")?;
    let port = port.parse().map_err(|_| "no port")?;
    let v4 = |address| if let IpAddress::Ipv4(v4) = address { Some(v4) } else { None };
    let address = addresses(name).await?.into_iter().find_map(v4).ok_or("no address")?;
    Ok(IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
}

/// Sends a text and its end, and answers all that comes back.
pub async fn tcp(to: &str, text: &str) -> Result<String, String> {
    let to = place(to).await?;
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.connect(to).await.map_err(|error| format!("{error:?}"))?;
    let (mut incoming, ended) = socket.receive();
    let (mut writer, reader) = wit_stream::new();
    let sent = socket.send(reader);
    let bytes = text.as_bytes().to_vec();
    wasip3::wit_bindgen::spawn_local(async move {
        writer.write_all(bytes).await;
    });
    sent.await.map_err(|error| format!("{error:?}"))?;
    let mut all = Vec::new();
    while let Some(byte) = incoming.next().await {
        all.push(byte);
    }
    ended.await.map_err(|error| format!("{error:?}"))?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Takes one connection, and sends back what comes.
pub async fn serve(port: u16) -> Result<String, String> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    let any = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (0, 0, 0, 0) });
    socket.bind(any).map_err(|error| format!("{error:?}"))?;
    let mut callers = socket.listen().map_err(|error| format!("{error:?}"))?;
    let caller = callers.next().await.ok_or("no caller")?;
    let (incoming, ended) = caller.receive();
    caller.send(incoming).await.map_err(|error| format!("{error:?}"))?;
    ended.await.map_err(|error| format!("{error:?}"))?;
    Ok("served".to_owned())
}

/// Sends a datagram, and answers the one that comes back.
pub async fn udp(to: &str, text: &str) -> Result<String, String> {
    let to = place(to).await?;
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.send(text.as_bytes().to_vec(), Some(to)).await.map_err(|error| format!("{error:?}"))?;
    let (data, _) = socket.receive().await.map_err(|error| format!("{error:?}"))?;
    Ok(String::from_utf8_lossy(&data).into_owned())
}
