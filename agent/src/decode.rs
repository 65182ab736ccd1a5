//! Bytes of the ring to events: bounds checked, no copy of payloads. What cannot be an event is `None`.
//!
//! The layouts are those of [`spandrel_common::event`]; the test beside this file compares every offset.

pub mod encode;
mod read;
mod sequence;
#[cfg(test)]
mod tests;

use spandrel_common::{
    context::Cause,
    event::{
        Close, Conn, DIR_TX, Data, Fork, Header, Kind, Listen, Notice, PROTOCOL_HTTP1, PROTOCOL_HTTP2,
        PROTOCOL_KAFKA, ROLE_CLIENT, ROLE_SERVER, TRANSPORT_TCP, TRANSPORT_UNIX, Withheld,
    },
};

use read::Reader;
pub use sequence::Sequence;

/// One event of the ring, with its payload borrowed from there.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Conn(Conn),
    /// With the captured bytes, the first of the `len` that the event covers.
    Data(Data, &'a [u8]),
    Close(Close),
    Exec(Exec<'a>),
    Fork(Fork),
    Exit(Header),
    Listen(Listen),
    Notice(Notice),
    Withheld(Withheld),
}

/// A process executed a program: [`spandrel_common::event::Exec`] taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    pub header: Header,
    /// The parent's process id.
    pub parent: u32,
    /// `SELECT_*`: what the kernel side did about it.
    pub state: u8,
    /// The executable as it was named, possibly cut, without a NUL.
    pub path: &'a [u8],
    /// NUL-ended arguments; the last may be cut.
    pub args: &'a [u8],
    /// NUL-ended environment strings; the last may be cut.
    pub environment: &'a [u8],
    /// Both, as they lie in the process's memory.
    pub area: &'a [u8],
}

impl Event<'_> {
    /// What every event starts with.
    pub const fn header(&self) -> &Header {
        match self {
            Self::Conn(conn) => &conn.header,
            Self::Data(data, _) => &data.header,
            Self::Close(close) => &close.header,
            Self::Exec(exec) => &exec.header,
            Self::Fork(fork) => &fork.header,
            Self::Exit(header) => header,
            Self::Listen(listen) => &listen.header,
            Self::Notice(notice) => &notice.header,
            Self::Withheld(withheld) => &withheld.header,
        }
    }
}

/// The event in one record of the ring, or `None` if these bytes are none. Bytes behind it are ignored.
pub fn decode(bytes: &[u8]) -> Option<Event<'_>> {
    let mut reader = Reader::new(bytes);
    let header = header(&mut reader)?;
    let event = match Kind::from_u8(header.kind)? {
        Kind::Data => {
            let data = data(header, reader.fixed::<104>()?)?;
            Event::Data(data, reader.bytes(data.header.payload)?)
        }
        Kind::Conn => Event::Conn(conn(header, reader.fixed::<72>()?)?),
        Kind::Close => Event::Close(close(header, reader.fixed::<56>()?)?),
        Kind::Exec => Event::Exec(exec(header, &mut reader)?),
        Kind::Fork => {
            let mut body = reader.fixed::<8>()?;
            Event::Fork(Fork { header, child: body.u32()?, state: body.u8()?, reserved: [0; 3] })
        }
        Kind::Exit => Event::Exit(header),
        Kind::Listen => {
            let mut body = reader.fixed::<8>()?;
            Event::Listen(Listen { header, port: body.u16()?, reserved: [0; 6] })
        }
        Kind::Notice => {
            let mut body = reader.fixed::<8>()?;
            Event::Notice(Notice { header, cause: body.u8()?, reserved: [0; 7] })
        }
        Kind::Withheld => Event::Withheld(withheld(header, reader.fixed::<112>()?)?),
    };
    Some(event)
}

fn header(reader: &mut Reader<'_>) -> Option<Header> {
    let mut body = reader.fixed::<32>()?;
    Some(Header {
        kind: body.u8()?,
        reserved: body.u8()?,
        cpu: body.u16()?,
        payload: body.u32()?,
        seq: body.u64()?,
        time_ns: body.u64()?,
        tgid: body.u32()?,
        tid: body.u32()?,
    })
}

fn conn(header: Header, mut body: Reader<'_>) -> Option<Conn> {
    let conn = Conn {
        header,
        conn: body.u64()?,
        seed: [body.u64()?, body.u64()?],
        netns: body.u32()?,
        role: body.u8()?,
        transport: body.u8()?,
        local_port: body.u16()?,
        peer_port: body.u16()?,
        ip_version: body.u8()?,
        protocol: body.u8()?,
        reserved: body.array()?,
        local_addr: body.array()?,
        peer_addr: body.array()?,
    };
    let family = match conn.transport {
        TRANSPORT_TCP => matches!(conn.ip_version, 4 | 6),
        TRANSPORT_UNIX => true,
        _ => false,
    };
    let known = matches!(conn.protocol, PROTOCOL_HTTP1 | PROTOCOL_HTTP2 | PROTOCOL_KAFKA);
    (family && known && matches!(conn.role, ROLE_CLIENT | ROLE_SERVER)).then_some(conn)
}

fn data(header: Header, mut body: Reader<'_>) -> Option<Data> {
    let data = Data {
        header,
        conn: body.u64()?,
        pos: body.u64()?,
        len: body.u64()?,
        first_ns: body.u64()?,
        last_ns: body.u64()?,
        flags: body.u16()?,
        dir: body.u8()?,
        role: body.u8()?,
        decision: body.u8()?,
        unseen: body.u8()?,
        orphans: body.u8()?,
        reserved: body.u8()?,
        wait_ns: body.u64()?,
        framing: body.u64()?,
        other: body.u64()?,
        cause: Cause {
            trace_id: body.array()?,
            parent_id: body.array()?,
            flags: body.u8()?,
            rule: body.u8()?,
            reserved: body.array()?,
        },
    };
    let inside = data.pos.checked_add(data.len).is_some() && u64::from(header.payload) <= data.len;
    (inside && data.dir <= DIR_TX).then_some(data)
}

fn close(header: Header, mut body: Reader<'_>) -> Option<Close> {
    Some(Close {
        header,
        conn: body.u64()?,
        pos: [body.u64()?, body.u64()?],
        last_ns: [body.u64()?, body.u64()?],
        reason: body.u8()?,
        reserved: body.array()?,
        errno: body.u32()?,
        reserved2: body.u64()?,
    })
}

fn withheld(header: Header, mut body: Reader<'_>) -> Option<Withheld> {
    Some(Withheld {
        header,
        conn: body.u64()?,
        start_ns: body.u64()?,
        end_ns: body.u64()?,
        method: body.array()?,
        host: body.array()?,
        errno: body.u32()?,
        status: body.u16()?,
        end: body.u8()?,
        version: body.u8()?,
    })
}

fn exec<'a>(header: Header, reader: &mut Reader<'a>) -> Option<Exec<'a>> {
    let mut body = reader.fixed::<272>()?;
    let (parent, state) = (body.u32()?, body.u8()?);
    let [_, _, _] = body.array()?;
    let (args, _) = (body.u32()?, body.u32()?);
    let path = body.rest();
    let path = path.split(|byte| *byte == 0).next().unwrap_or(path);
    let area = reader.bytes(header.payload)?;
    let (args, environment) = area.split_at_checked(args as usize).unwrap_or((area, &[]));
    Some(Exec { header, parent, state, path, args, environment, area })
}
