//! `struct sock` and `struct tcp_sock`.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_skc_to_tcp_sock};
use spandrel_common::event::{TRANSPORT_TCP, TRANSPORT_UNIX};

use crate::{globals, read};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;

/// A socket. The address is only ever used for bounded reads.
#[derive(Clone, Copy)]
pub struct Sock(pub u64);

impl Sock {
    #[inline(always)]
    pub fn family(self) -> u16 {
        read::kernel(self.0, globals::sk_family()).unwrap_or(0)
    }

    /// `TRANSPORT_*` of a stream socket that is followed, 0 for any other.
    #[inline(always)]
    pub fn transport(self) -> u8 {
        let family = self.family();
        if family == AF_UNIX {
            let kind: u16 = read::kernel(self.0, globals::sk_type()).unwrap_or(0);
            return if kind == SOCK_STREAM { TRANSPORT_UNIX } else { 0 };
        }
        if family != AF_INET && family != AF_INET6 {
            return 0;
        }
        let protocol: u16 = read::kernel(self.0, globals::sk_protocol()).unwrap_or(0);
        if protocol == IPPROTO_TCP { TRANSPORT_TCP } else { 0 }
    }

    /// Whether the addresses are IPv6 ones.
    #[inline(always)]
    pub fn is_v6(self) -> bool {
        self.family() == AF_INET6
            && globals::has(globals::sk_v6_daddr())
            && globals::has(globals::sk_v6_rcv_saddr())
    }

