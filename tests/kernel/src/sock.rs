//! Connected pairs of stream sockets, of every family.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream},
    },
};

use crate::sys;

/// How two sockets are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    /// IPv6 sockets with IPv4 addresses.
    Mapped,
    UnixPath,
    UnixAbstract,
    /// `socketpair(2)`.
    UnixPair,
}

impl Family {
    pub(crate) const ALL: [Self; 6] =
        [Self::V4, Self::V6, Self::Mapped, Self::UnixPath, Self::UnixAbstract, Self::UnixPair];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Mapped => "mapped",
            Self::UnixPath => "unix",
            Self::UnixAbstract => "abstract",
            Self::UnixPair => "pair",
        }
    }

    pub(crate) const fn is_tcp(self) -> bool {
        matches!(self, Self::V4 | Self::V6 | Self::Mapped)
    }
}

/// Send buffer of Unix sockets, bytes.
const UNIX_BUFFER: i32 = 32 << 20;

/// Both ends of a connection, and by which address each is known to the other.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: OwnedFd,
    pub(crate) server: OwnedFd,
    /// `None` for Unix sockets.
    pub(crate) client_addr: Option<SocketAddr>,
    pub(crate) server_addr: Option<SocketAddr>,
}

impl Pair {
    pub(crate) fn new(family: Family) -> io::Result<Self> {
        match family {
            Family::V4 => tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false),
            Family::V6 => tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), false),
            Family::Mapped => tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), true),
            Family::UnixPath => unix(false),
            Family::UnixAbstract => unix(true),
            Family::UnixPair => {
                let (client, server) = UnixStream::pair()?;
                Self::unnamed(client, server)
            }
        }
    }

    fn unnamed(client: UnixStream, server: UnixStream) -> io::Result<Self> {
        for end in [client.as_fd(), server.as_fd()] {
            // Every write takes a whole buffer here, and one-byte writes would fill the default with 300 bytes.
            sys::set_option(end, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, UNIX_BUFFER)?;
        }
        Ok(Self { client: client.into(), server: server.into(), client_addr: None, server_addr: None })
    }

    pub(crate) fn of(client: TcpStream, server: TcpStream) -> io::Result<Self> {
        // Nothing here shall wait for Nagle's algorithm.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_addr, server_addr) = (Some(server.peer_addr()?), Some(client.peer_addr()?));
        Ok(Self { client: client.into(), server: server.into(), client_addr, server_addr })
    }

    pub(crate) fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.client.as_fd(), self.server.as_fd())
    }
}

fn tcp(addr: SocketAddr, mapped: bool) -> io::Result<Pair> {
    let listener = TcpListener::bind(addr)?;
    let port = listener.local_addr()?.port();
    let client = if mapped {
        let client = sys::socket(libc::AF_INET6, 0)?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port));
        sys::connect(client.as_fd(), &sys::Name::of(target))?;
        TcpStream::from(client)
    } else {
        TcpStream::connect(listener.local_addr()?)?
    };
    Pair::of(client, listener.accept()?.0)
}

fn unix(is_abstract: bool) -> io::Result<Pair> {
    let unique = format!("ktest-{}-{:?}", std::process::id(), std::time::Instant::now());
    let unique: String = unique.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let path = std::env::temp_dir().join(&unique);
    let addr =
        if is_abstract { UnixAddr::from_abstract_name(unique)? } else { UnixAddr::from_pathname(&path)? };
    let listener = UnixListener::bind_addr(&addr)?;
    let client = UnixStream::connect_addr(&addr)?;
    let server = listener.accept()?.0;
    if !is_abstract {
        std::fs::remove_file(path)?;
    }
    Pair::unnamed(client, server)
}
