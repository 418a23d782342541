//! The sockets a server listens on, bound before anything else can go wrong with them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::error::ServerError;
use crate::options::{ServerOptions, listen_addresses};

/// Bound sockets for clients and for peers.
#[derive(Debug)]
pub struct Listeners {
    client: Vec<TcpListener>,
    peer: Vec<TcpListener>,
}

impl Listeners {
    /// Binds what the options name.
    pub fn bind(options: &ServerOptions) -> Result<Self, ServerError> {
        Ok(Listeners {
            client: bind_all(&options.listen_client, options.insecure)?,
            peer: bind_all(&options.listen_peer, options.insecure)?,
        })
    }

    /// Where clients can connect.
    #[must_use]
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.client)
    }

    /// Where peers can connect.
    #[must_use]
    pub fn peer_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.peer)
    }

    /// Whether only this machine can reach them.
    pub(crate) fn are_loopback(&self) -> bool {
        are_loopback(&self.client) && are_loopback(&self.peer)
    }

    /// Second handles on the peers' sockets, for the runtime this is called in.
    pub(crate) fn peers_to_tokio(&self) -> io::Result<Vec<tokio::net::TcpListener>> {
        let convert = |socket: &TcpListener| tokio::net::TcpListener::from_std(socket.try_clone()?);
        self.peer.iter().map(convert).collect()
    }

    /// The sockets, for the runtime this is called in: clients', then peers'.
    pub(crate) fn into_tokio(
        self,
    ) -> io::Result<(Vec<tokio::net::TcpListener>, Vec<tokio::net::TcpListener>)> {
        let convert = |sockets: Vec<TcpListener>| -> io::Result<Vec<_>> {
            sockets.into_iter().map(tokio::net::TcpListener::from_std).collect()
        };
        Ok((convert(self.client)?, convert(self.peer)?))
    }
}

fn addresses(sockets: &[TcpListener]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
}

/// Whether only this machine can reach these sockets.
pub(crate) fn are_loopback(sockets: &[TcpListener]) -> bool {
    let is_loopback =
        |socket: &TcpListener| socket.local_addr().is_ok_and(|a| a.ip().is_loopback());
    sockets.iter().all(is_loopback)
}

/// Binds what these name: `host:port` or `http://host:port`; port 0 picks a free one.
pub(crate) fn bind_all(urls: &[String], insecure: bool) -> Result<Vec<TcpListener>, ServerError> {
    let mut sockets = Vec::new();
    for url in urls {
        for address in listen_addresses(url, insecure)? {
            let socket = bind(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => {
                    ServerError::AddressInUse { address: address.to_string() }
                }
                _ => ServerError::Listen { address: address.to_string(), source },
            })?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let mut options = ServerOptions::new("unused", "n1");
        let first = Listeners::bind(&options).unwrap();
        let taken = first.client_addresses()[0].to_string();
        options.listen_peer = vec![taken.clone()];
        match Listeners::bind(&options) {
            Err(ServerError::AddressInUse { address }) => assert_eq!(address, taken),
            other => panic!("{other:?}"),
        }
    }
}
