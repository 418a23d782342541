//! Stands between a client and a server, and does what networks and servers do to a chosen request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// What happens to a request whose head contains the text.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is never answered.
    Hold(&'static str),
    /// It is answered with "forbidden".
    Forbid(&'static str),
    /// The first answer breaks off after so many bytes.
    Break(&'static str, usize),
    /// The first answer stops behind the first byte of its body, and its connection stays open.
    Stall(&'static str),
    /// From it on nobody answers any more.
    Vanish(&'static str),
}

/// A running proxy; it takes no more connections once this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server: String,
    fault: Fault,
    /// The chosen request has come.
    happened: AtomicBool,
    /// Nothing happens to requests any more.
    tame: AtomicBool,
    gone: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// In front of the server at this address.
    pub fn start(server: &str, fault: Fault) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::new(State {
            server: server.to_owned(),
            fault,
            happened: AtomicBool::new(false),
            tame: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.gone.load(SeqCst) {
                    return;
                }
                let state = shared.clone();
                std::thread::spawn(move || state.serve(client));
            }
        });
        Proxy { address, state }
    }

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lets everything pass from now on.
    pub fn tame(&self) {
        self.state.tame.store(true, SeqCst);
    }

    /// Whether the chosen request has come.
    pub fn has_happened(&self) -> bool {
        self.state.happened.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.vanish();
        // The listener looks when somebody comes.
        drop(TcpStream::connect(&self.address));
    }
}

impl State {
    fn vanish(&self) {
        self.gone.store(true, SeqCst);
        for connection in self.connections.lock().expect("no thread panics with it").drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    fn serve(&self, client: TcpStream) {
        // What fails here fails for the client, too.
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        let (Ok(mut from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
        self.connections
            .lock()
            .expect("no thread panics with it")
            .extend([client.try_clone(), server.try_clone()].into_iter().flatten());
        // Where the answers on this connection end from now on.
        let left = Arc::new(Mutex::new(None::<Cut>));
        let answers = std::thread::spawn({
            let left = left.clone();
            move || pass_answers(server, client, &left)
        });
        let mut to = to;
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..read]);
            match self.fault {
                _ if self.tame.load(SeqCst) => {}
                Fault::Hold(chosen) if text.contains(chosen) => {
                    self.happened.store(true, SeqCst);
                    // The connection stays open as long as the client likes.
                    while let Ok(1..) = from.read(&mut buffer) {}
                    break;
                }
                Fault::Forbid(chosen) if text.contains(chosen) => {
                    self.happened.store(true, SeqCst);
                    let answer =
                        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    drop(from.write_all(answer));
                    break;
                }
                Fault::Vanish(chosen) if text.contains(chosen) => {
                    self.happened.store(true, SeqCst);
                    self.vanish();
                    break;
                }
                Fault::Break(chosen, bytes)
                    if text.contains(chosen) && !self.happened.swap(true, SeqCst) =>
                {
                    *left.lock().expect("no thread panics with it") = Some(Cut::After(bytes));
                }
                Fault::Stall(chosen)
                    if text.contains(chosen) && !self.happened.swap(true, SeqCst) =>
                {
                    *left.lock().expect("no thread panics with it") = Some(Cut::Body(Vec::new()));
                }
                _ => {}
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Both));
        drop(from.shutdown(Shutdown::Both));
        drop(answers.join());
    }
}

/// Where an answer ends.
#[derive(Debug)]
enum Cut {
    /// After so many bytes; then the connection does, too.
    After(usize),
    /// Within its body. What has come of its head.
    Body(Vec<u8>),
}

fn pass_answers(mut server: TcpStream, mut client: TcpStream, cut: &Mutex<Option<Cut>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        let mut passed = read;
        let mut stalls = false;
        match &mut *cut.lock().expect("no thread panics with it") {
            None => {}
            Some(Cut::After(left)) => {
                passed = read.min(*left);
                *left -= passed;
            }
            Some(Cut::Body(head)) => {
                let before = head.len();
                head.extend_from_slice(&buffer[..read]);
                let end = head.windows(4).position(|window| window == b"\r\n\r\n");
                if let Some(end) = end.map(|at| at + 4).filter(|&end| end < head.len()) {
                    passed = end + 1 - before.min(end);
                    stalls = true;
                }
            }
        }
        if client.write_all(&buffer[..passed]).is_err() {
            break;
        }
        if stalls {
            // Who asks ends the connection.
            return;
        }
        if passed < read {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Both));
}
