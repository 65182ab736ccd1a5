//! systemd's notification protocol (sd_notify(3)): one datagram to the socket that `NOTIFY_SOCKET` names.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The agent is attached.
pub const READY: &str = "READY=1";
/// The agent is going away.
pub const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one. Never blocks.
pub fn notify(state: &str) -> io::Result<()> {
    env::var_os("NOTIFY_SOCKET").map_or(Ok(()), |socket| send(&socket, state))
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "NOTIFY_SOCKET is no Unix socket")),
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn by_path_and_by_abstract_name() {
        let path = env::temp_dir().join(format!("spandrel-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), READY).unwrap();
        assert_eq!(receive(&socket), "READY=1");
        std::fs::remove_file(&path).unwrap();

        let name = format!("spandrel-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(&OsString::from(format!("@{name}")), STOPPING).unwrap();
        assert_eq!(receive(&socket), "STOPPING=1");
    }

    #[test]
    fn what_cannot_be_reached_is_an_error_and_no_panic() {
        assert!(send(OsStr::new("vsock:2:1234"), READY).is_err());
        assert!(send(OsStr::new("/nowhere/at/all"), READY).is_err());
        assert!(send(OsStr::new(&format!("/{}", "x".repeat(300))), READY).is_err());
    }
}
