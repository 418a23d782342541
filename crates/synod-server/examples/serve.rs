//! One server on given ports: `serve DATA CLIENT_PORT PEER_PORT [NAME NAME=HOST:PORT..]`. What the
//! binary does with flags, without them; for trying a client against the bare server.

use std::process::ExitCode;

use synod_server::{ServerOptions, run};

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(data), Some(client), Some(peer)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: serve DATA CLIENT_PORT PEER_PORT [NAME NAME=HOST:PORT..]");
        return ExitCode::from(2);
    };
    let name = args.next().unwrap_or_else(|| "n1".to_owned());
    let mut options = ServerOptions::new(data, name);
    options.listen_client = vec![format!("127.0.0.1:{client}")];
    options.listen_peer = vec![format!("127.0.0.1:{peer}")];
    options.initial_cluster = args
        .filter_map(|entry| entry.split_once('=').map(|(n, u)| (n.to_owned(), u.to_owned())))
        .collect();
    match run(options, |info| println!("{} ready at {:?}", info.name, info.client_addresses)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
