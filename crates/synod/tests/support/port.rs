//! Ports for servers that must keep them over a restart.
//!
//! They lie below the range from which the operating system takes the ports of outgoing connections:
//! a client that dials a server which is down would else be given, once in a while, that very port.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Neighbouring loopback ports that no other test uses as long as this lives.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    /// The UDP ports of the same numbers: they tell other test processes that the numbers are taken,
    /// and the operating system frees them however this process ends.
    _claims: Vec<UdpSocket>,
}

impl Ports {
    /// `count` neighbours that nobody listens on.
    pub fn claim(count: u16) -> Ports {
        let start =
            u16::try_from(std::process::id() % u32::from(SPAN)).expect("less than the span");
        for _ in 0..SPAN {
            let step = NEXT.fetch_add(count, Ordering::Relaxed);
            let first = LOWEST + start.wrapping_add(step) % SPAN;
            if let Some(claims) = (first..first + count).map(claim).collect() {
                return Ports { first, _claims: claims };
            }
        }
        panic!("no {count} neighbouring ports are free on 127.0.0.1");
    }

    /// The `index`th as a number.
    pub fn number(&self, index: u16) -> u16 {
        self.first + index
    }

    /// The `index`th as `host:port`.
    pub fn address(&self, index: u16) -> String {
        format!("127.0.0.1:{}", self.number(index))
    }
}

fn claim(port: u16) -> Option<UdpSocket> {
    let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(claim)
}

/// So that the tests of one process begin to look at different ports.
static NEXT: AtomicU16 = AtomicU16::new(0);

const LOWEST: u16 = 15_000;
const SPAN: u16 = 16_000;