    /// Local port, host byte order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        read::kernel(self.0, globals::sk_num()).unwrap_or(0)
    }

    /// Peer port, host byte order.
    #[inline(always)]
    pub fn peer_port(self) -> u16 {
        u16::from_be(read::kernel(self.0, globals::sk_dport()).unwrap_or(0))
    }

    /// Local and peer IPv4 addresses, network order, in the first four bytes.
    #[inline(always)]
    pub fn v4(self, local: &mut [u8; 16], peer: &mut [u8; 16]) {
        read::kernel_bytes::<4>(local, self.0, globals::sk_rcv_saddr());
        read::kernel_bytes::<4>(peer, self.0, globals::sk_daddr());
    }

    /// Local IPv6 address.
    #[inline(always)]
    pub fn v6_local(self, to: &mut [u8; 16]) {
        read::kernel_bytes::<16>(to, self.0, globals::sk_v6_rcv_saddr());
    }

    /// Peer IPv6 address.
    #[inline(always)]
    pub fn v6_peer(self, to: &mut [u8; 16]) {
        read::kernel_bytes::<16>(to, self.0, globals::sk_v6_daddr());
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        if !globals::has(globals::sk_net()) || !globals::has(globals::net_inum()) {
            return 0;
        }
        match read::kernel::<u64>(self.0, globals::sk_net()) {
            Some(net) if net != 0 => read::kernel(net, globals::net_inum()).unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether a TCP socket was connected by this end, from a port that the kernel chose: such a port's bucket is
    /// never shared with `bind` (net/ipv4/inet_hashtables.c, `__inet_hash_connect`).
    #[inline(always)]
    pub fn is_dialled(self) -> bool {
        if !globals::has(globals::icsk_bind_hash()) || !globals::has(globals::bind_fastreuse()) {
            return false;
        }
        match read::kernel::<u64>(self.0, globals::icsk_bind_hash()) {
            Some(bucket) if bucket != 0 => read::kernel::<i8>(bucket, globals::bind_fastreuse()) == Some(-1),
            _ => false,
        }
    }

    /// Address of the peer in two words, which need less stack than its bytes.
    #[inline(always)]
    pub fn peer_words(self) -> [u64; 2] {
        if self.is_v6() {
            return read::kernel(self.0, globals::sk_v6_daddr()).unwrap_or([0; 2]);
        }
        [u64::from(read::kernel::<u32>(self.0, globals::sk_daddr()).unwrap_or(0)), 0]
    }

    /// What tells a peer's address and port from others.
    #[inline(always)]
    pub fn peer_hash(self) -> u64 {
        let [low, high] = self.peer_words();
        let word = low ^ high.rotate_left(17);
        word.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(self.peer_port())
    }

    /// A pending error, positive.
    #[inline(always)]
    pub fn error(self) -> u32 {
        if !globals::has(globals::sk_err()) {
            return 0;
        }
        read::kernel(self.0, globals::sk_err()).unwrap_or(0)
    }

    /// A program still holds it.
    #[inline(always)]
    pub fn is_held(self) -> bool {
        globals::has(globals::sk_socket())
            && read::kernel::<u64>(self.0, globals::sk_socket()).is_some_and(|socket| socket != 0)
    }

    /// Number of its inode; 0 if no program holds it or it is not to be had.
    #[inline(always)]
    pub fn inode(self) -> u64 {
        let known = globals::has(globals::sk_socket())
            && globals::has(globals::socket_inode())
            && globals::has(globals::inode_ino());
        if !known {
            return 0;
        }
        match read::kernel::<u64>(self.0, globals::sk_socket()) {
            Some(socket) if socket != 0 => {
                read::kernel(socket + u64::from(globals::socket_inode()), globals::inode_ino()).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The program wants to be told about what it sent, by bytes or by calls: `SO_TIMESTAMPING`, or `SO_ZEROCOPY`
    /// (include/net/sock.h, `enum sock_flags`; the number of the flag is that of Linux 5.10 and later).
    #[inline(always)]
    pub fn accounts(self) -> bool {
        const SOCK_ZEROCOPY: u64 = 1 << 18;
        let zerocopy = globals::has(globals::sk_flags())
            && read::kernel::<u64>(self.0, globals::sk_flags()).is_some_and(|bits| bits & SOCK_ZEROCOPY != 0);
        // The lower half, which older kernels have alone.
        zerocopy
            || globals::has(globals::sk_tsflags())
                && read::kernel::<u16>(self.0, globals::sk_tsflags()).is_some_and(|bits| bits != 0)
    }

    /// The peer's FIN has arrived.
    #[inline(always)]
    pub fn peer_finished(self) -> bool {
        const RCV_SHUTDOWN: u8 = 1;
        globals::has(globals::sk_shutdown())
            && read::kernel::<u8>(self.0, globals::sk_shutdown()).is_some_and(|bits| bits & RCV_SHUTDOWN != 0)
    }
}

/// Where `struct tcp_sock` is read from: at an address, by a helper, or through a pointer whose type the
/// verifier knows, by plain loads, which cost next to nothing.
pub trait Memory: Copy {
    /// The `T` at an offset that this kernel has.
    fn get<T: Copy>(self, offset: u32) -> Option<T>;
}

/// An address.
#[derive(Clone, Copy)]
pub struct Raw(pub u64);

/// A pointer that the verifier knows as a `struct tcp_sock`.
#[derive(Clone, Copy)]
pub struct Typed(*const u8);

impl Typed {
    /// The TCP part of a socket that the verifier knows, if it is a TCP socket.
    #[inline(always)]
    pub fn of(sk: *const u8) -> Option<Self> {
        // SAFETY: the helper checks the socket and returns a typed pointer or none.
        let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) };
        (!tcp.is_null()).then_some(Self(tcp.cast_const().cast()))
    }
}

impl Memory for Raw {
    #[inline(always)]
    fn get<T: Copy>(self, offset: u32) -> Option<T> {
        if !globals::has(offset) {
            return None;
        }
        read::kernel(self.0, offset)
    }
}

impl Memory for Typed {
    #[inline(always)]
    fn get<T: Copy>(self, offset: u32) -> Option<T> {
        if !globals::has(offset) {
            return None;
        }
        // SAFETY: the verifier refuses an offset that is not a member of the structure.
        Some(unsafe { self.0.add(offset as usize).cast::<T>().read_volatile() })
    }
}

/// The TCP part of a socket.
#[derive(Clone, Copy)]
pub struct Tcp<M>(pub M);

impl<M: Memory> Tcp<M> {
    /// When TCP last transmitted on this socket, `CLOCK_MONOTONIC` nanoseconds; 0 if unknown.
    #[inline(always)]
    pub fn transmitted_ns(self) -> u64 {
        self.0.get(globals::tcp_wstamp()).unwrap_or(0)
    }

    /// When the oldest data that TCP has in flight was sent (a lower bound, in whole microseconds, as
    /// nanoseconds); 0 if unknown.
    #[inline(always)]
    pub fn first_transmitted_ns(self) -> u64 {
        self.0.get::<u64>(globals::tcp_first_tx()).unwrap_or(0) * 1000
    }

    /// When the last data arrived, at the latest (`CLOCK_MONOTONIC` nanoseconds); 0 if unknown. `now` is the time.
    ///
    /// TCP notes in microseconds when it last handled a segment, and handles one itself when it acknowledges late:
    /// 40 ms after the data at the earliest, which is four ticks of the slowest clock. When more have passed since the
    /// data came, their number tells, but for the one that had begun already.
    #[inline(always)]
    pub fn arrived_ns(self, now: u64) -> u64 {
        const DELAYED: u32 = 4;
        // SAFETY: the helper takes nothing and only returns a number.
        let ticks = unsafe { bpf_jiffies64() } as u32;
        let Some(last) = self.0.get::<u32>(globals::tcp_lrcvtime()) else { return 0 };
        let age = ticks.wrapping_sub(last);
        if age < DELAYED {
            return self.0.get::<u64>(globals::tcp_mstamp()).unwrap_or(0) * 1000;
        }
        let tick = globals::tick_ns();
        // Half of the range is "later": then it never came.
        if tick == 0 || age > 1 << 31 {
            return 0;
        }
        now.saturating_sub(u64::from(age - 1) * tick)
    }

    /// Sequence number behind the last byte that the application received.
    #[inline(always)]
    pub fn received_seq(self) -> Option<u32> {
        self.0.get(globals::tcp_copied_seq())
    }

    /// Sequence number behind the last byte that the application sent.
    #[inline(always)]
    pub fn sent_seq(self) -> Option<u32> {
        self.0.get(globals::tcp_write_seq())
    }

    /// Sequence number behind the last byte that the peer has acknowledged.
    #[inline(always)]
    pub fn acknowledged_seq(self) -> Option<u32> {
        self.0.get(globals::tcp_snd_una())
    }

    /// Sequence numbers of what arrived and was not received yet.
    #[inline(always)]
    pub fn unread(self) -> Option<u32> {
        let next: u32 = self.0.get(globals::tcp_rcv_nxt())?;
        Some(next.wrapping_sub(self.received_seq()?))
    }

    /// Bytes of a direction so far, those that the application sent or received. A SYN or FIN may count as one.
    #[inline(always)]
    pub fn total<const TX: bool>(self) -> Option<u64> {
        if TX {
            let acknowledged: u64 = self.0.get(globals::tcp_bytes_acked())?;
            let open = self.sent_seq()?.wrapping_sub(self.acknowledged_seq()?);
            Some(acknowledged + u64::from(open))
        } else {
            let arrived: u64 = self.0.get(globals::tcp_bytes_received())?;
            Some(arrived.saturating_sub(u64::from(self.unread()?)))
        }
    }

    /// Bytes that the send buffer may take, the kernel's own overhead included.
    #[inline(always)]
    pub fn send_buffer(self) -> Option<u32> {
        self.0.get(globals::sk_sndbuf())
    }
}
