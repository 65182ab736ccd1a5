//! A connection is a socket: not a descriptor, not a port, not a pair of addresses.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::Barrier,
    thread,
};

use crate::{
    Stage,
    sock::{Family, Pair},
    sys,
    talk::Talk,
};

/// The same descriptor numbers, at once, for one connection after the other.
pub(crate) fn descriptors(stage: &mut Stage) -> io::Result<()> {
    let numbers = |pair: &Pair| (pair.client.as_raw_fd(), pair.server.as_raw_fd());
    for family in [Family::V4, Family::UnixPair] {
        let mut before = None;
        for index in 0..100 {
            let mut talk = Talk::new(&stage.truth, &format!("descriptor-{}-{index}", family.word()), family)?;
            let now = numbers(&talk.pair);
            if before.is_some_and(|before| before != now) {
                return Err(io::Error::other("the numbers were not used again"));
            }
            before = Some(now);
            talk.plain()?;
            if index % 3 == 0 {
                talk.plain()?;
            }
        }
    }
    Ok(())
}

/// A connection from a port of choice.
fn from_port(listener: &TcpListener, port: u16) -> io::Result<Pair> {
    let client = sys::socket(libc::AF_INET, 0)?;
    sys::set_option(client.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    sys::bind(client.as_fd(), &sys::Name::of(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
    sys::connect(client.as_fd(), &sys::Name::of(listener.local_addr()?))?;
    Pair::of(client.into(), listener.accept()?.0)
}

/// The same four addresses, at once, for one connection after the other.
pub(crate) fn ports(stage: &mut Stage) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut port = 0;
    for index in 0..60 {
        let pair = from_port(&listener, port)?;
        port = pair.client_addr.map_or(0, |addr| addr.port());
        // No TIME_WAIT: the port is free at once.
        sys::break_on_close(pair.client.as_fd())?;
        let mut talk = Talk::over(&stage.truth, &format!("port-{index}"), pair);
        talk.plain()?;
        talk.plain()?;
        let Pair { client, server, .. } = talk.pair;
        drop(client);
        drop(server);
    }
    Ok(())
}

/// Two network namespaces with the same four addresses at the same time.
pub(crate) fn namespaces(stage: &mut Stage) -> io::Result<()> {
    /// Free in a namespace of one's own.
    const PORTS: (u16, u16) = (8080, 40_000);
    let turns = Barrier::new(2);
    let one = |name: &'static str| -> io::Result<()> {
        sys::new_network()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORTS.0))?;
        let pair = from_port(&listener, PORTS.1)?;
        let mut talk = Talk::over(&stage.truth, name, pair);
        for _ in 0..20 {
            turns.wait();
            talk.plain()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let both = [scope.spawn(|| one("namespace-a")), scope.spawn(|| one("namespace-b"))];
        both.into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?)
    })
}

/// One client socket, disconnected by `AF_UNSPEC` and connected to another server.
pub(crate) fn reconnected(stage: &mut Stage) -> io::Result<()> {
    let mut client: OwnedFd = sys::socket(libc::AF_INET, 0)?;
    for index in 0..5 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        sys::connect(client.as_fd(), &sys::Name::of(listener.local_addr()?))?;
        let pair = Pair::of(TcpStream::from(client), listener.accept()?.0)?;
        let mut talk = Talk::over(&stage.truth, &format!("reconnected-{index}"), pair);
        talk.plain()?;
        talk.plain()?;
        client = talk.pair.client;
        sys::connect(client.as_fd(), &sys::Name::unspecified())?;
    }
    Ok(())
}
